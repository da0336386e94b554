"""`soulwatch doctor`: examines an installation, a line for each thing, with the remedy where one is needed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from soulwatch.commands.given import Given, which_installation
from soulwatch.commands.telling import shown
from soulwatch.errors import SettingsError

if TYPE_CHECKING:
    from soulwatch.commands.findings import Finding

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    epilog="""\b
Examples:
  soulwatch doctor
  soulwatch doctor --demo
  soulwatch doctor --config /etc/soulwatch.toml --data-dir /var/lib/soulwatch"""
)
@which_installation
def doctor(given: Given) -> None:
    """Examine this installation and say how to mend what is wrong.

    Each line is "ok", "warn" or "fail"; ends with 1 where one is "fail". It changes nothing.
    """
    import anyio  # noqa: PLC0415

    from soulwatch.commands.checks_of_house import examine_house  # noqa: PLC0415
    from soulwatch.commands.checks_of_machine import examine_machine  # noqa: PLC0415
    from soulwatch.commands.findings import fail, ok  # noqa: PLC0415

    try:
        settings = given.settings()
    except SettingsError as wrong:
        found = [*examine_machine(uses_sqlite=True), fail("Settings", "they cannot be used", str(wrong))]
    else:
        found = [*examine_machine(uses_sqlite=settings.uses_sqlite), ok("Settings", "all understood")]
        found += anyio.run(examine_house, settings)
    _print(found)
    if any(one.level == "fail" for one in found):
        sys.exit(1)


def _print(found: Iterable[Finding]) -> None:
    for one in found:
        level = click.style(f"{one.level:4}", fg=COLOURS[one.level])
        click.echo(f"{level}  {shown(one.title)}: {shown(one.what)}")
        for line in one.remedy.splitlines():
            click.echo(f"        {shown(line)}")
