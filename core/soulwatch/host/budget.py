"""What each platform lets us ask, and when: calls in flight for all connections, and waits it has told us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import anyio

from soulwatch.host.clock import Clock


class Budget:
    """Keeps every platform's limits for this host."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock = clock
        self._most = most
        self._limiters: dict[str, anyio.CapacityLimiter] = {}
        self._blocked: dict[str, datetime] = {}

    @asynccontextmanager
    async def turn(self, platform: str, concurrency: int) -> AsyncIterator[None]:
        """A place among the polls of a platform that may run at once."""
        limiter = self._limiters.setdefault(platform, anyio.CapacityLimiter(min(concurrency, self._most)))
        async with limiter:
            yield

    def block(self, platform: str, until: datetime) -> None:
        """The platform told our whole OAuth client to wait."""
        self._blocked[platform] = max(until, self._blocked.get(platform, until))

    def blocked_until(self, platform: str) -> datetime | None:
        """When a platform may be asked again; None where it may be now."""
        until = self._blocked.get(platform)
        return until if until is not None and until > self._clock.now() else None

    def busy(self) -> list[str]:
        """Platforms from which nothing should be claimed now: told to wait, or as busy as they allow."""
        waiting = [platform for platform in self._blocked if self.blocked_until(platform)]
        full = [platform for platform, limiter in self._limiters.items() if limiter.available_tokens <= 0]
        return sorted({*waiting, *full})
