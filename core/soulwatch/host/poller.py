"""One poll: pages are read, kept and told; the cursor moves only past what is stored."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError

from soulwatch.api import Api
from soulwatch.endpoint import Endpoint
from soulwatch.errors import CursorExpired, NotFound, PluginError, SoulwatchError, Unavailable
from soulwatch.host.aftermath import Announce
from soulwatch.host.agreed import agreed_time
from soulwatch.host.budget import Budget
from soulwatch.host.causes import cause_of
from soulwatch.host.clock import Clock
from soulwatch.host.plan import Plan
from soulwatch.host.platforms import Platforms
from soulwatch.host.postponing import Postponing
from soulwatch.host.reading import Reading, read_ahead
from soulwatch.host.store import connections, events, items, polls
from soulwatch.host.store.database import Database
from soulwatch.host.tokens import Tokens
from soulwatch.values import Connection, Cursor, Event, Page

logger = logging.getLogger("soulwatch.poller")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one poll went: what is new, or why it did not go well."""

    connection: str
    platform: str
    data_type: str
    new: int = 0
    problem: str | None = None


class LostClaim(SoulwatchError):
    """Another host took this poll over; it carries on from what is stored."""


class Poller:
    """Polls endpoints of connections, as claimed."""

    def __init__(
        self,
        database: Database,
        tokens: Tokens,
        platforms: Platforms,
        plan: Plan,
        budget: Budget,
        clock: Clock,
        announce: Announce,
        owner: str,
        lease: timedelta,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._platforms = platforms
        self._plan = plan
        self._budget = budget
        self._clock = clock
        self._announce = announce
        self._owner = owner
        self._lease = lease
        self._postponing = Postponing(database, plan, budget, clock, announce)

    async def claim_due(self, limit: int) -> list[Row[Any]]:
        """Take polls that are due, at most `limit`, and of each platform no more than may begin at once."""
        now = self._clock.now()
        async with self._database.reading() as transaction:
            waiting = set(await polls.waiting(transaction, now)) - set(self._platforms.switched_off())
        taken: list[Row[Any]] = []
        for platform in sorted(waiting):
            most = min(limit - len(taken), self._budget.places(platform, self._platforms.at_once(platform)))
            if most > 0:
                async with self._database.writing() as transaction:
                    now = await agreed_time(self._clock, transaction)
                    until = now + self._lease
                    taken += await polls.claim(transaction, self._owner, now, until, platform=platform, limit=most)
        return taken

    async def claim_now(self, connection_id: str, data_type: str) -> Row[Any] | None:
        """Take one poll that somebody asks for; None where it is being polled already."""
        async with self._database.writing() as transaction:
            now = await agreed_time(self._clock, transaction)
            return await polls.claim_now(
                transaction, self._owner, now, now + self._lease, connection_id=connection_id, data_type=data_type
            )

    async def poll(self, claimed: Row[Any]) -> Outcome:
        """Carry out a claimed poll. Never raises for what a platform or plugin does: the outcome says it."""
        whose: Connection | None = None
        endpoint: Endpoint | None = None
        try:
            whose = await self._whose(claimed)
            endpoint = await self._endpoint(whose, claimed.data_type)
            async with self._budget.turn(whose.platform, self._platforms.at_once(whose.platform)):
                new = await self._read_within_lease(claimed, whose, endpoint)
        except LostClaim as lost:
            logger.info("%s", lost, extra={"connection": claimed.connection_id, "data_type": claimed.data_type})
            return self._outcome(claimed, problem=str(lost))
        except SoulwatchError as broken:
            await self._postponing.put_off(claimed, whose, endpoint, broken)
            return self._outcome(claimed, problem=str(broken))
        except Exception as broken:
            if isinstance(broken, SQLAlchemyError) and cause_of(broken, self._database.engine.url):
                raise  # no plugin is to blame, and nothing can be written about it: its lease runs out
            logger.exception("a poll failed in a way nobody foresaw", extra={"connection": claimed.connection_id})
            said = PluginError(f"Polling {claimed.platform} {claimed.data_type} failed: {type(broken).__name__}.")
            await self._postponing.put_off(claimed, whose, endpoint, said)
            return self._outcome(claimed, problem=str(said))
        except BaseException:
            await self._postponing.hand_back(claimed)
            raise
        return self._outcome(claimed, new=new)

    def _outcome(self, claimed: Row[Any], *, new: int = 0, problem: str | None = None) -> Outcome:
        return Outcome(claimed.connection_id, claimed.platform, claimed.data_type, new, problem)

    async def _whose(self, claimed: Row[Any]) -> Connection:
        async with self._database.reading() as transaction:
            row = await connections.get(transaction, claimed.connection_id)
        if row is None:
            raise NotFound(f"The connection {claimed.connection_id} is gone.")
        return connections.as_value(row)

    async def _endpoint(self, whose: Connection, data_type: str) -> Endpoint:
        endpoints = await self._plan.endpoints(whose)
        if data_type not in endpoints:
            raise PluginError(f"The plugin {whose.platform} no longer polls {data_type}.", plugin=whose.platform)
        return endpoints[data_type]

    async def _read_within_lease(self, claimed: Row[Any], whose: Connection, endpoint: Endpoint) -> int:
        """Read to the end; whenever nothing is stored for as long as a lease, the reading is given up."""
        with anyio.CancelScope(deadline=self._end_of_lease()) as scope:
            return await self._read_through(claimed, whose, endpoint, scope)
        raise Unavailable(f"{endpoint.name}: nothing came within {self._lease.total_seconds():g} s; it is tried again.")

    def _end_of_lease(self) -> float:
        return anyio.current_time() + self._lease.total_seconds()

    async def _read_through(
        self, claimed: Row[Any], whose: Connection, endpoint: Endpoint, scope: anyio.CancelScope
    ) -> int:
        """Read from where the last poll ended; from the beginning, once, where the platform forgot that place."""
        try:
            return await self._read(claimed, whose, endpoint, Cursor(claimed.cursor, claimed.etag), scope)
        except CursorExpired as expired:
            logger.info("%s Reading starts over.", expired, extra={"connection": whose.id, "data_type": endpoint.name})
            async with self._database.writing() as transaction:
                await polls.start_over(transaction, claimed.id, claimed.fence)
            return await self._read(claimed, whose, endpoint, Cursor(), scope)

    def _api(self, whose: Connection) -> Api:
        async def access_token(refused: str | None) -> str:
            return (await self._tokens.fresh(whose.id, refused=refused)).access

        facts = self._platforms.facts(whose.platform)
        return Api(facts, whose.account, self._platforms.http(whose.platform), access_token, self._clock.now)

    async def _read(
        self, claimed: Row[Any], whose: Connection, endpoint: Endpoint, cursor: Cursor, scope: anyio.CancelScope
    ) -> int:
        reading = Reading(claimed, whose, endpoint, cursor)

        async def keep(batch: list[Page], is_end: bool) -> bool:
            await self._announce(await self._keep(reading, batch, is_end=is_end))
            scope.deadline = self._end_of_lease()
            return not (is_end or reading.is_known)

        await read_ahead(self._pages(whose, endpoint, cursor), keep)
        if not reading.is_finished:
            await keep([], True)
        logger.info(
            "polled %s %s: %d new of %d read",
            whose.platform,
            endpoint.name,
            reading.new,
            reading.done,
            extra={"platform": whose.platform, "connection": whose.id, "user": whose.user, "data_type": endpoint.name},
        )
        return reading.new

    async def _pages(self, whose: Connection, endpoint: Endpoint, cursor: Cursor) -> AsyncIterator[Page]:
        pages = endpoint.pages(self._api(whose), cursor)
        try:
            async for page in pages:
                if not isinstance(page, Page):
                    message = f"The plugin {whose.platform} gave {type(page).__name__} from pages(), expected a Page."
                    raise PluginError(message, plugin=whose.platform)
                yield page
        except httpx.HTTPError as broken:
            message = f"The plugin {whose.platform} let an HTTP error through: {type(broken).__name__}."
            raise PluginError(message, plugin=whose.platform) from broken

    async def _keep(self, reading: Reading, batch: list[Page], *, is_end: bool) -> list[Event]:
        """Store pages, and with the last of them the cursor and what it means, in one transaction."""
        now, claimed, whose = self._clock.now(), reading.claimed, reading.whose
        found = [item for page in batch for item in page.items]
        reading.saw(batch)
        due_at = await self._plan.next_due(whose, reading.endpoint) if is_end else None
        async with self._database.writing() as transaction:
            if not await polls.hold(transaction, claimed.id, claimed.fence, now + self._lease):
                raise LostClaim
            new = await items.keep(transaction, whose, reading.endpoint.name, found, now) if found else 0
            told = reading.tell(new, is_end=is_end)
            if is_end:
                if due_at is not None and reading.wait is not None:
                    due_at = max(due_at, now + reading.wait)
                await polls.finish(
                    transaction, claimed.id, claimed.fence, due_at=due_at, cursor=reading.cursor, now=now
                )
                await connections.synced(transaction, whose.id, now)
            return await events.append(transaction, told, now)

    async def next_due(self) -> datetime | None:
        """When the next poll is due."""
        async with self._database.reading() as transaction:
            return await polls.next_due(transaction)

    async def poll_all(self, connection_id: str, data_type: str | None = None) -> list[Outcome]:
        """Poll every endpoint of a connection now, or one; those that somebody is at already are left out."""
        async with self._database.reading() as transaction:
            known = await polls.of_connections(transaction, [connection_id])
        wanted = [row for row in known if data_type in (None, row.data_type)]
        if not wanted and data_type is not None:
            raise NotFound(f"The connection {connection_id!r} has no endpoint {data_type!r}.")
        outcomes = []
        for row in wanted:
            problem = self._has_to_wait(row)
            claimed = None if problem else await self.claim_now(connection_id, row.data_type)
            if claimed is not None:
                outcomes.append(await self.poll(claimed))
            elif problem:
                outcomes.append(self._outcome(row, problem=problem))
        return outcomes

    def _has_to_wait(self, row: Row[Any]) -> str | None:
        """Why an endpoint may not be polled even for who asks for it; None where it may."""
        if row.platform in self._platforms.switched_off():
            return f"{row.platform} is switched off here (setting platforms.{row.platform}.enabled)."
        if row.reason == "rate_limited" and row.due_at is not None and row.due_at > self._clock.now():
            return f"{row.error_message} It is asked again at {row.due_at:%Y-%m-%d %H:%M:%S} UTC."
        return None
