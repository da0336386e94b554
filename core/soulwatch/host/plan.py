"""When each endpoint of a connection is due: its schedule, the operator's first, spread by a stable hash."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo

from soulwatch.endpoint import Endpoint
from soulwatch.errors import PluginError
from soulwatch.host.clock import Clock
from soulwatch.host.cron import Recurrence, parse_schedule, phase_of
from soulwatch.host.platforms import Platforms
from soulwatch.values import Connection


class Plan:
    """Which endpoints a connection has, and when each is due next."""

    def __init__(self, platforms: Platforms, clock: Clock, zone: tzinfo) -> None:
        self._platforms = platforms
        self._clock = clock
        self._zone = zone

    async def endpoints(self, whose: Connection) -> Mapping[str, Endpoint]:
        """What is worth polling for a connection. Raises PluginError."""
        return await self._platforms.plugin(whose.platform).endpoints(whose)

    async def recurrence(self, platform: str, endpoint: Endpoint) -> Recurrence | None:
        """How often an endpoint is due; None where only when asked. Raises PluginError for nonsense."""
        said = self._platforms.settings(platform).schedules.get(endpoint.name)
        schedule = said if said is not None else await self._platforms.plugin(platform).schedule(endpoint)
        if schedule is None or schedule == "off":
            return None
        try:
            return parse_schedule(schedule)
        except ValueError as wrong:
            raise PluginError(
                f"The schedule of {platform} {endpoint.name} is wrong: {wrong}", plugin=platform
            ) from None

    async def next_due(self, whose: Connection, endpoint: Endpoint) -> datetime | None:
        """When an endpoint of this connection is due after now."""
        recurrence = await self.recurrence(whose.platform, endpoint)
        if recurrence is None:
            return None
        phase = phase_of(whose.id, endpoint.name)
        return recurrence.next(self._clock.now(), phase=phase, tz=self._zone)
