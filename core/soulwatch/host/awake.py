"""Time limits that do not run out while this process stands still: paused, frozen, or starved of its processor.

Who wakes from that finds both an answer that came meanwhile and a limit that is over, and would be cut off before
reading the answer. It may be the only token there is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

LOOK_EVERY_S = 0.5


@contextmanager
def fail_after_awake(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the block takes longer than that, not counting what this process slept through."""
    loop = asyncio.get_running_loop()
    with anyio.fail_after(seconds) as scope:
        looked_at = loop.time()
        next_look: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal looked_at, next_look
            late = loop.time() - looked_at - LOOK_EVERY_S
            if late > LOOK_EVERY_S:
                scope.deadline += late
            looked_at = loop.time()
            next_look = loop.call_later(LOOK_EVERY_S, look)

        next_look = loop.call_later(LOOK_EVERY_S, look)
        try:
            yield
        finally:
            next_look.cancel()
