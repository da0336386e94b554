"""The command `soulwatch`: starts fast, and says in one line what is wrong.

Nothing is imported here that `--version` does not need; each command brings what it needs by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from soulwatch import __version__

EXTRAS = {"asyncpg": "postgres"}
"""Modules that another extra brings than `host`."""
NOT_DONE, WRONGLY_ASKED = 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Carry out one command and end the process: 0 done, 1 not done, 2 wrongly asked or wrongly set up."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given == ["--version"]:
        print(f"soulwatch {__version__}")  # noqa: T201
        sys.exit()
    from soulwatch.errors import SettingsError, SoulwatchError  # noqa: PLC0415

    try:
        from soulwatch.commands.root import root  # noqa: PLC0415  - click may be missing

        root.main(given, prog_name="soulwatch")
    except ModuleNotFoundError as missing:
        module = (missing.name or "").partition(".")[0]
        if module in ("", "soulwatch"):
            raise
        _complain(f'This needs more than bare soulwatch: pip install "soulwatch[{EXTRAS.get(module, "host")}]"', module)
        sys.exit(NOT_DONE)
    except (SoulwatchError, ExceptionGroup) as raised:
        ours = next((error for error in _leaves(raised) if isinstance(error, SoulwatchError)), None)
        if ours is None:
            raise
        _complain(f"Error: {ours}")
        sys.exit(WRONGLY_ASKED if isinstance(ours, SettingsError) else NOT_DONE)


def _leaves(raised: BaseException) -> Iterator[BaseException]:
    """What was raised; from a group of tasks, each task's own."""
    if isinstance(raised, BaseExceptionGroup):
        for one in raised.exceptions:
            yield from _leaves(one)
    else:
        yield raised


def _complain(text: str, module: str = "") -> None:
    print(f"{text}  (there is no module {module!r})" if module else text, file=sys.stderr)  # noqa: T201
