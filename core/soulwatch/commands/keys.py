"""`soulwatch keygen` and `soulwatch keys`: the keys that seal tokens, made and changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from soulwatch.commands.given import Given, which_installation, with_host
from soulwatch.commands.progress import shown_count
from soulwatch.commands.telling import note

if TYPE_CHECKING:
    from soulwatch.host.host import Host
    from soulwatch.host.rekeying import Rotated


@click.command(
    epilog="""\b
Examples:
  soulwatch keygen
  (umask 077; echo "ENCRYPTION_KEY=$(soulwatch keygen)" >> .env)"""
)
def keygen() -> None:
    """Print a new encryption key.

    It seals every token in the database. Keep it somewhere else than the database: who loses it loses the tokens.
    `soulwatch keys rotate --help` says how to change it.
    """
    from soulwatch.host.keys import generate_key  # noqa: PLC0415

    click.echo(generate_key())


@click.group(
    epilog="""\b
Examples:
  soulwatch keys rotate"""
)
def keys() -> None:
    """Change the encryption key."""


@keys.command(
    epilog="""\b
Examples:
  ENCRYPTION_KEY="$NEW,$OLD" soulwatch keys rotate"""
)
@which_installation
def rotate(given: Given) -> None:
    """Seal everything under the newest encryption key.

    Put the new key before the old one (ENCRYPTION_KEY="new,old"), restart the host, and run this: it moves what the old
    one sealed. Hosts may go on meanwhile, and it can be cut off and run again. Then the old key may be taken out.

    Where there are several hosts, put the new key behind the old one on every host first: it must not be run before
    all of them know the new key.
    """
    from soulwatch.host import rekeying  # noqa: PLC0415

    async def work(host: Host) -> Rotated:
        with shown_count("moved") as progress:
            return await rekeying.rotate(host.database, host.vault, progress)

    done = with_host(given, work)
    if done.damaged:
        note(f"{done.damaged} could not be moved: they are damaged. Their accounts have to be connected again.")
    if done.without_key:
        note(f"{done.without_key} could not be moved: put the key that sealed them back into ENCRYPTION_KEY.")
        raise click.exceptions.Exit(1)
    click.echo(f"All is sealed under the newest key, {done.moved} moved.")
    click.echo("A host that does not know the newest key yet cannot open a token: restart it with that key now.")
    click.echo("Older keys may be taken out of ENCRYPTION_KEY. Backups made before still need them.")
