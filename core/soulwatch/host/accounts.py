"""Connections as their users see them: stored when made, listed with what is wrong, gone for good when ended."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from soulwatch.errors import NotFound, SoulwatchError
from soulwatch.host import news
from soulwatch.host.aftermath import Announce
from soulwatch.host.clock import Clock
from soulwatch.host.plan import Plan
from soulwatch.host.platforms import Platforms
from soulwatch.host.safe import TokenSafe
from soulwatch.host.store import connections, events, flows, polls
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.platform import Platform
from soulwatch.values import Account, Connection, Token

logger = logging.getLogger("soulwatch.connect")

AT_A_TIME = 200


class FlowRefused(SoulwatchError):
    """This connection attempt cannot go on: start it again."""


class Accounts:
    """Makes and ends connections."""

    def __init__(
        self,
        database: Database,
        safe: TokenSafe,
        platforms: Platforms,
        plan: Plan,
        clock: Clock,
        policy: RefreshPolicy,
        announce: Announce,
    ) -> None:
        self._database = database
        self._safe = safe
        self._platforms = platforms
        self._plan = plan
        self._clock = clock
        self._policy = policy
        self._announce = announce

    async def store(
        self, user: str, platform: Platform, account: Account, token: Token, *, flow_id: str | None = None
    ) -> Connection:
        """Keep a connection just made, or made again; its endpoints are due now.

        With it, all or nothing, the flow `flow_id` ends. Raises FlowRefused where that was over before.
        """
        try:
            return await self._store(user, platform, account, token, flow_id)
        except IntegrityError:
            # The same account was connected in another window at the same moment: now it is there.
            return await self._store(user, platform, account, token, flow_id)

    async def _store(
        self, user: str, platform: Platform, account: Account, token: Token, flow_id: str | None
    ) -> Connection:
        now = self._clock.now()
        async with self._database.reading() as transaction:
            known = await connections.find(transaction, user=user, platform=platform.name, account_id=account.id)
        before = known[0] if known else None
        connection_id = before.id if before else _new_id(self._clock)
        key = self._safe.new_key(connection_id, user, platform.name)
        generation = before.generation + 1 if before else 1
        values = {
            **self._safe.seal(
                key, token, connection_id=connection_id, user=user, platform=platform.name, generation=generation
            ),
            "account_name": account.name,
            "token_issued_at": now,
            "next_refresh_at": self._next_refresh(connection_id, token),
            "foretold_days": None,
            "status": "connected",
            "reason": None,
            "error_message": None,
            "fail_count": 0,
            "doubted_at": None,
            "is_ambiguous": False,
            "last_attempt_at": None,
            "updated_at": now,
        }
        made = Connection(connection_id, user, platform.name, account, token.scopes)
        endpoints = await self._plan.endpoints(made)
        due = [
            (name, now if await self._plan.recurrence(platform.name, one) else None) for name, one in endpoints.items()
        ]
        async with self._database.writing() as transaction:
            if flow_id is not None and not await flows.finish(transaction, flow_id, self._clock.now()):
                raise FlowRefused("This connection attempt took too long: start it again.")
            if before is None:
                fixed = {"id": connection_id, "user_id": user, "platform": platform.name, "account_id": account.id}
                await connections.add(transaction, {**fixed, **values, "created_at": now}, key)
            else:
                await connections.replace(transaction, connection_id, values, key)
            await polls.arrange(transaction, connection_id, platform.name, due)
            await polls.make_due(transaction, connection_id, now)
            row = await connections.get(transaction, connection_id)
            news_of_it = news.status(row, {"error_message": f"{platform.title} connected as {account.name}"})  # type: ignore[arg-type]
            told = await events.append(transaction, [news_of_it], now)
        logger.info("connected", extra={"platform": platform.name, "connection": connection_id, "user": user})
        await self._announce(told)
        return made

    def _next_refresh(self, connection_id: str, token: Token) -> Any:
        if token.refresh is None:
            return None
        return self._policy.next_refresh(connection_id, self._clock.now(), token.expires_at)

    async def rows(self, *, user: str | None = None, platform: str | None = None) -> Sequence[Row[Any]]:
        """Connections as the store has them, of a user or of all."""
        async with self._database.reading() as transaction:
            return await connections.find(transaction, user=user, platform=platform)

    async def row(self, connection_id: str, user: str | None = None) -> Row[Any]:
        """One connection. Raises NotFound, also where it is not this user's."""
        async with self._database.reading() as transaction:
            row = await connections.get(transaction, connection_id)
        if row is None or (user is not None and row.user_id != user):
            raise NotFound(f"There is no connection {connection_id!r}.")
        return row

    async def of(self, user: str, platform: str) -> Row[Any]:
        """A user's connection to a platform, the one in use before one that is not. Raises NotFound."""
        found = await self.rows(user=user, platform=platform)
        if not found:
            raise NotFound(f"{user!r} has not connected {platform}; see `soulwatch connections`.")
        return next((row for row in found if row.status == "connected"), found[-1])

    async def arrange(self) -> None:
        """Give each connection a poll for each of its endpoints: plugins may have learned new ones."""
        rows = [row for row in await self.rows() if row.status == "connected"]
        for start in range(0, len(rows), AT_A_TIME):
            some = rows[start : start + AT_A_TIME]
            due = [(row, await self._due(row)) for row in some]
            async with self._database.writing() as transaction:
                for row, when in due:
                    await polls.arrange(transaction, row.id, row.platform, when)

    async def _due(self, row: Row[Any]) -> list[tuple[str, datetime | None]]:
        whose = connections.as_value(row)
        try:
            endpoints = await self._plan.endpoints(whose)
            return [(name, await self._plan.next_due(whose, one)) for name, one in endpoints.items()]
        except SoulwatchError as broken:
            logger.warning("%s", broken, extra={"connection": row.id, "platform": row.platform})
            return []

    async def disconnect(self, connection_id: str, user: str | None = None) -> bool:
        """End a connection for good, here first and then at its platform; whether the platform confirmed."""
        await self.row(connection_id, user)
        now = self._clock.now()
        async with self._database.writing() as transaction:
            # What is revoked is what is there at this moment: a refresh may have ended just before.
            row = await connections.get(transaction, connection_id)
            assert row is not None  # noqa: S101  - rows of connections are not removed
            token = self._token_to_revoke(row)
            ended = await connections.disconnect(transaction, connection_id, now)
            changes = {"status": "disconnected", "error_message": "Disconnected"}
            told = await events.append(transaction, [news.status(row, changes)], now) if ended else []
        self._safe.forget(row)
        logger.info("disconnected", extra={"platform": row.platform, "connection": row.id, "user": row.user_id})
        await self._announce(told)
        return token is None or await self._platforms.revoke(row.platform, token)

    def _token_to_revoke(self, row: Row[Any]) -> Token | None:
        if row.access_token is None:
            return None
        try:
            return self._safe.open(row)
        except SoulwatchError:
            return None  # nobody can open it any more, so there is nothing to hand back


def _new_id(clock: Clock) -> str:
    """A UUID version 7 (RFC 9562 section 5.7): ids made later sort later."""
    ms = int(clock.now().timestamp() * 1000)
    random = int.from_bytes(clock.token_bytes(10))
    value = ms << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))
