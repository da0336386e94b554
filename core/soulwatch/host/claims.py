"""Who may refresh a connection: claims with their fences, and the intent written down with each."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import anyio
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.agreed import agreed_time
from soulwatch.host.attempt import Attempt
from soulwatch.host.clock import Clock
from soulwatch.host.safe import RawAnswer, TokenSafe
from soulwatch.host.store import attempts, connections
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.host.vault import SealBroken

logger = logging.getLogger("soulwatch.tokens")


class Claims:
    """Takes and gives back, for the process `owner`, the sole right to refresh a connection."""

    def __init__(self, database: Database, safe: TokenSafe, clock: Clock, policy: RefreshPolicy, owner: str) -> None:
        self._database = database
        self._safe = safe
        self._clock = clock
        self._policy = policy
        self._owner = owner

    async def claim(
        self, connection_id: str, generation: int | None = None, *, after_a_crash: bool = False
    ) -> Attempt | None:
        """Take the sole right to refresh, and write down the intent with it.

        None where somebody else has it, or the token is no longer of `generation`: then it was refreshed meanwhile.
        `after_a_crash` says that who had it before is certainly gone. Who is cancelled leaves no claim behind.
        """
        claiming = asyncio.ensure_future(self._claim(connection_id, generation, after_a_crash=after_a_crash))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):
                await asyncio.wait({claiming})
                attempt = None if claiming.cancelled() or claiming.exception() else claiming.result()
                if attempt is not None:
                    await self.give_back(attempt)
            raise

    async def _claim(self, connection_id: str, generation: int | None, *, after_a_crash: bool) -> Attempt | None:
        deadline = self._clock.monotonic() + self._policy.send_within * self._policy.lease.total_seconds()
        async with self._database.writing() as transaction:
            now = await agreed_time(self._clock, transaction)
            until = now + self._policy.lease
            row = await connections.claim(transaction, connection_id, self._owner, now, until, generation=generation)
            if row is None:
                return None
            attempt: Attempt | None = None
            is_in_doubt = False
            left_open = await attempts.open_of(transaction, connection_id, row.fence) if row.is_left_open else ()
            for earlier in left_open:
                answer, is_doubtful = await self._take_up(transaction, row, earlier)
                is_in_doubt |= is_doubtful
                if answer is not None and attempt is None:
                    attempt = Attempt(row, earlier.id, deadline, answer=answer)
            if is_in_doubt and attempt is None and not row.is_ambiguous:
                # Prompt retries begin with this doubt, whatever failed before it.
                await connections.mark(transaction, row.id, row.fence, is_ambiguous=True, fail_count=0)
                row = await connections.get(transaction, row.id) or row
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
                attempt = Attempt(row, journal_id, deadline, is_in_doubt=is_in_doubt and not after_a_crash)
            return attempt

    async def _take_up(
        self, transaction: AsyncConnection, row: Row[Any], earlier: Row[Any]
    ) -> tuple[RawAnswer | None, bool]:
        """What a claim before this one left behind: an answer to apply, or the doubt whether anything was sent."""
        # The generation too: a platform may keep its refresh token, and then only that tells the attempts apart.
        is_current = (earlier.generation, earlier.token_fingerprint) == (row.generation, row.token_fingerprint)
        if is_current and earlier.state == "received" and earlier.answer is not None:
            try:
                return self._safe.open_answer(row, earlier.id, earlier.answer), False
            except SealBroken:
                logger.exception("a kept answer cannot be opened any more", extra={"connection": row.id})
        await attempts.close(transaction, earlier.id, "unknown" if is_current else "superseded", self._clock.now())
        return None, is_current

    async def give_back(self, attempt: Attempt) -> None:
        """Cut off: the claim is free at once, and the journal says how far it got."""
        async with self._database.writing() as transaction:
            await connections.let_go(transaction, attempt.row.id, attempt.row.fence)
            if attempt.answer is None and (attempt.transport is None or not attempt.transport.is_sent):
                await attempts.close(transaction, attempt.id, "not_sent", self._clock.now(), "cancelled")
