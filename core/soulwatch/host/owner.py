"""Whose token is it? The one question that a platform answers to every token it takes."""

from __future__ import annotations

from soulwatch.api import Api
from soulwatch.errors import Unavailable
from soulwatch.host.clock import Clock
from soulwatch.host.platforms import Platforms
from soulwatch.values import Account


class TokenRefused(Unavailable):
    """The platform does not take this token."""


async def owner_of(platforms: Platforms, platform: str, access: str, clock: Clock) -> Account:
    """The account that an access token is for. Raises TokenRefused, or PlatformError where that cannot be told."""
    facts = platforms.facts(platform)

    async def access_token(refused: str | None) -> str:
        if refused is not None:
            raise TokenRefused(f"{facts.title} refuses this token.")
        return access

    api = Api(facts, Account("", ""), platforms.http(platform), access_token, clock.now)
    return facts.identity.read((await api.get(facts.identity.url)).value())
