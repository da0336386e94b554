"""The background work of one process: refresh what is due, poll what is due, and the host's own few jobs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import anyio
from anyio.abc import TaskGroup

from soulwatch.host.clock import Clock
from soulwatch.host.poller import Poller
from soulwatch.host.sweeper import Sweeper
from soulwatch.host.ticker import Ticker
from soulwatch.host.trouble import Trouble

logger = logging.getLogger("soulwatch.worker")

LONGEST_REST_S = 2.0
"""Another process may make something due at any time; so long it may go unnoticed."""
RECOVER_EVERY_S = 3.0
"""How soon after its owner's end a refresh is taken up that a crash left open."""
SHORTEST_REST_S = 0.05
REST_WHEN_HELD_UP_S = 1.0
"""What is overdue and was not taken is somebody else's, or has to wait: looking harder does not help."""
PAUSE_AFTER_FAILURE_S = 1.0
PART_FOR_FINISHING = 0.8
"""Of the grace period; the rest is for handing back what did not finish."""
STALE_AFTER = timedelta(seconds=60)


class Worker:
    """Runs until stopped; each loop is restarted where it fails, and leaves a heartbeat where it does not."""

    def __init__(
        self,
        sweeper: Sweeper,
        poller: Poller,
        ticker: Ticker,
        clock: Clock,
        trouble: Trouble,
        *,
        most_polls: int,
        grace: timedelta,
    ) -> None:
        self._sweeper = sweeper
        self._poller = poller
        self._ticker = ticker
        self._clock = clock
        self._trouble = trouble
        self._most_polls = most_polls
        self._grace = grace
        self._running = 0
        self._stopping = anyio.Event()
        self._has_stopped = anyio.Event()
        self._wake_refreshing = anyio.Event()
        self._wake_polling = anyio.Event()
        self._beats: dict[str, datetime] = {}

    def wake(self) -> None:
        """Something may be due that was not: look now."""
        self._wake_refreshing.set()
        self._wake_polling.set()

    def stop(self) -> None:
        """Begin no more; what is running may finish within the grace period."""
        self._stopping.set()
        self.wake()

    async def beat(self) -> None:
        """The ticker lives: one of its jobs is this."""
        self._beats["ticker"] = self._clock.now()

    def stale(self) -> list[str]:
        """Names of the loops that have shown no life for a while."""
        oldest = self._clock.now() - STALE_AFTER
        return [name for name, beat in self._beats.items() if beat < oldest]

    async def run(self) -> None:
        """Work until stopped."""
        try:
            await self._run()
        finally:
            self._has_stopped.set()

    async def stopping(self) -> None:
        """Wait until the work is asked to come to its end."""
        await self._stopping.wait()

    async def stopped(self) -> None:
        """Wait until the work has come to its end."""
        await self._has_stopped.wait()

    async def _run(self) -> None:
        async with anyio.create_task_group() as jobs:
            jobs.start_soon(self._supervised, "ticker", self._ticker.run)
            async with anyio.create_task_group() as loops:
                # What they begin goes on beside them: where looking for more fails, that is not cut off.
                loops.start_soon(self._supervised, "recovery", partial(self._take_up_what_is_left, loops))
                loops.start_soon(self._supervised, "refreshing", partial(self._refresh_what_is_due, loops))
                loops.start_soon(self._supervised, "polling", partial(self._poll_what_is_due, loops))
                await self._stopping.wait()
                # Past the deadline polls are handed back, and refreshes are left to the journal.
                loops.cancel_scope.deadline = anyio.current_time() + PART_FOR_FINISHING * self._grace.total_seconds()
            jobs.cancel_scope.cancel()

    async def _supervised(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            try:
                await loop()
            except (Exception, asyncio.CancelledError) as broken:
                # A loop may hand on the cancellation of something it awaited; in a task group it would end unnoticed.
                if isinstance(broken, asyncio.CancelledError) and _is_to_end():
                    raise
                if not self._trouble.met(broken):
                    logger.exception("%s stopped and is started again", name)
                await self._clock.sleep(PAUSE_AFTER_FAILURE_S)

    async def _take_up_what_is_left(self, group: TaskGroup) -> None:
        while not self._stopping.is_set():
            self._beats["recovery"] = self._clock.now()
            await self._sweeper.recover_into(group)
            await self._sleep(RECOVER_EVERY_S, self._stopping)

    async def _refresh_what_is_due(self, group: TaskGroup) -> None:
        while not self._stopping.is_set():
            self._beats["refreshing"] = self._clock.now()
            self._wake_refreshing = anyio.Event()
            # A platform that is slow to answer holds up its own tokens and no other's.
            await self._sweeper.sweep_into(group)
            await self._rest(await self._sweeper.next_due(), self._wake_refreshing)

    async def _poll_what_is_due(self, group: TaskGroup) -> None:
        while not self._stopping.is_set():
            self._beats["polling"] = self._clock.now()
            self._wake_polling = anyio.Event()
            free = self._most_polls - self._running
            claimed = await self._poller.claim_due(free) if free else []
            for poll in claimed:
                self._running += 1
                group.start_soon(self._poll, poll)
            if len(claimed) < free or not free:
                await self._rest(await self._poller.next_due(), self._wake_polling)

    async def _poll(self, claimed: Any) -> None:
        try:
            await self._poller.poll(claimed)
        except Exception as broken:
            if not self._trouble.met(broken):
                logger.exception("a poll could not even be put off; its lease runs out")
        finally:
            self._running -= 1
            if self._running == self._most_polls - 1:
                self._wake_polling.set()

    async def _rest(self, until: datetime | None, wake: anyio.Event) -> None:
        seconds = LONGEST_REST_S
        if until is not None:
            left = (until - self._clock.now()).total_seconds()
            seconds = REST_WHEN_HELD_UP_S if left <= 0 else min(max(left, SHORTEST_REST_S), LONGEST_REST_S)
        await self._sleep(seconds, wake)

    async def _sleep(self, seconds: float, wake: anyio.Event) -> None:
        async def woken() -> None:
            await wake.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(woken)
            await self._clock.sleep(seconds)
            group.cancel_scope.cancel()


def _is_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
