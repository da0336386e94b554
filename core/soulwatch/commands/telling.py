"""How commands speak: columns for people, a JSON object a line for programs, times in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from soulwatch.host.redaction import visible

NOTHING = "-"


def columns(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows under their heads; the last column is as long as it is."""
    lines = [tuple(head.upper() for head in heads), *(tuple(map(shown, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def shown(value: Any) -> str:
    """One value in one line, nothing in it that a terminal would obey."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return visible(str(value))


def as_json(value: Any) -> None:
    """One value as one line of JSON."""
    import msgspec  # noqa: PLC0415

    # Raw parts keep the line breaks they came with, and a line is an object.
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=-1))


def note(text: str) -> None:
    """Something beside the answer: to standard error, so that the answer can be piped on."""
    click.echo(text, err=True)
