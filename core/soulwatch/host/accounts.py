"""Connections as their users see them: stored when made, listed with what is wrong, gone for good when ended."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.errors import NotFound, SoulwatchError
from soulwatch.host import news
from soulwatch.host.aftermath import Announce
from soulwatch.host.clock import Clock
from soulwatch.host.outbound import client_over
from soulwatch.host.plan import Plan
from soulwatch.host.platforms import Platforms
from soulwatch.host.safe import RawAnswer, TokenSafe
from soulwatch.host.send_once import Replay
from soulwatch.host.store import attempts, connections, events, flows, polls
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.platform import Platform
from soulwatch.values import Account, Connection, Token

logger = logging.getLogger("soulwatch.connect")

AT_A_TIME = 200
TRIES = 3


class ChangedMeanwhile(Exception):
    """Somebody else wrote about this connection since it was looked at."""


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
        for _ in range(TRIES):
            try:
                return await self._store(user, platform, account, token, flow_id)
            except (IntegrityError, ChangedMeanwhile):
                # Connected in another window at the same moment, or refreshed: now it is seen as it is.
                continue
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
            await self._check_unchanged(transaction, before)
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

    async def _check_unchanged(self, transaction: AsyncConnection, before: Row[Any] | None) -> None:
        """The generation counts up for each token: two must not have the same. Raises ChangedMeanwhile."""
        if before is not None:
            now = await connections.held(transaction, before.id)
            if now is None or now.generation != before.generation:
                raise ChangedMeanwhile

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

    async def is_connected(self, platform: str, account: Account) -> bool:
        """Whether anybody here lives on a grant of this account."""
        async with self._database.reading() as transaction:
            found = await connections.find(transaction, platform=platform, account_id=account.id)
        return any(row.status == "connected" for row in found)

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
            row = await connections.held(transaction, connection_id)
            assert row is not None  # noqa: S101  - rows of connections are not removed
            left_open = await attempts.open_of(transaction, connection_id, row.fence + 1)
            token = self._token_in(row)
            answers = [self._answer_in(row, one) for one in left_open if one.state == "received"]
            ended = await connections.disconnect(transaction, connection_id, now)
            changes = {"status": "disconnected", "error_message": "Disconnected"}
            told = await events.append(transaction, [news.status(row, changes)], now) if ended else []
        self._safe.forget(row)
        logger.info("disconnected", extra={"platform": row.platform, "connection": row.id, "user": row.user_id})
        await self._announce(told)
        if token is None:
            return True
        brought = [await self._token_of(row, token, answer) for answer in answers if answer is not None]
        confirmed = [await self._platforms.revoke(row.platform, one) for one in [*filter(None, brought), token]]
        # What a request brings that is under way is revoked when it comes in; one whose process is gone may have
        # brought a token that nobody knows.
        is_certain = row.lease_until is not None and row.lease_until > now
        return all(confirmed) and (is_certain or not any(one.state == "intent" for one in left_open))

    def _token_in(self, row: Row[Any]) -> Token | None:
        if row.access_token is None:
            return None
        try:
            return self._safe.open(row)
        except SoulwatchError:
            return None  # nobody can open it any more, so there is nothing to hand back

    def _answer_in(self, row: Row[Any], attempt: Row[Any]) -> RawAnswer | None:
        try:
            return self._safe.open_answer(row, attempt.id, attempt.answer)
        except SoulwatchError:
            return None  # likewise; or it belongs to a generation before

    async def _token_of(self, row: Row[Any], before: Token, answer: RawAnswer) -> Token | None:
        """The token in an answer that was kept and not applied; None where it holds none."""
        try:
            facts, plugin = self._platforms.facts(row.platform), self._platforms.plugin(row.platform)
            async with client_over(Replay(answer)) as http:
                return await plugin.refresh_token(before, self._platforms.client(facts), http)
        except (SoulwatchError, httpx.HTTPError) as broken:
            logger.warning("a kept answer cannot be read, nor revoked: %s", broken, extra={"connection": row.id})
            return None


def _new_id(clock: Clock) -> str:
    """A UUID version 7 (RFC 9562 section 5.7): ids made later sort later."""
    ms = int(clock.now().timestamp() * 1000)
    random = int.from_bytes(clock.token_bytes(10))
    value = ms << 80 | 0x7 << 76 | (random >> 68 & 0xFFF) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    return str(uuid.UUID(int=value))
