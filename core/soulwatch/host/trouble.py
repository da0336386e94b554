"""A database that fails, told once and not with every attempt: when it begins, and when it is over.

Everything that is foreseen goes on by itself then: loops come again, leases run out, answers are in the journal.
"""

from __future__ import annotations

import logging

from sqlalchemy import delete, insert

from soulwatch.host.causes import Cause, cause_of
from soulwatch.host.clock import Clock
from soulwatch.host.store.database import Database
from soulwatch.host.store.tables import breakers

logger = logging.getLogger("soulwatch.database")

LOOKS_EVERY_S = 60.0
"""So often something is written to see whether it can be: a host with nothing to do would not notice."""
LOOKS_AGAIN_EVERY_S = 5.0
QUIET_FOR_S = 10.0
"""Without another failure: where little room is left, little may be written and much may not."""
PROBE = "probe of the database"


class Trouble:
    """What a database suffers from at present."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._causes: list[Cause] = []
        self._failed_at = 0.0
        self._looks_at = clock.monotonic() + LOOKS_EVERY_S

    @property
    def now(self) -> str | None:
        """What is wrong, for anybody to read; None where all is well."""
        return f"The database {self._causes[-1].what}." if self._causes else None

    def met(self, broken: BaseException) -> bool:
        """Whether it is the database that failed; that is told here then, each cause once until it is over."""
        cause = cause_of(broken, self._database.engine.url)
        if cause is None:
            return False
        self._failed_at = self._clock.monotonic()
        self._looks_at = min(self._looks_at, self._failed_at + LOOKS_AGAIN_EVERY_S)
        if cause.what in [known.what for known in self._causes]:
            logger.debug("the database still fails: %s", cause.said)
        else:
            self._causes.append(cause)
            logger.error("%s; it goes on by itself.", cause.told("See that it runs and that DATABASE_URL leads to it"))
        return True

    async def look(self) -> None:
        """Where it is time, write a little and see whether that can be done."""
        now = self._clock.monotonic()
        if now < self._looks_at:
            return
        self._looks_at = now + (LOOKS_AGAIN_EVERY_S if self._causes else LOOKS_EVERY_S)
        try:
            await self._write()
        except Exception as broken:
            if not self.met(broken):
                raise
        else:
            self._went_well()

    async def _write(self) -> None:
        """Take something in and out in one transaction: the disk is asked for room, and nobody ever sees it."""
        now = self._clock.now()
        async with self._database.writing() as transaction:
            key = f"{PROBE} {self._clock.token_bytes(8).hex()}"
            row = {"client": key, "opened_at": now, "probe_at": now, "message": PROBE}
            await transaction.execute(insert(breakers).values(row))
            await transaction.execute(delete(breakers).where(breakers.c.client == key))

    def _went_well(self) -> None:
        if self._causes and self._clock.monotonic() - self._failed_at >= QUIET_FOR_S:
            self._causes.clear()
            logger.warning("The database can be written again: everything goes on.")
