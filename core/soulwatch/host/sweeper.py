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
from soulwatch.host.trouble import Trouble
from soulwatch.host.vault import KeyUnavailable

logger = logging.getLogger("soulwatch.tokens")

SWEEP_LIMIT = 1000
WITHOUT_KEY_S = 60.0


class Sweeper:
    """Sends every connection that needs it through the door, not more of a platform at once than it allows."""

    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        admission: Admission,
        clock: Clock,
        trouble: Trouble,
        is_gone: Callable[[str], bool] = is_gone,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._admission = admission
        self._clock = clock
        self._trouble = trouble
        self._is_gone = is_gone
        self._limiters: dict[str, anyio.CapacityLimiter] = {}
        self._in_hand: set[str] = set()
        self._left_alone: dict[str, float] = {}
        """Connections whose key this host does not have, and until when (monotonic) they are not tried."""
        self._missing: set[bytes] = set()

    async def sweep(self) -> int:
        """Refresh every token that is due; how many were looked at. One that fails keeps no other waiting."""
        async with anyio.create_task_group() as group:
            begun = await self.sweep_into(group)
        return begun  # noqa: RET504  - they are all done by now

    async def sweep_into(self, group: TaskGroup) -> int:
        """Begin, in `group`, to refresh what is due and not in hand; how many. It does not wait for them to end."""
        without, down = await self._admission.held_up()
        async with self._database.reading() as transaction:
            most = SWEEP_LIMIT + len(self._left_alone)
            due = await connections.due(transaction, self._clock.now(), most, without, down, PROMPT_TRIES)
        places = {platform: self._admission.at_once(platform) for platform in await self._admission.probing()}
        begun = few_of([row for row in due if not self._is_taken(row.id)], places)
        for row in begun:
            self._take(group, row.id, row.platform, partial(self._tokens.fresh, row.id))
        return len(begun)

    async def recover(self) -> int:
        """Take up what a crash left open in the journal, whether due or not; how many."""
        async with anyio.create_task_group() as group:
            begun = await self.recover_into(group)
        return begun  # noqa: RET504  - likewise

    async def recover_into(self, group: TaskGroup) -> int:
        """Begin, in `group`, to take up what a crash left open and nobody has in hand; how many."""
        now = self._clock.now()
        switched_off = set(self._admission.switched_off())
        async with self._database.reading() as transaction:
            left_open = await attempts.orphans(transaction, now)
        gone = {row.lease_owner for row in left_open if row.lease_owner and self._is_gone(row.lease_owner)}
        orphans = [
            row
            for row in left_open
            if (row.lease_until is None or row.lease_until <= now or row.lease_owner in gone)
            and row.platform not in switched_off
            and not self._is_taken(row.connection_id)
        ]
        for row in orphans:
            take_up = partial(self._tokens.take_up, row, after_a_crash=row.lease_owner in gone)
            self._take(group, row.connection_id, row.platform, take_up)
        return len(orphans)

    async def next_due(self) -> datetime | None:
        """When the next token is to be refreshed."""
        async with self._database.reading() as transaction:
            return await connections.next_due(transaction)

    def _is_taken(self, connection_id: str) -> bool:
        """Whether it is in hand here, or left alone for a while."""
        return connection_id in self._in_hand or self._left_alone.get(connection_id, 0.0) > self._clock.monotonic()

    def _take(self, group: TaskGroup, connection_id: str, platform: str, work: Callable[[], Awaitable[object]]) -> None:
        self._in_hand.add(connection_id)
        group.start_soon(self._in_turn, connection_id, platform, work)

    async def _in_turn(self, connection_id: str, platform: str, work: Callable[[], Awaitable[object]]) -> None:
        """Refresh one, not more of a platform at once than it allows."""
        limiter = self._limiters.setdefault(platform, anyio.CapacityLimiter(self._admission.at_once(platform)))
        try:
            async with limiter:
                await self._tried(connection_id, work)
        finally:
            self._in_hand.discard(connection_id)

    async def _tried(self, connection_id: str, work: Callable[[], Awaitable[object]]) -> None:
        self._left_alone.pop(connection_id, None)
        try:
            await work()
        except KeyUnavailable as missing:
            # Another host may have the key, so nothing about it is written down.
            level = logging.DEBUG if missing.kid in self._missing else logging.WARNING
            self._missing.add(missing.kid)
            logger.log(level, "some tokens are not refreshed here: %s", missing, extra={"connection": connection_id})
            self._left_alone[connection_id] = self._clock.monotonic() + WITHOUT_KEY_S
        except SoulwatchError as broken:
            logger.debug("not refreshed: %s", broken)
        except Exception as broken:
            if not self._trouble.met(broken):
                logger.exception("a refresh failed in a way nobody foresaw")
