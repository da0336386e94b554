"""`soulwatch login-code` and `soulwatch apikeys`: what opens a host, made and taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from soulwatch.commands.given import Given, which_installation, with_host
from soulwatch.commands.telling import as_json, columns, note

if TYPE_CHECKING:
    from soulwatch.host.host import Host


LONGEST_NAME = 200


@click.command(
    "login-code",
    epilog="""\b
Examples:
  soulwatch login-code
  soulwatch login-code --demo""",
)
@which_installation
def login_code(given: Given) -> None:
    """Make a one-time address that signs the operator in.

    Whoever opens it first, within ten minutes, is the operator: give it to nobody.
    """

    async def work(host: Host) -> None:
        click.echo(sign_in_address(host.settings.base_url, await host.access.login_code()))
        note("Good once, within ten minutes.")

    with_host(given, work, may_begin=True)


def sign_in_address(base_url: str, code: str) -> str:
    """The page where a code signs in; behind the # it is sent to no server and written to no log."""
    return f"{base_url}/sign-in#{code}"


@click.group(
    epilog="""\b
Examples:
  soulwatch apikeys create "my application"
  soulwatch apikeys list
  soulwatch apikeys revoke 8FQx1nKp"""
)
def apikeys() -> None:
    """Make, list and revoke the keys that applications use.

    An application sends its key with each request: Authorization: Bearer sw_...
    """


@apikeys.command(
    epilog="""\b
Examples:
  soulwatch apikeys create "my application"
  SOULWATCH_KEY=$(soulwatch apikeys create ci)"""
)
@click.argument("name")
@which_installation
def create(given: Given, *, name: str) -> None:
    """Make an API key and print it.

    It is shown this once; only a hash of it is kept. NAME is for you to know it by.
    """
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise click.BadParameter(f"has to be 1 to {LONGEST_NAME} printable characters.", param_hint="NAME")

    async def work(host: Host) -> None:
        key_id, key = await host.access.new_key(name)
        click.echo(key)
        note(f"Shown this once. Its id, to revoke it by: {key_id}")

    with_host(given, work, may_begin=True)


@apikeys.command(
    "list",
    epilog="""\b
Examples:
  soulwatch apikeys list
  soulwatch apikeys list --json""",
)
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object a line.")
@which_installation
def list_keys(given: Given, *, wants_json: bool) -> None:
    """List API keys: their ids and names, when made, last used and revoked."""
    names = ("id", "name", "created_at", "last_used_at", "revoked_at")

    async def work(host: Host) -> None:
        rows = [tuple(getattr(row, name) for name in names) for row in await host.access.keys()]
        if wants_json:
            for row in rows:
                as_json(dict(zip(names, row, strict=True)))
        elif rows:
            columns(("id", "name", "made", "last used", "revoked"), rows)
        else:
            note("There are no API keys yet; `soulwatch apikeys create NAME` makes one.")

    with_host(given, work)


@apikeys.command(
    # An id may begin with a dash, which is then no option.
    context_settings={"ignore_unknown_options": True},
    epilog="""\b
Examples:
  soulwatch apikeys revoke 8FQx1nKp""",
)
@click.argument("key_id", metavar="ID")
@which_installation
def revoke(given: Given, *, key_id: str) -> None:
    """Revoke an API key: it opens nothing any more, from now on."""

    async def work(host: Host) -> None:
        await host.access.revoke_key(key_id)
        click.echo(f"Revoked {key_id}.")

    with_host(given, work)
