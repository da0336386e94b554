"""The one door to a token fit for use. Sweeps, polls and callers all walk through `fresh()`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

import anyio
from sqlalchemy import Row

from soulwatch.errors import NeedsReauth, NotFound, SoulwatchError, Unavailable
from soulwatch.host import news
from soulwatch.host.admission import Admission
from soulwatch.host.aftermath import Announce
from soulwatch.host.attempt import Attempt
from soulwatch.host.claims import Claims
from soulwatch.host.clock import Clock
from soulwatch.host.refresher import Refresher
from soulwatch.host.safe import TokenSafe
from soulwatch.host.second_look import SecondLook
from soulwatch.host.settling import ended, is_urgent, reason_of
from soulwatch.host.store import connections, events
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.host.vault import KeyUnavailable
from soulwatch.values import Token

logger = logging.getLogger("soulwatch.tokens")

LOOK_AGAIN_S = 0.05
USABLE_FOR = timedelta(seconds=5)
"""A token with less life than this could end on its way to the platform."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class Turn:
    """Whose turn it is to look after one connection, and what those before have brought."""

    lock: anyio.Lock = field(default_factory=anyio.Lock)
    brought: int = 0
    token: Token | None = None

    def bring(self, token: Token) -> None:
        """Hand a new token to those who are waiting."""
        self.token = token
        self.brought += 1

    def since(self, seen: int) -> Token | None:
        """What was brought since so many had been, if anything was."""
        return self.token if self.brought > seen else None


