"""After a refresh that brought no token: what it means is written down, once, for whoever can help."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.errors import Misconfigured, NeedsReauth, RateLimited, SoulwatchError, Unavailable
from soulwatch.host import news
from soulwatch.host.attempt import Attempt, named
from soulwatch.host.breaker import DOWN_WINDOW, Breakers, is_down
from soulwatch.host.clock import Clock
from soulwatch.host.platforms import Platforms
from soulwatch.host.settling import FROM_SEVERAL, LATER, MASS, MASS_WINDOW, changes_after, held_back, is_mass
from soulwatch.host.store import attempts, connections, events
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.values import Event

logger = logging.getLogger("soulwatch.tokens")

Announce = Callable[[list[Event]], Awaitable[None]]


class Aftermath:
    """Settles failed attempts: a cool-down, a doubt, a breaker, and seldom the user's matter."""

    def __init__(
        self,
        database: Database,
        platforms: Platforms,
        breakers: Breakers,
        clock: Clock,
        policy: RefreshPolicy,
        announce: Announce,
    ) -> None:
        self._database = database
        self._platforms = platforms
        self._breakers = breakers
        self._clock = clock
        self._policy = policy
        self._announce = announce

    async def settle(self, attempt: Attempt, broken: Exception) -> SoulwatchError:
        """Write down what a failure means, let the claim go, and say what the caller is to be told."""
        row, now, error = attempt.row, self._clock.now(), named(broken, attempt)
        async with self._database.writing() as transaction:
            await connections.held(transaction, row.id)
            changes = await self._changes(transaction, attempt, error, now)
            state = attempt.state_after(broken)
            if state != "received":
                await attempts.close(transaction, attempt.id, state, now, str(error), type(error).__name__)
            is_ours = await connections.let_go(transaction, row.id, row.fence, **changes)
            is_news = "status" in changes or changes["reason"] != row.reason
            told = await events.append(transaction, [news.status(row, changes)], now) if is_ours and is_news else []
        log = logger.warning if is_news else logger.info
        log("token not refreshed: %s", error, extra=attempt.whose)
        if attempt.kept is not None and not isinstance(error, (Misconfigured, RateLimited, *LATER)):
            await self.answered(row.platform)
        await self._announce(told)
        if not is_ours:
            return Unavailable("The connection changed while its token was being refreshed; ask again.")
        if isinstance(error, NeedsReauth) and "status" not in changes:
            return Unavailable(str(error), retry_at=changes["next_refresh_at"], code=error.code)
        return error

    async def _changes(
        self, transaction: AsyncConnection, attempt: Attempt, error: SoulwatchError, now: datetime
    ) -> dict[str, Any]:
        row = attempt.row
        others = await attempts.open_of(transaction, row.id, row.fence)
        is_contradicted = any(other.state == "received" and other.id != attempt.id for other in others)
        changes = changes_after(
            row,
            error,
            self._policy,
            now,
            self._clock.random(),
            is_contradicted=is_contradicted,
            may_have_been_acted_on=attempt.may_have_been_acted_on,
        )
        if isinstance(error, Misconfigured) and attempt.kept is not None:
            return changes | await self._client_refused(transaction, attempt, error, now)
        if isinstance(error, RateLimited):
            await self._slowed(transaction, row, error, changes["next_refresh_at"])
            return changes | {"fail_count": max(row.fail_count, 1)}  # to wait as asked is no failure that adds up
        if isinstance(error, LATER):
            return changes | await self._unanswered(transaction, attempt, error, changes, now)
        if "status" not in changes:
            return changes
        spared = held_back(row, now)
        if spared is not None and await self._is_mass(transaction, row.platform, now - MASS_WINDOW):
            logger.error("OPERATOR: %s calls many grants dead at once; users are not told yet", row.platform)
            changes.pop("status")
            return changes | spared
        title, hint = self._platforms.title(row.platform), self._platforms.hint(row.platform)
        message = f"{title} no longer honours this connection: connect it again. {hint}".strip()
        return changes | {"error_message": message}

    async def _is_mass(self, transaction: AsyncConnection, platform: str, since: datetime) -> bool:
        """Whether many are called dead; or were, and are held: no host may have run for a while."""
        held = await connections.doubted_before(transaction, platform, since)
        return held > MASS or is_mass(await attempts.outcomes(transaction, platform, since))

    async def answered(self, platform: str) -> None:
        """The platform gave an answer: where it was down, all who waited for that go on.

        Never in a transaction that holds a connection: another may hold one of those that wake.
        """
        if await self._breakers.answered(platform):
            async with self._database.writing() as transaction:
                await connections.wake(transaction, platform, self._clock.now())

    async def _slowed(self, transaction: AsyncConnection, row: Row[Any], error: RateLimited, until: datetime) -> None:
        """A limit that several meet is that of our client, and holds all back; one may have a limit of its own."""
        since = self._clock.now() - MASS_WINDOW
        if await attempts.others_with(transaction, row.platform, row.id, "RateLimited", since) + 1 >= FROM_SEVERAL:
            await self._breakers.slow_down(transaction, row.platform, error, until)

    async def _unanswered(
        self,
        transaction: AsyncConnection,
        attempt: Attempt,
        error: SoulwatchError,
        changes: dict[str, Any],
        now: datetime,
    ) -> dict[str, Any]:
        """Where nobody else gets an answer either, the breaker holds all back, save a token that may be used up."""
        row = attempt.row
        outcomes = Counter(await attempts.outcomes(transaction, row.platform, now - DOWN_WINDOW))
        if not is_down(outcomes + Counter([type(error).__name__])):
            return {}
        await self._breakers.down(transaction, row.platform, error)
        return {} if changes["is_ambiguous"] else {"next_refresh_at": row.next_refresh_at, "fail_count": row.fail_count}

    async def _client_refused(
        self, transaction: AsyncConnection, attempt: Attempt, error: Misconfigured, now: datetime
    ) -> dict[str, Any]:
        """The operator's matter. The connection stays due as it was; the breaker is what holds it back."""
        row = attempt.row
        facts = self._platforms.facts(row.platform)
        as_it_was = {"next_refresh_at": row.next_refresh_at, "fail_count": row.fail_count}
        if error.is_client:
            if attempt.client is None or not self._platforms.try_next_secret(facts, attempt.client):
                await self._breakers.refused(transaction, self._platforms.client_key(facts), error)
            return as_it_was
        same = await attempts.others_with(transaction, row.platform, row.id, "Misconfigured", now - MASS_WINDOW)
        if same + 1 < FROM_SEVERAL:
            return {}
        await self._breakers.refused(transaction, self._platforms.client_key(facts), error)
        return as_it_was
