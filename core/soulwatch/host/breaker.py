"""Our OAuth clients, while the platform refuses one: nobody's connection is to blame, so nobody's is touched.

The first refusals open the breaker of that client, for every host of the installation; then one refresh a minute
tries whether the operator has mended it, and the first that is answered closes it again.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.errors import Misconfigured
from soulwatch.host.clock import Clock
from soulwatch.host.store.database import Database, upsert
from soulwatch.host.store.tables import breakers

logger = logging.getLogger("soulwatch.breaker")

PROBE_EVERY = timedelta(minutes=1)


class Breakers:
    """Knows which of our OAuth clients are refused."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._open: set[str] = set()
        """What was open when last looked; a hint that keeps well clients from being written about."""

    async def let_through(self, client: str) -> None:
        """Return where a refresh may be sent; of many who come while the breaker is open, one a minute may.

        Raises Misconfigured, saying when to come again and what the operator has to mend.
        """
        now = self._clock.now()
        async with self._database.reading() as transaction:
            row = (await transaction.execute(select(breakers).where(breakers.c.client == client))).one_or_none()
        if row is None:
            self._open.discard(client)
            return
        self._open.add(client)
        if row.probe_at <= now:
            async with self._database.writing() as transaction:
                taken = await transaction.execute(
                    update(breakers)
                    .where(breakers.c.client == client, breakers.c.probe_at == row.probe_at)
                    .values(probe_at=now + PROBE_EVERY)
                )
            if taken.rowcount == 1:
                return
        raise Misconfigured(row.message, is_client=True, retry_at=max(row.probe_at, now))

    async def refused(self, transaction: AsyncConnection, client: str, error: Misconfigured) -> None:
        """The platform refused our client: open its breaker, and say so to the operator, once."""
        now = self._clock.now()
        row = {"client": client, "opened_at": now, "probe_at": now + PROBE_EVERY, "message": str(error)}
        opened = await transaction.execute(upsert(transaction, breakers, row, ("client",), ()))
        if opened.rowcount == 1:
            logger.error(
                "OPERATOR: the OAuth client %r is refused: %s No connection is touched; refreshing goes on by itself "
                "once it is mended.",
                client,
                error,
            )
        self._open.add(client)

    async def answered(self, transaction: AsyncConnection, client: str) -> None:
        """The platform took our client: close its breaker, if it was open."""
        if client not in self._open:
            return
        self._open.discard(client)
        closed = await transaction.execute(delete(breakers).where(breakers.c.client == client))
        if closed.rowcount == 1:
            logger.warning("the OAuth client %r is taken again: refreshing goes on", client)

    async def waiting(self) -> dict[str, str]:
        """The clients that are refused and whose next probe is not due yet, with the reason."""
        async with self._database.reading() as transaction:
            rows = (await transaction.execute(select(breakers).where(breakers.c.probe_at > self._clock.now()))).all()
        return {row.client: row.message for row in rows}
