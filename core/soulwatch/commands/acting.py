"""`soulwatch message` and `soulwatch disconnect`: what is done to a user or a connection by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from soulwatch.commands.given import Given, which_installation, with_host
from soulwatch.commands.telling import note

if TYPE_CHECKING:
    from soulwatch.host.host import Host


@click.command(
    epilog="""\b
Examples:
  soulwatch message ada '{"type": "hello", "text": "Your export is ready."}'"""
)
@click.argument("user")
@click.argument("message", metavar="JSON")
@which_installation
def message(given: Given, *, user: str, message: str) -> None:
    """Send a message to the open sockets of a user.

    JSON is an object with a "type" of your own. Sockets that are closed now read it when they come back.
    """
    try:
        said = json.loads(message)
    except ValueError as broken:
        raise click.BadParameter(f"it cannot be read: {broken}.", param_hint="JSON") from None
    if not isinstance(said, dict):
        raise click.BadParameter('it has to be an object, such as {"type": "hello"}.', param_hint="JSON")

    async def work(host: Host) -> None:
        try:
            event = await host.send_to_user(user, said)
        except ValueError as wrong:
            raise click.BadParameter(str(wrong), param_hint="JSON") from None
        click.echo(f"Sent to {user} as event {event.seq}.")

    with_host(given, work)


@click.command(
    epilog="""\b
Examples:
  soulwatch disconnect 0199f3c2-6a51-7c3e-9d0e-2f4b8a11c0de
  soulwatch disconnect --yes 0199f3c2-6a51-7c3e-9d0e-2f4b8a11c0de"""
)
@click.argument("connection", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask first.")
@which_installation
def disconnect(given: Given, *, connection: str, yes: bool) -> None:
    """End a connection for good, here and at its platform.

    Its tokens are destroyed and the platform is asked to forget the grant. Stored data stay. Its user can connect
    again at any time.
    """

    async def work(host: Host) -> None:
        row = await host.accounts.row(connection)
        if not yes:
            account = f"{host.platforms.title(row.platform)} account {row.account_name!r} of {row.user_id!r}"
            click.confirm(f"Disconnect the {account}?", abort=True)
        if await host.accounts.disconnect(connection):
            click.echo("Disconnected.")
        else:
            click.echo("Disconnected here.")
            note("The platform did not confirm; its user can remove the grant in their own settings there.")

    with_host(given, work)
