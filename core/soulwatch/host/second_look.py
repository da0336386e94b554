"""A token that cannot be refreshed was refused: before its user is troubled, the platform is asked once more."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Row

from soulwatch.errors import Misconfigured, PlatformError, Unavailable
from soulwatch.host.clock import Clock
from soulwatch.host.owner import TokenRefused, owner_of
from soulwatch.host.platforms import Platforms
from soulwatch.host.settling import MASS_IS_HELD, MASS_WINDOW, is_mass
from soulwatch.host.store import connections
from soulwatch.host.store.database import Database
from soulwatch.host.timing import RefreshPolicy
from soulwatch.values import Token

logger = logging.getLogger("soulwatch.tokens")


class SecondLook:
    """Doubts a refused token first, and asks whose it is before it is believed to be dead."""

    def __init__(self, database: Database, platforms: Platforms, clock: Clock, policy: RefreshPolicy) -> None:
        self._database = database
        self._platforms = platforms
        self._clock = clock
        self._policy = policy

    async def at(self, row: Row[Any], token: Token) -> None:
        """Return where the token is certainly dead. Raises Unavailable where it is doubted only, or taken after all."""
        now, again_after = self._clock.now(), self._policy.confirm_after
        # A clock that was set back must not make the second look wait for days.
        doubted_at = min(row.doubted_at or now, now)
        if row.doubted_at is None or now - doubted_at < again_after:
            await self._mark(row, doubted_at=doubted_at)
            message = "The platform refused the token; it is asked once more."
            raise Unavailable(message, retry_at=doubted_at + again_after)
        try:
            # Asked by the endpoint that was refused alone, one that is at fault could end a connection that is well.
            await owner_of(self._platforms, row.platform, token.access, self._clock)
        except TokenRefused:
            pass
        except Misconfigured:
            await self._take_back(row)
        except PlatformError as broken:
            message = f"Whether the token is good cannot be told: {broken}"
            raise Unavailable(message, retry_at=now + again_after) from None
        else:
            await self._take_back(row)
        if now - doubted_at < MASS_IS_HELD and await self._is_mass(row.platform):
            logger.error("OPERATOR: %s refuses many tokens at once; users are not told yet", row.platform)
            raise Unavailable("The platform refuses many tokens at once.", retry_at=now + MASS_WINDOW)

    async def _take_back(self, row: Row[Any]) -> None:
        await self._mark(row, doubted_at=None)
        raise Unavailable("The platform takes this token, but refused it for this request.")

    async def _is_mass(self, platform: str) -> bool:
        async with self._database.reading() as transaction:
            doubted, others = await connections.doubted(transaction, platform)
        return is_mass({"NeedsReauth": doubted, "applied": others})

    async def _mark(self, row: Row[Any], **changes: Any) -> None:
        async with self._database.writing() as transaction:
            await connections.mark(transaction, row.id, row.fence, **changes)
