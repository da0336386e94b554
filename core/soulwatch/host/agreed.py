"""The time on which all hosts of one database agree, whatever their own clocks say: the database's."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.clock import Clock, SystemClock


class AgreedClock(SystemClock):
    """The machine's clock, brought into line with a PostgreSQL server's whenever that was asked."""

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """The database's wall time, as far as is known."""
        return self.machine() + self._ahead

    def machine(self) -> datetime:
        """What this machine's own clock says."""
        return super().now()

    async def agree(self, transaction: AsyncConnection) -> datetime:
        """Ask the database."""
        theirs: datetime = (await transaction.execute(select(func.clock_timestamp()))).scalar_one()
        self._ahead = theirs - self.machine()
        return theirs


async def agreed_time(clock: Clock, transaction: AsyncConnection) -> datetime:
    """The time to judge a claim by: asked anew, where several machines may claim the same."""
    return await clock.agree(transaction) if isinstance(clock, AgreedClock) else clock.now()
