"""`soulwatch config`: every setting in force and where it came from."""

from __future__ import annotations

import click

from soulwatch.commands.given import Given, which_installation
from soulwatch.commands.telling import columns


@click.command(
    epilog="""\b
Examples:
  soulwatch config
  SOULWATCH_PORT=8080 soulwatch config | grep port"""
)
@which_installation
def config(given: Given) -> None:
    """Print every setting in force and where it came from, secrets masked.

    What wins: command line, environment, .env, soulwatch.toml, default; and what --demo decides over all of them.
    """
    from soulwatch.host.settings import describe  # noqa: PLC0415

    columns(("setting", "value", "from"), describe(given.settings()))
