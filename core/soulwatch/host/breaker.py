"""Whom it is no use to ask: a platform that refuses one of our OAuth clients, or that is down altogether.

Nobody's connection is to blame, so nobody's is touched. The first refusals open a breaker, for every host of the
installation; then one refresh a minute tries whether all is well again, and the first that is answered closes it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.errors import Misconfigured, SoulwatchError, Unavailable
from soulwatch.host.clock import Clock
from soulwatch.host.store.database import Database, upsert
from soulwatch.host.store.tables import breakers

logger = logging.getLogger("soulwatch.breaker")

PROBE_EVERY = timedelta(minutes=1)
KEPT_UNTRIED = timedelta(days=1)
DOWN = "down:"
"""What stands before a platform's name, where the breaker is that of the platform and not of a client."""
DOWN_FROM = 3
DOWN_SHARE = 0.8
DOWN_WINDOW = timedelta(minutes=2)


def is_down(outcomes: Mapping[str, int]) -> bool:
    """Whether hardly any refresh of the last `DOWN_WINDOW` got a proper answer; connections by outcome are given."""
    failed = outcomes.get("Unavailable", 0) + outcomes.get("UnexpectedAnswer", 0)
    return failed >= DOWN_FROM and failed >= DOWN_SHARE * sum(outcomes.values())


class Breakers:
    """Knows which of our OAuth clients are refused, and which platforms are down."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._open: set[str] = set()
        """What was open when last looked; a hint that keeps well clients from being written about."""

    async def let_through(self, client: str, platform: str, *, is_urgent: bool = False) -> None:
        """Return where a refresh may be sent; of many who come while a breaker is open, one a minute may.

        Raises Misconfigured where our client is refused and Unavailable where the platform is down, saying when to
        come again. What is urgent is sent to a platform that is down all the same.
        """
        keys = {client} if is_urgent else {client, DOWN + platform}
        async with self._database.reading() as transaction:
            found = (await transaction.execute(select(breakers).where(breakers.c.client.in_(keys)))).all()
        self._open = self._open - keys | {row.client for row in found}
        for row in found:
            if not await self._is_probe(row):
                retry_at = max(row.probe_at, self._clock.now())
                if row.client.startswith(DOWN):
                    raise Unavailable(row.message, retry_at=retry_at)
                raise Misconfigured(row.message, is_client=True, retry_at=retry_at)

    async def _is_probe(self, row: Row[Any]) -> bool:
        now = self._clock.now()
        if row.probe_at > now:
            return False
        async with self._database.writing() as transaction:
            taken = await transaction.execute(
                update(breakers)
                .where(breakers.c.client == row.client, breakers.c.probe_at == row.probe_at)
                .values(probe_at=now + PROBE_EVERY)
            )
        return taken.rowcount == 1

    async def refused(self, transaction: AsyncConnection, client: str, error: Misconfigured) -> None:
        """The platform refused our client: open its breaker, and say so to the operator, once."""
        if await self._opened(transaction, client, error):
            logger.error(
                "OPERATOR: the OAuth client %r is refused: %s No connection is touched; refreshing goes on by itself "
                "once it is mended.",
                client.partition("#")[0],
                error,
            )

    async def down(self, transaction: AsyncConnection, platform: str, error: SoulwatchError) -> None:
        """Nobody of a platform's gets a proper answer: open its breaker, and say so, once."""
        if await self._opened(transaction, DOWN + platform, error):
            logger.warning("%s does not answer properly: it is asked once a minute until it does. %s", platform, error)

    async def slow_down(
        self, transaction: AsyncConnection, platform: str, error: SoulwatchError, until: datetime
    ) -> None:
        """A platform asks to wait: until then it is asked for no token, then for one at first."""
        key = DOWN + platform
        if await self._opened(transaction, key, error, until):
            logger.warning("%s asks to wait: until %s it is asked for no token", platform, until)
        later = breakers.c.probe_at < until
        await transaction.execute(
            update(breakers).where(breakers.c.client == key, later).values(probe_at=until, message=str(error))
        )

    async def _opened(
        self, transaction: AsyncConnection, key: str, error: SoulwatchError, until: datetime | None = None
    ) -> bool:
        now = self._clock.now()
        self._open.add(key)
        probe_at = until or now + PROBE_EVERY
        row = {"client": key, "opened_at": now, "probe_at": probe_at, "message": str(error)}
        opened = await transaction.execute(upsert(transaction, breakers, row, ("client",)))
        return bool(opened.rowcount == 1)

    async def taken(self, transaction: AsyncConnection, client: str) -> None:
        """The platform took our client: close its breaker, if it was open."""
        if await self._closed(transaction, client):
            logger.warning("the OAuth client %r is taken again: refreshing goes on", client.partition("#")[0])

    async def answered(self, platform: str) -> bool:
        """The platform answered, whatever it said; whether that was news."""
        if DOWN + platform not in self._open:
            return False
        async with self._database.writing() as transaction:
            is_news = await self._closed(transaction, DOWN + platform)
        if is_news:
            logger.warning("%s answers again: refreshing goes on", platform)
        return is_news

    async def _closed(self, transaction: AsyncConnection, key: str) -> bool:
        if key not in self._open:
            return False
        self._open.discard(key)
        closed = await transaction.execute(delete(breakers).where(breakers.c.client == key))
        return closed.rowcount == 1

    async def waiting(self) -> tuple[set[str], set[str]]:
        """The clients that are refused, and the platforms that are down, whose next probe is not due yet."""
        return await self._among(breakers.c.probe_at > self._clock.now())

    async def due(self) -> tuple[set[str], set[str]]:
        """The same whose next probe is due."""
        return await self._among(breakers.c.probe_at <= self._clock.now())

    async def prune(self) -> None:
        """Forget what nobody has tried for long: a client that is no longer set, a platform without connections."""
        async with self._database.writing() as transaction:
            long_ago = self._clock.now() - KEPT_UNTRIED
            await transaction.execute(delete(breakers).where(breakers.c.probe_at < long_ago))

    async def _among(self, which: ColumnElement[bool]) -> tuple[set[str], set[str]]:
        query = select(breakers.c.client).where(which)
        async with self._database.reading() as transaction:
            keys = set((await transaction.execute(query)).scalars())
        down = {key for key in keys if key.startswith(DOWN)}
        return keys - down, {key.removeprefix(DOWN) for key in down}
