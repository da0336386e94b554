"""A clock on which work takes the time that it takes, and a rest takes none: for hours that are to be lived through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from soulwatch import Token
from soulwatch.host.clock import SystemClock
from soulwatch.host.host import Host


class SkippingClock(SystemClock):
    """The machine's clock, put forward to the next who wakes whenever nobody is at work.

    At work is whoever has a transaction open or refreshes a token, see `watch`, and whatever the event loop can go on
    with. All of that takes its real time, so that being late by this clock is being late.
    """

    def __init__(self) -> None:
        self.skipped_s = 0.0
        """How long nobody had anything to do: no machine, however slow, makes it longer."""
        self._at_work = 0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = count()
        self._changed = anyio.Event()

    def now(self) -> datetime:
        """The machine's wall time, and what was skipped."""
        return datetime.now(UTC) + timedelta(seconds=self.skipped_s)

    def monotonic(self) -> float:
        """The machine's monotonic seconds, and what was skipped."""
        return time.monotonic() + self.skipped_s

    async def sleep(self, seconds: float) -> None:
        """Sleep that long by this clock."""
        if seconds <= 0:
            await checkpoint()
            return
        sleeper = (self.monotonic() + seconds, next(self._order), anyio.Event())
        heappush(self._sleepers, sleeper)
        self._changed.set()
        try:
            await sleeper[2].wait()
        finally:
            if sleeper in self._sleepers:
                self._sleepers.remove(sleeper)
                heapify(self._sleepers)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Nothing is skipped inside this block."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            if not self._at_work:
                self._changed.set()

    def watch(self, host: Host) -> None:
        """Count what a host does with its database, and its refreshes with all that they wait for, as work."""
        for name in ("reading", "writing"):
            setattr(host.database, name, self._counted(getattr(host.database, name)))
        fresh = host.tokens.fresh

        async def counted(*what: Any, **how: Any) -> Token:
            with self.at_work():
                return await fresh(*what, **how)

        host.tokens.fresh = counted

    def _counted(self, enter: Callable[[], AbstractAsyncContextManager[Any]]) -> Callable[[], Any]:
        @asynccontextmanager
        async def counted() -> AsyncIterator[Any]:
            with self.at_work():
                async with enter() as transaction:
                    yield transaction

        return counted

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The clock goes inside this block."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._run)
            yield
            group.cancel_scope.cancel()

    async def _run(self) -> None:
        loop: Any = asyncio.get_running_loop()
        while True:
            self._wake()
            self._changed = anyio.Event()
            await checkpoint()
            if loop._ready and not self._at_work:
                continue
            if self._sleepers and not self._at_work:
                self.skipped_s += max(0.0, self._sleepers[0][0] - self.monotonic())
                continue
            left = self._sleepers[0][0] - self.monotonic() if self._sleepers else 1.0
            with anyio.move_on_after(left):
                await self._changed.wait()

    def _wake(self) -> None:
        now = self.monotonic()
        while self._sleepers and self._sleepers[0][0] <= now:
            heappop(self._sleepers)[2].set()