class Tokens:
    """Tokens of connections, refreshed in time by whoever needs them first."""

    def __init__(
        self,
        database: Database,
        safe: TokenSafe,
        admission: Admission,
        claims: Claims,
        refresher: Refresher,
        clock: Clock,
        policy: RefreshPolicy,
        announce: Announce,
        second_look: SecondLook,
    ) -> None:
        self._database = database
        self._safe = safe
        self._admission = admission
        self._claims = claims
        self._refresher = refresher
        self._clock = clock
        self._policy = policy
        self._announce = announce
        self._second_look = second_look
        self._turns: WeakValueDictionary[str, Turn] = WeakValueDictionary()

    async def fresh(self, connection_id: str, *, refused: str | None = None, is_asked_for: bool = False) -> Token:
        """A token fit for use, refreshed first where it is due.

        `refused` is an access token that the platform has just not accepted; `is_asked_for` refreshes whether due
        or not, and does not wait for a cool-down. Raises NotFound, NeedsReauth, or an error that says when to ask
        again.
        """
        turn = self._turns.setdefault(connection_id, Turn())
        seen = turn.brought
        # From here on, or each of many callers would wait as long after the one before it.
        patience = self._clock.monotonic() + self._policy.wait.total_seconds()
        async with turn.lock:
            brought = turn.since(seen)
            if brought is not None and brought.access != refused:
                return brought
            while True:
                row = await self._row(connection_id)
                token = await self._opened(row)
                usable = token if self._is_usable(token, refused) else None
                if usable and not (self._is_due(row) or is_asked_for):
                    return usable
                if not await self._may_try(row, token, usable, is_asked_for=is_asked_for):
                    return usable or token  # asked for or not, a new one may not be sent for yet
                # Who asks for a new token is not served with the old one, good as it may be.
                instead = None if is_asked_for else usable
                attempt = await self._claim(row, instead)
                if attempt is not None:
                    fresh = await self._refresh(attempt, instead)
                    if fresh is not instead:
                        turn.bring(fresh)
                    return fresh
                if (await self._row(connection_id)).generation != row.generation:
                    continue  # another host was quicker
                if instead:
                    return instead
                await self._wait_for_other(row, patience)

    async def _claim(self, row: Row[Any], usable: Token | None) -> Attempt | None:
        """The sole right to refresh; None where somebody has it, or where it can wait while our client is refused."""
        if row.is_any_breaker_open:
            try:
                await self._admission.let_through(row.platform, is_urgent=is_urgent(row))
            except SoulwatchError:
                if usable:
                    return None
                raise
        return await self._claims.claim(row.id, row.generation)

    async def _refresh(self, attempt: Attempt, usable: Token | None) -> Token:
        try:
            return await self._refresher.refresh(attempt)
        except NeedsReauth:
            raise
        except SoulwatchError:
            # A token that still works is worth more to a caller than the news that its successor is late.
            if usable:
                return usable
            raise

    def _is_usable(self, token: Token, refused: str | None) -> bool:
        if token.access == refused:
            return False
        return token.expires_at is None or self._clock.now() < token.expires_at - USABLE_FOR

    def _is_due(self, row: Row[Any]) -> bool:
        return row.next_refresh_at is not None and row.next_refresh_at <= self._clock.now()

    async def _may_try(self, row: Row[Any], token: Token, usable: Token | None, *, is_asked_for: bool) -> bool:
        """Whether a refresh may be sent now; raises where it may not and there is nothing to use meanwhile."""
        if token.refresh is None:
            if usable is None:
                await self._end(row, token)
            return False
        now = self._clock.now()
        not_before = self._not_before(row, is_asked_for=is_asked_for)
        if not_before is None or not_before <= now:
            return True
        if usable is None:
            raise Unavailable(row.error_message or "The token was refreshed only just now.", retry_at=not_before)
        return False

    def _not_before(self, row: Row[Any], *, is_asked_for: bool) -> datetime | None:
        """The end of the cool-down; of the shortest time between two requests for who asks in spite of it."""
        last: datetime | None = row.last_attempt_at
        if last is None or last > self._clock.now():
            return None  # a clock that was set back must not make a short wait a long one
        floor = last + self._policy.floor_for(row.token_issued_at, row.token_expires_at)
        cool_down: datetime | None = row.next_refresh_at if row.fail_count else None
        if cool_down is None:
            return floor
        return min(floor, cool_down) if is_asked_for else cool_down

    async def _wait_for_other(self, row: Row[Any], patience: float) -> None:
        if self._clock.monotonic() >= patience:
            raise Unavailable("Another host is refreshing this token and has not finished.", retry_at=row.lease_until)
        await self._clock.sleep(LOOK_AGAIN_S)

    async def _end(self, row: Row[Any], token: Token) -> None:
        """A token without a refresh token has ended: nothing of ours can bring it back. Raises what callers hear."""
        now = self._clock.now()
        has_expired = token.expires_at is not None and token.expires_at <= now + USABLE_FOR
        if not has_expired:
            await self._second_look.at(row, token)
        message = "The access to this account has ended and cannot be renewed: connect it again."
        changes = {**ended("expired" if has_expired else "invalid_grant"), "error_message": message}
        async with self._database.writing() as transaction:
            is_ours = await connections.mark(transaction, row.id, row.fence, **changes, updated_at=now)
            told = await events.append(transaction, [news.status(row, changes)], now) if is_ours else []
        if not is_ours:
            raise Unavailable("The connection changed while its token was being looked at; ask again.")
        await self._announce(told)
        raise NeedsReauth(message)

    async def _row(self, connection_id: str) -> Row[Any]:
        async with self._database.reading() as transaction:
            row = await connections.get(transaction, connection_id)
        if row is None:
            raise NotFound(f"There is no connection {connection_id!r}; `soulwatch connections` lists them.")
        if row.status != "connected":
            raise NeedsReauth(row.error_message or "This account is disconnected; its user can connect it again.")
        return row

    async def _opened(self, row: Row[Any]) -> Token:
        try:
            return self._safe.open(row)
        except KeyUnavailable:
            raise  # another host may have the key; this one must not put off what that one does
        except SoulwatchError as broken:
            later = self._clock.now() + timedelta(hours=1)
            async with self._database.writing() as transaction:
                await connections.mark(
                    transaction,
                    row.id,
                    row.fence,
                    reason=reason_of(broken),
                    error_message=str(broken),
                    next_refresh_at=later if row.next_refresh_at else None,
                )
            raise

    async def take_up(self, orphan: Row[Any], *, after_a_crash: bool) -> None:
        """Refresh what a crash left open, whether due or not. Raises SoulwatchError."""
        connection_id = orphan.connection_id
        turn = self._turns.setdefault(connection_id, Turn())
        if turn.lock.locked():
            return  # it is this process that is at it: a wall clock that jumped makes the lease look old
        async with turn.lock:
            await self._admission.let_through(orphan.platform, is_urgent=True)
            if after_a_crash or orphan.status == "needs_reauth":
                async with self._database.writing() as transaction:
                    await connections.revive(transaction, connection_id, orphan.fence, self._clock.now())
                    if after_a_crash:
                        await connections.free(transaction, connection_id, orphan.fence)
            row = await self._row(connection_id)
            logger.info("taking up a refresh that was cut off", extra={"connection": connection_id})
            attempt = await self._claims.claim(connection_id, row.generation, after_a_crash=after_a_crash)
            if attempt is not None:
                await self._refresher.refresh(attempt)

    async def close(self) -> None:
        """Let what was begun be written down."""
        await self._refresher.close()
