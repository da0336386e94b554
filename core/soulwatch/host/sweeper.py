"""The background's part in keeping tokens fresh: what is due is refreshed, what a crash left open is taken up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

import anyio
from anyio.abc import TaskGroup

from soulwatch.errors import SoulwatchError
from soulwatch.host.admission import Admission
from soulwatch.host.clock import Clock
from soulwatch.host.processes import is_gone
from soulwatch.host.settling import PROMPT_TRIES, few_of
from soulwatch.host.store import attempts, connections
from soulwatch.host.store.database import Database
from soulwatch.host.tokens import Tokens
from soulwatch.host.trouble import trouble_of

logger = logging.getLogger("soulwatch.tokens")

SWEEP_LIMIT = 1000


class Sweeper:
    """Sends every connection that needs it through the door, not more of a platform at once than it allows."""

    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        admission: Admission,
        clock: Clock,
        is_gone: Callable[[str], bool] = is_gone,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._admission = admission
        self._clock = clock
        self._is_gone = is_gone
        self._limiters: dict[str, anyio.CapacityLimiter] = {}
        self._in_hand: set[str] = set()

    async def sweep(self) -> int:
        """Refresh every token that is due; how many were looked at. One that fails keeps no other waiting."""
        async with anyio.create_task_group() as group:
            begun = await self.sweep_into(group)
        return begun  # noqa: RET504  - they are all done by now

    async def sweep_into(self, group: TaskGroup) -> int:
        """Begin, in `group`, to refresh what is due and not in hand; how many. It does not wait for them to end."""
        without, down = await self._admission.held_up()
        async with self._database.reading() as transaction:
            due = await connections.due(transaction, self._clock.now(), SWEEP_LIMIT, without, down, PROMPT_TRIES)
        places = {platform: self._admission.at_once(platform) for platform in await self._admission.probing()}
        begun = few_of([row for row in due if row.id not in self._in_hand], places)
        self._in_hand.update(row.id for row in begun)
        for row in begun:
            group.start_soon(self._in_hand_once, row.id, row.platform)
        return len(begun)

    async def recover(self) -> int:
        """Take up what a crash left open in the journal, before anything else and whether due or not."""
        now = self._clock.now()
        async with self._database.reading() as transaction:
            left_open = await attempts.orphans(transaction, now)
        gone = {row.lease_owner for row in left_open if row.lease_owner and self._is_gone(row.lease_owner)}
        orphans = [
            row for row in left_open if row.lease_until is None or row.lease_until <= now or row.lease_owner in gone
        ]
        async with anyio.create_task_group() as group:
            for row in orphans:
                take_up = partial(self._tokens.take_up, row, after_a_crash=row.lease_owner in gone)
                group.start_soon(self._in_turn, row.platform, take_up)
        return len(orphans)

    async def next_due(self) -> datetime | None:
        """When the next token is to be refreshed."""
        async with self._database.reading() as transaction:
            return await connections.next_due(transaction)

    async def _in_hand_once(self, connection_id: str, platform: str) -> None:
        try:
            await self._in_turn(platform, partial(self._tokens.fresh, connection_id))
        finally:
            self._in_hand.discard(connection_id)

    async def _in_turn(self, platform: str, work: Callable[[], Awaitable[object]]) -> None:
        """Refresh one, not more of a platform at once than it allows."""
        limiter = self._limiters.setdefault(platform, anyio.CapacityLimiter(self._admission.at_once(platform)))
        async with limiter:
            await self._tried(work)

    async def _tried(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except SoulwatchError as broken:
            logger.debug("not refreshed: %s", broken)
        except Exception as broken:
            if not trouble_of(self._database, self._clock).met(broken):
                logger.exception("a refresh failed in a way nobody foresaw")
