"""A platform as one value: the ready-made plugin, for which most platforms need no code."""

from __future__ import annotations

from collections.abc import Sequence

import httpx

from soulwatch.endpoint import Endpoint, Schedule
from soulwatch.hookspecs import hookimpl
from soulwatch.platform import Platform
from soulwatch.values import Client, Connection, Token


class Connector:
    """Answers every question of the host from a `Platform` and its endpoints. Subclass to answer one differently.

    Two connectors are never equal, even with the same facts: pluggy tells plugins apart by identity.
    """

    def __init__(self, platform: Platform, endpoints: Sequence[Endpoint]) -> None:
        self.facts = platform
        self.endpoints = tuple(endpoints)

    def __repr__(self) -> str:
        return f"Connector({self.facts.name!r}, endpoints={[endpoint.name for endpoint in self.endpoints]})"

    @hookimpl
    def platform(self) -> Platform:
        """The facts it was made of."""
        return self.facts

    @hookimpl
    async def refresh_token(self, token: Token, client: Client, http: httpx.AsyncClient) -> Token:
        """A refresh as RFC 6749 section 6 has it."""
        return await self.facts.oauth.refresh(token, client, http)

    @hookimpl
    def poll_endpoints(self, connection: Connection) -> Sequence[Endpoint]:  # noqa: ARG002
        """All of them, for everybody."""
        return self.endpoints

    @hookimpl
    def schedule(self, endpoint: Endpoint) -> Schedule:
        """What the endpoint itself says."""
        return endpoint.schedule
