"""`soulwatch poll` and `soulwatch refresh`: what the clock does by itself, done now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from soulwatch.commands.given import Given, which_installation, with_host
from soulwatch.commands.progress import shown_progress
from soulwatch.commands.telling import columns, note, shown
from soulwatch.errors import NeedsReauth, NotFound

if TYPE_CHECKING:
    from sqlalchemy import Row

    from soulwatch.host.host import Host
    from soulwatch.host.poller import Outcome

POLLS_AT_ONCE = 10


@click.command(
    epilog="""\b
Examples:
  soulwatch poll
  soulwatch poll --user ada --platform spotify
  soulwatch poll --data-type recently_played"""
)
@click.option("--user", metavar="USER", help="Only this user's.")
@click.option("--platform", metavar="PLATFORM", help="Only this platform's.")
@click.option("--connection", metavar="ID", help="Only this connection.")
@click.option("--data-type", metavar="TYPE", help="Only this endpoint, such as recently_played.")
@which_installation
def poll(
    given: Given, *, user: str | None, platform: str | None, connection: str | None, data_type: str | None
) -> None:
    """Poll connected accounts now, whatever their schedule.

    Ends with 1 where something could not be polled, and says what. Endpoints that a running host is at are left to it.
    """

    async def work(host: Host) -> list[Outcome]:
        rows = await _chosen(host, user, platform, connection)
        return await _polled(host, rows, data_type)

    outcomes = with_host(given, work)
    if outcomes:
        heads = ("connection", "platform", "type", "new", "problem")
        columns(heads, [(one.connection, one.platform, one.data_type, one.new, one.problem) for one in outcomes])
    else:
        note("Nothing to poll: nothing is connected yet, or a running host is at it already.")
    if any(one.problem for one in outcomes):
        raise click.exceptions.Exit(1)


async def _chosen(host: Host, user: str | None, platform: str | None, connection: str | None) -> list[Row[Any]]:
    rows = [await host.accounts.row(connection, user)] if connection else await host.accounts.rows(user=user)
    rows = [row for row in rows if platform in (None, row.platform)]
    if not rows and (user or platform or connection):
        raise NotFound("No connection fits; `soulwatch connections` lists them.")
    connected = [row for row in rows if row.status == "connected"]
    if rows and not connected:
        raise NeedsReauth(rows[0].error_message or "This account is disconnected; its user can connect it again.")
    return connected


async def _polled(host: Host, rows: list[Row[Any]], data_type: str | None) -> list[Outcome]:
    import anyio  # noqa: PLC0415

    from soulwatch.host.store import polls  # noqa: PLC0415

    async with host.database.reading() as transaction:
        known = await polls.of_connections(transaction, [row.id for row in rows])
    wanted = [one for one in known if data_type in (None, one.data_type)]
    if data_type and not wanted and rows:
        names = ", ".join(sorted({one.data_type for one in known})) or "none"
        raise NotFound(f"No connection that fits has the endpoint {data_type!r}. There are: {names}.")
    outcomes: list[Outcome] = []
    turns = anyio.CapacityLimiter(POLLS_AT_ONCE)

    async def one(connection_id: str, name: str) -> None:
        async with turns:
            outcomes.extend(await host.poll_connection(connection_id, name))
            progress.done(connection_id, name)

    with shown_progress(host.plugins, total=len(wanted)) as progress:
        async with anyio.create_task_group() as group:
            for each in wanted:
                group.start_soon(one, each.connection_id, each.data_type)
    return sorted(outcomes, key=lambda outcome: (outcome.connection, outcome.data_type))


@click.command(
    epilog="""\b
Examples:
  soulwatch refresh --user ada --platform spotify
  soulwatch refresh --connection 0199f3c2-6a51-7c3e-9d0e-2f4b8a11c0de"""
)
@click.option("--user", metavar="USER", help="Whose connection.")
@click.option("--platform", metavar="PLATFORM", help="To which platform.")
@click.option("--connection", metavar="ID", help="The connection itself, instead of user and platform.")
@which_installation
def refresh(given: Given, *, user: str | None, platform: str | None, connection: str | None) -> None:
    """Get a new token for one connection now, due or not.

    Refreshing is the host's own affair; by hand it shows whether a connection still works. The token is not printed.
    """
    if (connection is None) == (user is None or platform is None):
        raise click.UsageError("Say which: --connection ID, or --user USER and --platform PLATFORM.")

    async def work(host: Host) -> None:
        row = await host.accounts.row(connection) if connection else await host.accounts.of(str(user), str(platform))
        token, is_new = await host.refresh_connection(row.id)
        until = f"until {shown(token.expires_at)}" if token.expires_at else "without an end"
        was = "token" if is_new else "renewed only just now; the present token is"
        click.echo(f"{host.platforms.title(row.platform)}: {was} good {until}.")

    with_host(given, work)
