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
        async with self._limiter(platform, concurrency):
            yield

    def places(self, platform: str, concurrency: int) -> int:
        """How many more polls of a platform may begin now: none while it told us to wait."""
        if self.blocked_until(platform) is not None:
            return 0
        return max(0, int(self._limiter(platform, concurrency).available_tokens))

    def _limiter(self, platform: str, concurrency: int) -> anyio.CapacityLimiter:
        if platform not in self._limiters:
            self._limiters[platform] = anyio.CapacityLimiter(min(concurrency, self._most))
        return self._limiters[platform]

    def block(self, platform: str, until: datetime) -> None:
        """The platform told our whole OAuth client to wait."""
        self._blocked[platform] = max(until, self._blocked.get(platform, until))

    def blocked_until(self, platform: str) -> datetime | None:
        """When a platform may be asked again; None where it may be now."""
        until = self._blocked.get(platform)
        return until if until is not None and until > self._clock.now() else None
