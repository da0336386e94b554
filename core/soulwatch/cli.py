"""The command `soulwatch`: starts fast, and says in one line what is wrong.

Nothing is imported here that `--version` does not need; each command brings what it needs by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from soulwatch import __version__
from soulwatch.errors import SettingsError, SoulwatchError

EXTRAS = {"asyncpg": "postgres"}
"""Modules that another extra brings than `host`."""
FAILED, WRONGLY_ASKED = 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command and end the process: 0 done, 1 not done, 2 wrongly asked or wrongly set up."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        _say(f"soulwatch {__version__}", sys.stdout)
        sys.exit(0)
    try:
        from soulwatch.commands.root import root  # noqa: PLC0415  - click may be missing

        root.main(given, prog_name="soulwatch")
    except ModuleNotFoundError as missing:
        module = (missing.name or "").partition(".")[0]
        if module in ("", "soulwatch"):
            raise
        extra = EXTRAS.get(module, "host")
        _say(f'This needs more than the bare soulwatch ({module} is missing): pip install "soulwatch[{extra}]"')
        sys.exit(FAILED)
    except (SoulwatchError, ExceptionGroup) as raised:
        ours = [error for error in _leaves(raised) if isinstance(error, SoulwatchError)]
        if not ours:
            raise
        _say(f"Error: {ours[0]}")
        sys.exit(WRONGLY_ASKED if isinstance(ours[0], SettingsError) else FAILED)


def _leaves(raised: BaseException) -> Iterator[BaseException]:
    """What was raised; from a group of tasks, each task's own."""
    if isinstance(raised, BaseExceptionGroup):
        for one in raised.exceptions:
            yield from _leaves(one)
    else:
        yield raised


def _say(text: str, stream: TextIO | None = None) -> None:
    print(text, file=stream or sys.stderr)
