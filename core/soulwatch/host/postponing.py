"""Polls that did not go well: why is written down and told once, and when to try again."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

import anyio
from sqlalchemy import Row

from soulwatch.endpoint import Endpoint
from soulwatch.errors import NeedsReauth, RateLimited, SoulwatchError, Unavailable, UnexpectedAnswer
from soulwatch.host import news
from soulwatch.host.aftermath import Announce
from soulwatch.host.budget import Budget
from soulwatch.host.clock import Clock
from soulwatch.host.plan import Plan
from soulwatch.host.settling import asked_to_wait_until, reason_of
from soulwatch.host.store import connections, events, polls
from soulwatch.host.store.database import Database
from soulwatch.host.vault import KeyUnavailable
from soulwatch.values import Connection

logger = logging.getLogger("soulwatch.poller")

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=6)
LONGEST_DOUBLING = 12
WITHOUT_KEY = timedelta(minutes=1)


class Postponing:
    """Puts polls off, or hands them back as they were."""

    def __init__(self, database: Database, plan: Plan, budget: Budget, clock: Clock, announce: Announce) -> None:
        self._database = database
        self._plan = plan
        self._budget = budget
        self._clock = clock
        self._announce = announce

    async def put_off(
        self, claimed: Row[Any], whose: Connection | None, endpoint: Endpoint | None, broken: SoulwatchError
    ) -> None:
        """Write down why a poll did not go well and when it is tried again; told where that is news."""
        if isinstance(broken, NeedsReauth) and (whose is None or not await self._is_connected(whose)):
            await self.hand_back(claimed)
            return
        reason, now = reason_of(broken), self._clock.now()
        retry_at = asked_to_wait_until(broken, now) or await self._next_try(claimed, whose, endpoint, broken)
        async with self._database.writing() as transaction:
            is_ours = await polls.put_off(
                transaction, claimed.id, claimed.fence, due_at=retry_at, reason=reason, message=str(broken)
            )
            is_news = is_ours and whose is not None and reason != claimed.reason
            told = [news.endpoint_status(whose, claimed.data_type, reason, str(broken))] if is_news and whose else []
            told = await events.append(transaction, told, now)
        if isinstance(broken, RateLimited) and broken.whole == "client":
            self._budget.block(claimed.platform, retry_at)
            async with self._database.writing() as transaction:
                await polls.put_off_platform(transaction, claimed.platform, retry_at)
        log = logger.warning if told else logger.info
        extra = {"platform": claimed.platform, "connection": claimed.connection_id, "data_type": claimed.data_type}
        log("not polled: %s", broken, extra=extra)
        await self._announce(told)

    async def _is_connected(self, whose: Connection) -> bool:
        async with self._database.reading() as transaction:
            row = await connections.get(transaction, whose.id)
        return row is not None and row.status == "connected"

    async def _next_try(
        self, claimed: Row[Any], whose: Connection | None, endpoint: Endpoint | None, broken: SoulwatchError
    ) -> datetime:
        """What time may mend is tried again no later than its schedule says; what an operator has to mend, then."""
        if isinstance(broken, KeyUnavailable):
            return self._clock.now() + WITHOUT_KEY  # another host may have it
        patiently = self._clock.now() + self._wait(claimed.fail_count)
        if whose is None or endpoint is None or isinstance(broken, RateLimited | UnexpectedAnswer):
            return patiently
        try:
            scheduled = await self._plan.next_due(whose, endpoint) or patiently
        except SoulwatchError:
            return patiently  # the schedule itself is what is wrong
        return min(patiently, scheduled) if isinstance(broken, Unavailable) else scheduled

    def _wait(self, failures: int) -> timedelta:
        longest: timedelta = min(FIRST_WAIT * 2 ** min(failures, LONGEST_DOUBLING), LONGEST_WAIT)
        return longest * (0.5 + self._clock.random() / 2)

    async def hand_back(self, claimed: Row[Any]) -> None:
        """Let a poll go as it was: somebody else takes it, or nobody may."""
        with anyio.CancelScope(shield=True):
            async with self._database.writing() as transaction:
                await polls.hand_back(transaction, claimed.id, claimed.fence)
