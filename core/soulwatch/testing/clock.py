"""A clock that moves only when a test says so, and gives the same chance again for the same seed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import anyio
import anyio.lowlevel

START = datetime(2026, 1, 1, tzinfo=UTC)
TURNS_TO_SETTLE = 10
"""Turns of the event loop after each waking: enough for a woken task to start others and to sleep again."""


class _Sleeper(NamedTuple):
    until: timedelta
    order: int
    awake: anyio.Event


async def _settle() -> None:
    for _ in range(TURNS_TO_SETTLE):
        await anyio.lowlevel.checkpoint()


class PlayedClock:
    """Stands in wherever the host takes a `Clock`.

    Time stands still until `advance`, which wakes who sleeps, in order, each at its own moment. `jump` moves the wall
    clock alone, as a correction or a suspend does. After each waking `settle` lets the woken work; the default gives
    the event loop a few turns, enough for what stays in memory. Where sockets or a database are in play, pass one that
    waits for them, such as `lambda: anyio.sleep(0.01)`.
    """

    def __init__(
        self,
        start: datetime = START,
        *,
        seed: int = 0,
        settle: Callable[[], Awaitable[None]] = _settle,
    ) -> None:
        if start.utcoffset() is None:
            raise ValueError(f"PlayedClock cannot start at the naive {start!r}; give it a tzinfo, such as UTC")
        self._start = start.astimezone(UTC)
        self._settle = settle
        self._elapsed = timedelta(0)
        self._jumped = timedelta(0)
        self._sleepers: list[_Sleeper] = []
        self._slept = 0
        self._chance = random.Random(seed)  # noqa: S311 - chance that can be played again is the purpose

    def now(self) -> datetime:
        """The played wall time, aware and UTC."""
        return self._start + self._elapsed + self._jumped

    def monotonic(self) -> float:
        """Seconds advanced since the start; jumps do not count."""
        return self._elapsed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been advanced that far; zero or less only lets others go first."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        # Less than a microsecond would round to no sleep at all, and a loop of such sleeps would never end.
        span = max(timedelta(seconds=seconds), timedelta.resolution)
        self._slept += 1
        sleeper = _Sleeper(self._elapsed + span, self._slept, anyio.Event())
        heappush(self._sleepers, sleeper)
        try:
            await sleeper.awake.wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapify(self._sleepers)

    def random(self) -> float:
        """The seed's next number in [0, 1)."""
        return self._chance.random()

    def token_bytes(self, count: int) -> bytes:
        """The seed's next bytes: predictable, and so never fit for a real secret."""
        return self._chance.randbytes(count)

    @property
    def sleeping(self) -> int:
        """How many sleepers wait for this clock."""
        return len(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move wall and monotonic time on, waking each sleeper at its own moment, those who sleep again too."""
        if seconds < 0:
            raise ValueError(f"advance({seconds}) would turn monotonic time back; jump() moves the wall clock alone")
        target = self._elapsed + timedelta(seconds=seconds)
        await self._settle()
        while self._sleepers and self._sleepers[0].until <= target:
            sleeper = heappop(self._sleepers)
            self._elapsed = max(self._elapsed, sleeper.until)
            sleeper.awake.set()
            await self._settle()
        self._elapsed = max(self._elapsed, target)

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, either way; sleepers sleep on, since they count monotonic time."""
        self._jumped += timedelta(seconds=seconds)
