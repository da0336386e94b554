"""A plugin as careless as one can be: whatever goes wrong, its exceptions tell all that it was given.

The tests install it for a process by a folder with a copy of this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import httpx

from soulwatch import Client, Connection, Connector, Endpoint, Event, Token, hookimpl
from soulwatch_sandbox import sandbox


class Leaky(Connector):
    """The sandbox, by way of a connector that fails with everything it knows."""

    @hookimpl
    async def refresh_token(self, token: Token, client: Client, http: httpx.AsyncClient) -> Token:
        """It asks well, and then falls."""
        known = [client.secret, token.access, token.refresh]
        fresh = await self.facts.oauth.refresh(token, client, http)
        try:
            {}[tuple(known)]
        except KeyError as broken:
            raise RuntimeError(f"access_token={fresh.access} after {known}, Bearer {token.access}") from broken
        return fresh

    @hookimpl
    def poll_endpoints(self, connection: Connection) -> Sequence[Endpoint]:
        """One that exists, and one of which the platform knows nothing."""
        return (*self.endpoints[:1], replace(self.endpoints[1], name="nothing", url=f"{self.endpoints[1].url}/no"))

    @hookimpl
    def on_event(self, event: Event) -> None:
        """Nothing goes well here either."""
        raise ValueError(event)


leaky = Leaky(replace(sandbox.facts, name="leaky", title="Leaky"), sandbox.endpoints)
