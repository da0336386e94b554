"""What the host asks of a plugin. This is the waist of the house: small, stable, read first.

A question goes to one plugin, an event is told to all, one by one. Questions that ask for a description are
plain functions; hooks that do work may be `async def`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

import httpx
import pluggy

from soulwatch.endpoint import Endpoint, Schedule
from soulwatch.platform import Platform
from soulwatch.values import Client, Connection, Event, Token

PROJECT = "soulwatch"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def platform() -> Platform | None:
    """What platform is this? OAuth facts, hosts, limits, identity, retention: data only.

        @hookimpl
        def platform():
            return Platform(name="mastodon", title="Mastodon", oauth=OAuth2(...))

    A plugin that is no platform does not answer.
    """


@hookspec(firstresult=True)
def refresh_token(token: Token, client: Client, http: httpx.AsyncClient) -> Token | Awaitable[Token]:  # type: ignore[empty-body]
    """What is the new token, now that this one is about to expire?

        @hookimpl
        async def refresh_token(token, client, http):
            return await OAUTH.refresh(token, client, http)

    `http` belongs to the host: it sends once, within the claim's deadline, and keeps the raw answer sealed before
    the plugin reads it. Raise a `PlatformError` to say why there is none. Do not keep the token.
    """


@hookspec(firstresult=True)
def poll_endpoints(connection: Connection) -> Sequence[Endpoint]:  # type: ignore[empty-body]
    """Which parts of the platform are worth polling for this connection?

    @hookimpl
    def poll_endpoints(connection):
        return [Endpoint("toots", f"{API}/v1/accounts/{connection.account.id}/statuses", items="")]
    """


@hookspec(firstresult=True)
def schedule(endpoint: Endpoint) -> Schedule:
    """How often? A cron expression, a `timedelta`, or None for "only when asked".

    @hookimpl
    def schedule(endpoint):
        return "*/30 * * * *"
    """


@hookspec
def on_event(event: Event) -> Awaitable[None] | None:
    """Something happened.

        @hookimpl
        async def on_event(event):
            print(event.type, event.user)

    A platform's plugin hears its own platform's events, any other plugin all of them. An event carries ids and
    counts, never raw data.
    """
