"""The event loop of the simulation: virtual time, and an order of what is ready that follows from a seed.

On Python 3.12 and later it is simloop's. On 3.11, which simloop does not know, a plain asyncio loop takes its place
whose time jumps to the next timer and whose ready callbacks are shuffled. Neither opens a socket or starts a thread.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from typing import Any


class ShuffledLoop(asyncio.BaseEventLoop):
    """asyncio's own loop with a clock of its own, and its ready callbacks in an order of chance."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._elapsed = 0.0
        self._selector = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._elapsed

    def select(self, timeout: float | None) -> list[Any]:
        """What a selector would do: wait for the next timer, which here is over at once."""
        if timeout is None:
            raise RuntimeError("everything waits and no timer is set: the simulation would stand still for ever")
        self._elapsed += timeout
        return []

    def _run_once(self) -> None:
        self._chance.shuffle(self._ready)
        super()._run_once()

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def new_loop(seed: int) -> asyncio.AbstractEventLoop:
    """A fresh loop for one run."""
    if sys.version_info < (3, 12):
        return ShuffledLoop(seed)
    from simloop import SimLoop  # noqa: PLC0415  - not there on 3.11

    return SimLoop(seed)


def run(seed: int, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run to the end under `seed`; what is left over is cancelled."""
    loop = new_loop(seed)
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main())
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=60))
        asyncio.set_event_loop(None)
        loop.close()
