"""One refresh of one claimed connection: intent, send, keep the answer, read it, apply it by its fence.

Whatever happens at any step, either the old token or the new one can still be found: in the connection's row, or
in the journal, sealed, from where the next claim takes it up.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
from sqlalchemy import Row

from soulwatch.errors import NeedsReauth, PlatformError, PluginError, SoulwatchError, Unavailable
from soulwatch.host import news
from soulwatch.host.clock import Clock
from soulwatch.host.outbound import LARGEST_TOKEN_ANSWER, client_over
from soulwatch.host.platforms import Platforms
from soulwatch.host.safe import RawAnswer, TokenSafe
from soulwatch.host.send_once import Replay, SendOnce
from soulwatch.host.settling import changes_after
from soulwatch.host.store import attempts, connections, events
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.values import Event, Token

logger = logging.getLogger("soulwatch.tokens")

Announce = Callable[[list[Event]], Awaitable[None]]


@dataclass(slots=True)
class Attempt:
    """A claimed connection and the journal entry of what is being tried for it."""

    row: Row[Any]
    id: int
    deadline: float
    """Monotonic time after which nothing may be sent."""
    answer: RawAnswer | None = None
    """What was answered before a crash, to be read instead of sending."""
    transport: SendOnce | None = None

    def state_after(self, error: SoulwatchError) -> str:
        """How the journal closes this attempt; `received` where its answer still has to be read."""
        is_kept = self.answer is not None or (self.transport is not None and self.transport.is_answered)
        if isinstance(error, PluginError) and is_kept:
            return "received"  # the plugin is at fault, and what it could not read may be the only token there is
        if is_kept:
            return "rejected"
        return "unknown" if self.may_have_been_acted_on else "not_sent"

    @property
    def may_have_been_acted_on(self) -> bool:
        """Whether the platform may have used up the refresh token although no answer is kept."""
        return self.transport is not None and self.transport.is_sent and not self.transport.is_answered


class Refresher:
    """Claims connections and refreshes their tokens, one request a generation."""

    def __init__(
        self,
        database: Database,
        safe: TokenSafe,
        platforms: Platforms,
        clock: Clock,
        policy: RefreshPolicy,
        announce: Announce,
        owner: str,
    ) -> None:
        self._database = database
        self._safe = safe
        self._platforms = platforms
        self._clock = clock
        self._policy = policy
        self._announce = announce
        self._owner = owner

    async def claim(self, connection_id: str) -> Attempt | None:
        """Take the sole right to refresh, and write down the intent with it; None where somebody else has it."""
        started, now = self._clock.monotonic(), self._clock.now()
        deadline = started + self._policy.send_within * self._policy.lease.total_seconds()
        async with self._database.writing() as transaction:
            row = await connections.claim(transaction, connection_id, self._owner, now, now + self._policy.lease)
            if row is None:
                return None
            attempt = None
            for earlier in await attempts.open_of(transaction, connection_id, row.fence):
                attempt = await self._take_up(transaction, row, earlier, deadline) or attempt
            if attempt is None:
                journal_id = await attempts.intend(
                    transaction,
                    connection_id=connection_id,
                    platform=row.platform,
                    fence=row.fence,
                    generation=row.generation,
                    fingerprint=row.token_fingerprint,
                    now=now,
                )
                attempt = Attempt(row, journal_id, deadline)
            return attempt

    async def _take_up(self, transaction: Any, row: Row[Any], earlier: Row[Any], deadline: float) -> Attempt | None:
        """What a claim before this one left behind: an answer to apply, or the doubt whether anything was sent."""
        is_current = earlier.token_fingerprint == row.token_fingerprint
        if is_current and earlier.state == "received" and earlier.answer is not None:
            answer = self._safe.open_answer(row, earlier.id, earlier.answer)
            return Attempt(row, earlier.id, deadline, answer=answer)
        if is_current:
            await connections.mark(transaction, row.id, row.fence, is_ambiguous=True)
        await attempts.close(transaction, earlier.id, "unknown" if is_current else "superseded", self._clock.now())
        return None

    async def refresh(self, attempt: Attempt) -> Token:
        """Carry out a claimed attempt. Raises SoulwatchError, the claim given back and the reason written down."""
        row = attempt.row
        try:
            token = self._safe.open(row)
            facts = self._platforms.facts(row.platform)
            client = self._platforms.client(facts)
            async with client_over(self._way(attempt)) as http:
                fresh = await self._platforms.plugin(row.platform).refresh_token(token, client, http)
        except (SoulwatchError, httpx.HTTPError) as broken:
            raise await self._settle(attempt, _named(broken, attempt)) from broken
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._give_back(attempt)
            raise
        return await self._apply(attempt, fresh)

    def _way(self, attempt: Attempt) -> httpx.AsyncBaseTransport:
        if attempt.answer is not None:
            return Replay(attempt.answer)

        async def keep(answer: RawAnswer) -> None:
            sealed = self._safe.seal_answer(attempt.row, attempt.id, answer)
            async with self._database.writing() as transaction:
                await attempts.receive(transaction, attempt.id, sealed)

        way = self._platforms.way(attempt.row.platform).limited(LARGEST_TOKEN_ANSWER)
        attempt.transport = SendOnce(way, self._clock, attempt.deadline, keep)
        return attempt.transport

    async def _apply(self, attempt: Attempt, fresh: Token) -> Token:
        row, now = attempt.row, self._clock.now()
        columns = self._safe.seal(
            row.sealed_key,
            fresh,
            connection_id=row.id,
            user=row.user_id,
            platform=row.platform,
            generation=row.generation + 1,
        )
        if columns["grant_expires_at"] != row.grant_expires_at:
            columns["foretold_days"] = None
        told = [news.token_refresh(row, self._platforms.title(row.platform), fresh)]
        if row.reason is not None:
            told.append(news.status(row, {"reason": None, "error_message": "Well again"}))
        async with self._database.writing() as transaction:
            applied = await connections.let_go(
                transaction,
                row.id,
                row.fence,
                **columns,
                token_issued_at=now,
                next_refresh_at=self._policy.next_refresh(row.id, now, fresh.expires_at),
                last_attempt_at=now,
                fail_count=0,
                reason=None,
                error_message=None,
                doubted_at=None,
                is_ambiguous=False,
                updated_at=now,
            )
            if applied:
                await attempts.close(transaction, attempt.id, "applied", now)
                told = await events.append(transaction, told, now)
        if not applied:
            await self._came_too_late(attempt, fresh)
            raise Unavailable("The connection changed while its token was being refreshed; ask again.")
        logger.info("token refreshed", extra={"platform": row.platform, "connection": row.id, "user": row.user_id})
        await self._announce(told)
        return fresh

    async def _came_too_late(self, attempt: Attempt, fresh: Token) -> None:
        """The fence moved on: what was brought stays in the journal, or is revoked if the grant is no longer ours."""
        async with self._database.reading() as transaction:
            row = await connections.get(transaction, attempt.row.id)
        if row is not None and row.token_fingerprint == attempt.row.token_fingerprint:
            return  # a successor holds the claim and finds the answer in the journal
        async with self._database.writing() as transaction:
            await attempts.close(transaction, attempt.id, "superseded", self._clock.now())
        if row is None or row.sealed_key != attempt.row.sealed_key:
            logger.info("disconnected during a refresh: revoking what it brought", extra={"connection": attempt.row.id})
            await self._platforms.revoke(attempt.row.platform, fresh)

    async def _give_back(self, attempt: Attempt) -> None:
        """Cancelled: the claim is free at once, and the journal says how far it got."""
        async with self._database.writing() as transaction:
            if attempt.transport is None or not attempt.transport.is_sent:
                await attempts.close(transaction, attempt.id, "not_sent", self._clock.now(), "cancelled")
            await connections.let_go(transaction, attempt.row.id, attempt.row.fence)

    async def _settle(self, attempt: Attempt, error: SoulwatchError) -> SoulwatchError:
        """Write down what a failure means, let the claim go, and say what the caller is to be told."""
        row, now = attempt.row, self._clock.now()
        title, hint = self._platforms.title(row.platform), self._platforms.hint(row.platform)
        async with self._database.writing() as transaction:
            others = await attempts.open_of(transaction, row.id, row.fence)
            is_contradicted = any(other.state == "received" and other.id != attempt.id for other in others)
            changes = changes_after(
                row, error, self._policy, now, self._clock.random(), is_contradicted=is_contradicted
            )
            if "status" in changes:
                changes["error_message"] = (
                    f"{title} no longer honours this connection: connect it again. {hint}".strip()
                )
            state = attempt.state_after(error)
            if state != "received":
                await attempts.close(transaction, attempt.id, state, now, str(error))
            is_ours = await connections.let_go(transaction, row.id, row.fence, **changes)
            is_news = "status" in changes or changes["reason"] != row.reason
            told = await events.append(transaction, [news.status(row, changes)], now) if is_ours and is_news else []
        log = logger.warning if is_news else logger.info
        log("token not refreshed: %s", error, extra={"platform": row.platform, "connection": row.id})
        await self._announce(told)
        if isinstance(error, NeedsReauth) and "status" not in changes:
            return Unavailable(str(error), retry_at=changes["next_refresh_at"], code=error.code)
        return error


def _named(broken: Exception, attempt: Attempt) -> SoulwatchError:
    """A transport's error as one of ours; whether the platform may have acted is known by what left this host."""
    if isinstance(broken, PlatformError):
        if attempt.may_have_been_acted_on:
            broken.ambiguous = True
        return broken
    if isinstance(broken, SoulwatchError):
        return broken
    kind = type(broken).__name__
    return Unavailable(
        f"The token endpoint could not be asked: {kind}.", code=kind, ambiguous=attempt.may_have_been_acted_on
    )
