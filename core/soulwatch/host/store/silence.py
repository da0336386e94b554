"""Connections to PostgreSQL that have gone silent: let go, and not waited for.

A firewall that forgot a connection, or a server that is gone without a word, answers nothing, and the kernel would wait
for many minutes. What waits may be the only answer that a platform gives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

GREETING_S = 5.0
TRANSACTION_S = 30.0
"""No transaction takes long: none waits for a platform."""
SINCE = "soulwatch_since"


class Watch:
    """Hands out connections that answer, and ends those that do not any more."""

    def __init__(self) -> None:
        self._distrusted = 0.0
        """Connections from before this moment (monotonic) may be silent like one that was found to be."""

    def remember(self, _connection: Any, record: Any) -> None:
        """The pool has made a connection."""
        record.info[SINCE] = time.monotonic()

    async def answering(self, engine: AsyncEngine) -> AsyncConnection:
        """A connection that has just answered. Raises OSError where not even a new one does."""
        began = time.monotonic()
        while True:
            connection = await engine.connect()
            try:
                since = (await connection.get_raw_connection()).info[SINCE]
                if since > self._distrusted and await self._answers(connection):
                    return connection
                await connection.invalidate()
            except BaseException:
                await connection.close()
                raise
            await connection.close()
            if since > began:
                raise OSError("PostgreSQL lets us connect and answers nothing.")

    async def _answers(self, connection: AsyncConnection) -> bool:
        driver = await driver_of(connection)
        try:
            with ended_after(GREETING_S, driver):
                await driver.fetchval("SELECT 1")
        except Exception:  # noqa: BLE001  - whatever it is, the connection is of no use
            self._distrusted = time.monotonic()
            return False
        return True


async def driver_of(connection: AsyncConnection) -> Any:
    """Asyncpg's own connection."""
    return (await connection.get_raw_connection()).driver_connection


@contextmanager
def ended_after(seconds: float, driver: Any) -> Iterator[None]:
    """Cut a connection of asyncpg off when the block takes longer; what waits in it then raises at once."""
    timer = asyncio.get_running_loop().call_later(seconds, driver.terminate)
    try:
        yield
    finally:
        timer.cancel()
