"""One refresh of one claimed connection: intent, send, keep the answer, read it, apply it by its fence.

Whatever happens at any step, either the old token or the new one can still be found: in the connection's row, or
in the journal, sealed, from where the next claim takes it up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import anyio
import httpx

from soulwatch.errors import PluginError, SoulwatchError, Unavailable
from soulwatch.host import news
from soulwatch.host.aftermath import Aftermath, Announce
from soulwatch.host.attempt import Attempt
from soulwatch.host.awake import fail_after_awake
from soulwatch.host.breaker import Breakers
from soulwatch.host.claims import Claims
from soulwatch.host.clock import Clock
from soulwatch.host.outbound import LARGEST_TOKEN_ANSWER, client_over
from soulwatch.host.platforms import Platforms
from soulwatch.host.safe import RawAnswer, TokenSafe
from soulwatch.host.send_once import Replay, SendOnce
from soulwatch.host.store import attempts, connections, events
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.values import Token

logger = logging.getLogger("soulwatch.tokens")
T = TypeVar("T")

PATIENCE_IN_GRACE_S = 6.0
"""The first time a platform is asked that takes a used token again for a while: an answer that hangs is given up early
enough for that. After an unknown outcome the while may be over, and a platform that is only slow has its full time."""
LET_FINISH_S = 3.0
"""Who is cancelled still waits so long for a request that has left: to cut it off could cost the grant."""

LET_WRITE_S = 30.0
"""Longer than a busy database keeps anybody waiting: what could not be written by then is given up with the process."""
MEANS_A_NEW_GRANT = timedelta(days=1)
PAUSES_S = (0.1, 0.3, 1.0, 2.0)
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0


class Refresher:
    """Refreshes the tokens of claimed connections, one request a generation."""

    def __init__(
        self,
        database: Database,
        safe: TokenSafe,
        platforms: Platforms,
        clock: Clock,
        policy: RefreshPolicy,
        announce: Announce,
        breakers: Breakers,
        claims: Claims,
    ) -> None:
        self._database = database
        self._safe = safe
        self._platforms = platforms
        self._clock = clock
        self._policy = policy
        self._announce = announce
        self._breakers = breakers
        self._aftermath = Aftermath(database, platforms, breakers, clock, policy, announce)
        self._claims = claims
        self._left_over: set[asyncio.Future[Token]] = set()

    async def refresh(self, attempt: Attempt) -> Token:
        """Carry out a claimed attempt. Raises SoulwatchError, the claim given back and the reason written down.

        It goes on in a task of its own, which outlasts a caller that is cancelled, whatever the caller uses for it.
        """
        work = asyncio.ensure_future(self._carry_out(attempt))
        try:
            return await asyncio.shield(work)
        finally:
            if not work.done():
                await self._wind_up(attempt, work)

    async def _wind_up(self, attempt: Attempt, work: asyncio.Future[Token]) -> None:
        with anyio.CancelScope(shield=True):
            if attempt.may_have_been_acted_on:
                await asyncio.wait({work}, timeout=LET_FINISH_S)
            attempt.asking.cancel()
            await asyncio.wait({work}, timeout=LET_FINISH_S)
        # What cannot be written yet is written without whoever asked for it.
        self._left_over.add(work)
        work.add_done_callback(self._hear)

    def _hear(self, work: asyncio.Future[Token]) -> None:
        self._left_over.discard(work)
        if not work.cancelled():
            work.exception()  # nobody is left to hear of it

    async def close(self) -> None:
        """Let what came be written, as long as a busy database may take; then it is given up with the process."""
        if left := set(self._left_over):
            _, late = await asyncio.wait(left, timeout=LET_WRITE_S)
            for work in late:
                work.cancel()
            if late:
                await asyncio.wait(late)

    async def _carry_out(self, attempt: Attempt) -> Token:
        fresh: Token | None = None
        broken: Exception | None = None
        with attempt.asking:
            try:
                fresh = await self._ask(attempt)
            except Exception as raised:  # noqa: BLE001  - named and written down below, outside what may be cut off
                broken = raised
        if broken is not None:
            raise await self._written(attempt, partial(self._aftermath.settle, attempt, broken)) from broken
        if fresh is None:
            await self._claims.give_back(attempt)
            raise Unavailable("The refresh was cut off; ask again.")
        return await self._written(attempt, partial(self._apply, attempt, fresh))

    async def _written(self, attempt: Attempt, write: Callable[[], Awaitable[T]]) -> T:
        """Write down what came of it, again where the database fails for a moment. Raises Unavailable where it goes on.

        Nothing is lost then: the answer is in the journal, and who takes the claim next reads it.
        """
        for pause in PAUSES_S:
            try:
                return await write()
            except SoulwatchError:
                raise
            except Exception as broken:  # noqa: BLE001  - of the database or its driver: there is no end of kinds
                said = f"{type(broken).__name__} at the database"
                logger.warning("what came of a refresh could not be written down: %s", said, extra=attempt.whose)
            await self._clock.sleep(pause)
        with suppress(Exception):
            await self._claims.give_back(attempt)
        raise Unavailable("What came of a refresh could not be written down; it is read again from the journal.")

    async def _wait_for_late_answer(self, attempt: Attempt) -> None:
        """Before the same token is sent again: its answer may be there, and was only kept from being stored."""
        await self._clock.sleep(self._policy.late_answer.total_seconds())
        async with self._database.reading() as transaction:
            earlier = await attempts.answered_of(transaction, attempt.row)
        if earlier is None:
            return
        answer = self._safe.open_answer(attempt.row, earlier.id, earlier.answer)
        async with self._database.writing() as transaction:
            await attempts.close(transaction, attempt.id, "not_sent", self._clock.now(), "an answer came in late")
        attempt.id, attempt.answer = earlier.id, answer

    async def _ask(self, attempt: Attempt) -> Token:
        if attempt.is_in_doubt:
            await self._wait_for_late_answer(attempt)
        row, lease_s = attempt.row, self._policy.lease.total_seconds()
        token = self._safe.open(row)
        facts = self._platforms.facts(row.platform)
        client = attempt.client = self._platforms.client(facts)
        plugin = self._platforms.plugin(row.platform)
        async with client_over(self._way(attempt)) as http:
            try:
                with fail_after_awake(lease_s):
                    fresh = await plugin.refresh_token(token, client, http)
                return kept_on(token, fresh, plugin.name, must_rotate=facts.oauth.must_rotate)
            except TimeoutError:
                message = f"The plugin {plugin.name} did not come to an end in refresh_token within {lease_s:g} s."
                raise PluginError(message, plugin=plugin.name) from None

    def _way(self, attempt: Attempt) -> httpx.AsyncBaseTransport:
        if attempt.answer is not None:
            return Replay(attempt.answer)

        async def keep(answer: RawAnswer) -> None:
            await self._keep(attempt, self._safe.seal_answer(attempt.row, attempt.id, answer))

        row, within_s = attempt.row, self._policy.exchange_within_s
        if self._platforms.facts(row.platform).oauth.rotation == "grace" and not row.is_ambiguous:
            within_s = min(within_s, PATIENCE_IN_GRACE_S)
        way = self._platforms.token_way(row.platform).limited(LARGEST_TOKEN_ANSWER, within_s)
        attempt.transport = SendOnce(way, self._clock, attempt.deadline, keep)
        return attempt.transport

    async def _keep(self, attempt: Attempt, sealed: bytes) -> None:
        """Into the journal; however long that takes, since this may be the only token there is."""
        pause = FIRST_PAUSE_S
        while True:
            try:
                async with self._database.writing() as transaction:
                    await attempts.receive(transaction, attempt.id, sealed)
            except Exception:
                logger.exception("a token answer could not be stored; it is tried again", extra=attempt.whose)
                await self._clock.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                return

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
        if _is_later(columns["grant_expires_at"], row.grant_expires_at):
            columns["foretold_days"] = None
        told = [news.token_refresh(row, self._platforms.title(row.platform), fresh)]
        if row.reason is not None:
            told.append(news.status(row, {"reason": None, "error_message": "Well again"}))
        if missing := sorted(set(row.scopes.split()) - set(fresh.scopes)):
            text = f"The platform no longer allows: {', '.join(missing)}"
            told.append(news.status(row, {"reason": "scope_missing", "error_message": text}))
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
                await self._breakers.taken(transaction, self._platforms.client_key(self._platforms.facts(row.platform)))
                told = await events.append(transaction, told, now)
        if not applied:
            await self._came_too_late(attempt, fresh)
            raise Unavailable("The connection changed while its token was being refreshed; ask again.")
        logger.info("token refreshed", extra=attempt.whose)
        await self._aftermath.answered(row.platform)
        await self._announce(told)
        return fresh

    async def _came_too_late(self, attempt: Attempt, fresh: Token) -> None:
        """The fence moved on: what was brought stays in the journal, or is revoked if the grant is no longer ours."""
        async with self._database.reading() as transaction:
            row = await connections.get(transaction, attempt.row.id)
        if row is not None and row.generation == attempt.row.generation:
            return  # a successor holds the claim and finds the answer in the journal
        async with self._database.writing() as transaction:
            await attempts.close(transaction, attempt.id, "superseded", self._clock.now())
        # Connected again meanwhile, the new grant may be one with the old: at some platforms it would be revoked too.
        if row is None or row.status == "disconnected":
            logger.info("disconnected during a refresh: revoking what it brought", extra={"connection": attempt.row.id})
            self._safe.forget(attempt.row)
            await self._platforms.revoke(attempt.row.platform, fresh)


def kept_on(before: Token, fresh: Token, plugin: str, *, must_rotate: bool) -> Token:
    """A new token, with what its plugin left out as it was. Raises PluginError for what must not be left out."""
    if fresh.refresh is None and before.refresh is not None and must_rotate:
        message = f"The plugin {plugin} gave no refresh token, though its platform sends a new one each time."
        raise PluginError(message, plugin=plugin)
    ends_at = fresh.grant_expires_at or before.grant_expires_at
    return replace(fresh, refresh=fresh.refresh or before.refresh, grant_expires_at=ends_at)


def _is_later(end: datetime | None, before: datetime | None) -> bool:
    """Whether a grant now ends later than was known; answers that count whole seconds differ by less than one."""
    return end != before and (end is None or before is None or end - before > MEANS_A_NEW_GRANT)
