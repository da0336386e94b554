"""What to do about a clock that was set back: times that were written before would be waited for too long."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import Table, Update, update

from soulwatch.host.agreed import agreed_time
from soulwatch.host.breaker import PROBE_EVERY
from soulwatch.host.clock import Clock
from soulwatch.host.store.database import Database
from soulwatch.host.store.tables import breakers, connections, polls

logger = logging.getLogger("soulwatch.clock")

STEP = timedelta(minutes=1)
"""Less is how clocks are kept right, and costs nobody anything."""


class ClockWatch:
    """Compares wall time with monotonic time, and makes due what waits for a time that will come twice."""

    def __init__(self, database: Database, clock: Clock, lease: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._lease = lease
        self._apart: float | None = None

    async def look(self) -> None:
        """Note how far the clocks are apart; after a step back, and once at the start, mend what was written."""
        async with self._database.reading() as transaction:
            now = await agreed_time(self._clock, transaction)
        before, self._apart = self._apart, now.timestamp() - self._clock.monotonic()
        step = 0.0 if before is None else self._apart - before
        if abs(step) > STEP.total_seconds():
            logger.warning("the clock was moved by %+.0f s, or the machine slept", step)
        if before is None or step < -STEP.total_seconds():
            await self.mend(is_certain=before is not None)

    async def mend(self, *, is_certain: bool) -> int:
        """Make due what was last done in the future, and shorten leases that nobody could have taken; how many rows.

        Polls that did not go well do not tell when they were tried: they are due too where the step is certain.
        """
        now = self._clock.now()
        future = now + STEP
        was_refreshed = (connections.c.token_issued_at > future) | (connections.c.last_attempt_at > future)
        was_polled = polls.c.reason.is_(None) & (polls.c.last_polled_at > future)
        may_be_late = polls.c.reason.is_not(None) & (polls.c.reason != "rate_limited")
        mended = 0
        async with self._database.writing() as transaction:
            for statement in (
                update(connections)
                .where(connections.c.next_refresh_at > now, was_refreshed)
                .values(next_refresh_at=now),
                update(polls)
                .where(polls.c.due_at > now, was_polled | may_be_late if is_certain else was_polled)
                .values(due_at=now),
                update(breakers).where(breakers.c.probe_at > future + PROBE_EVERY).values(probe_at=now),
                *(self._shortened(table) for table in (connections, polls)),
            ):
                mended += (await transaction.execute(statement)).rowcount
        if mended:
            logger.warning("the clock was set back: %d times that it had passed already were mended", mended)
        return mended

    def _shortened(self, table: Table) -> Update:
        longest = self._clock.now() + self._lease
        return update(table).where(table.c.lease_until > longest + STEP).values(lease_until=longest)
