"""How far something is, on a terminal. For polls it is a plugin itself, that hears events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from soulwatch.hookspecs import hookimpl
from soulwatch.values import Event

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from soulwatch.host.plugins import Plugins


class Quiet:
    """No progress: standard error is no terminal."""

    def done(self, connection: str, data_type: str) -> None:
        """One poll ended."""


class Bars(Quiet):
    """A bar for all polls, and one for each poll of several pages while it lasts."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._all = progress.add_task("polling", total=total)
        self._each: dict[tuple[str | None, Any], TaskID] = {}

    @hookimpl
    def on_event(self, event: Event) -> None:
        """A poll has read more."""
        if event.type != "extraction_progress":
            return
        place = (event.connection, event.data.get("dataType"))
        if place not in self._each:
            self._each[place] = self._progress.add_task(f"{event.platform} {place[1]}", total=None)
        total, done = event.data.get("total"), event.data.get("done")
        self._progress.update(self._each[place], total=total, completed=done)

    def done(self, connection: str, data_type: str) -> None:
        """One poll ended: its bar goes, the bar for all moves on."""
        bar = self._each.pop((connection, data_type), None)
        if bar is not None:
            self._progress.remove_task(bar)
        self._progress.advance(self._all)


@contextmanager
def shown_progress(plugins: Plugins, total: int) -> Iterator[Quiet]:
    """Progress of `total` polls while the block lasts."""
    if not sys.stderr.isatty():
        yield Quiet()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*shown, console=Console(stderr=True), transient=True) as progress:
        bars = Bars(progress, total)
        plugins.register(bars, "progress", "soulwatch")
        yield bars


@contextmanager
def shown_count(what: str) -> Iterator[Callable[[int], None]]:
    """How many so far, while the block lasts, of a number nobody knows before."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(f"0 {what}") as status:
        yield lambda count: status.update(f"{count} {what}")
