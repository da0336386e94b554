"""Which token endpoints may be asked, and how often at once."""

from __future__ import annotations

from soulwatch.host.breaker import Breakers
from soulwatch.host.platforms import Platforms


class Admission:
    """What the breakers say of clients, in terms of platforms."""

    def __init__(self, platforms: Platforms, breakers: Breakers) -> None:
        self._platforms = platforms
        self._breakers = breakers

    async def let_through(self, platform: str, *, is_urgent: bool = False) -> None:
        """Return where a platform's token endpoint may be asked.

        Raises Misconfigured while our client is refused, Unavailable while the platform is down.
        """
        facts = self._platforms.known(platform)
        if facts is not None:
            await self._breakers.let_through(self._platforms.client_key(facts), platform, is_urgent=is_urgent)

    def switched_off(self) -> list[str]:
        """The platforms that are not asked at all."""
        return self._platforms.switched_off()

    def at_once(self, platform: str) -> int:
        """How many token requests of a platform may be under way together."""
        return self._platforms.at_once(platform)

    async def held_up(self) -> tuple[list[str], list[str]]:
        """The platforms that need not be asked, and those that only what is urgent is sent to, being down.

        The former are switched off or refuse our client until the next probe.
        """
        clients, down = await self._breakers.waiting()
        return [*self._platforms.of_clients(clients), *self._platforms.switched_off()], sorted(down)

    async def probing(self) -> set[str]:
        """The platforms that one may ask now, to try whether all is well again."""
        clients, down = await self._breakers.due()
        return {*self._platforms.of_clients(clients), *down}
