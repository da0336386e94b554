"""The end of a grant, foretold: 14, 3 and 1 days before it a user is told to connect again, while all still works."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from soulwatch.host import news
from soulwatch.host.aftermath import Announce
from soulwatch.host.clock import Clock
from soulwatch.host.platforms import Platforms
from soulwatch.host.store import connections, events
from soulwatch.host.store.database import Database

logger = logging.getLogger("soulwatch.forecast")

TOLD_BEFORE_DAYS = (14, 3, 1)
AT_A_TIME = 500


class Forecast:
    """Looks ahead for every connection."""

    def __init__(self, database: Database, platforms: Platforms, clock: Clock, announce: Announce) -> None:
        self._database = database
        self._platforms = platforms
        self._clock = clock
        self._announce = announce

    async def look_ahead(self) -> int:
        """Tell whom it concerns, once for each of the days; how many were told."""
        told = 0
        now = self._clock.now()
        until = now + timedelta(days=TOLD_BEFORE_DAYS[0])
        after = ""
        while True:
            async with self._database.reading() as transaction:
                rows = await connections.ending(transaction, until, after, AT_A_TIME)
            for row in rows:
                days = days_before(row.grant_expires_at, now)
                if row.foretold_days is None or days < row.foretold_days:
                    await self._tell(row, days, now)
                    told += 1
            if len(rows) < AT_A_TIME:
                return told
            after = rows[-1].id

    async def _tell(self, row: Row[Any], days: int, now: datetime) -> None:
        title, hint = self._platforms.title(row.platform), self._platforms.hint(row.platform)
        end = row.grant_expires_at.date().isoformat()
        message = f"{title}: this connection ends on {end} unless it is made again. {hint}".strip()
        async with self._database.writing() as transaction:
            is_ours = await connections.foretell(transaction, row.id, row.foretold_days, days)
            event = news.status(row, {"reason": "reauth_soon", "error_message": message})
            told = await events.append(transaction, [event], now) if is_ours else []
        if told:
            logger.info("foretold: %s", message, extra={"platform": row.platform, "connection": row.id})
        await self._announce(told)


def days_before(end: datetime, now: datetime) -> int:
    """The smallest of the days at which a user is told that still lies before `end`."""
    left = end - now
    return min(days for days in TOLD_BEFORE_DAYS if left <= timedelta(days=days) or days == TOLD_BEFORE_DAYS[0])
