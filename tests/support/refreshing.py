"""What tests of refreshing share: tokens that end when told, connectors that are interrupted, rows and journals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
from sqlalchemy import select, update

from soulwatch import Client, Connection, Connector, Token, hookimpl
from soulwatch.host.clock import Clock
from soulwatch.host.host import Host
from soulwatch.host.outbound import Outbound
from soulwatch.host.plugins import Plugins
from soulwatch.host.store.tables import attempts, connections
from soulwatch.host.timing import RefreshPolicy
from soulwatch.testing.clock import PlayedClock
from soulwatch_sandbox import sandbox
from soulwatch_sandbox.request_log import Received
from support.world import AT_ONCE, World


def played() -> PlayedClock:
    """A clock that stands still at the present, as the certificates and cookies of others understand it."""
    return PlayedClock(datetime.now(UTC))


async def change(host: Host, connection: Connection, **columns: Any) -> None:
    """Change the row of a connection behind everybody's back."""
    async with host.database.writing() as transaction:
        await transaction.execute(update(connections).where(connections.c.id == connection.id).values(**columns))


async def expire(world: World, host: Host, connection: Connection) -> None:
    """End the access token, at the platform and here."""
    world.sandbox.expire()
    ended = host.clock.now() - timedelta(minutes=1)
    issued = ended - timedelta(hours=1)
    await change(host, connection, token_issued_at=issued, token_expires_at=ended, next_refresh_at=ended)


async def journal(host: Host, connection: Connection) -> list[Any]:
    """The attempts to refresh a connection, oldest first."""
    query = select(attempts).where(attempts.c.connection_id == connection.id).order_by(attempts.c.id)
    async with host.database.reading() as transaction:
        return list((await transaction.execute(query)).all())


def refreshes(world: World, pose: str = "sandbox") -> list[Received]:
    """What its token endpoint was asked beside the code of the first sign-in."""
    return [entry for entry in world.sandbox.token_requests(pose) if entry.grant_type != "authorization_code"]


def is_good(world: World, token: Token, pose: str = "sandbox") -> bool:
    """Whether the platform takes this access token."""
    return world.sandbox.grants.standing(pose, token.access).verdict == "good"


async def statuses(host: Host, user: str = "ada") -> list[str]:
    """The statuses that a user was told of, oldest first."""
    return [event.data["status"] for event in await host.events(user) if event.type == "connection_status"]


class Gate:
    """Where something waits until a test lets it go on."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self.open = anyio.Event()

    async def __call__(self, *_: Any) -> None:
        self.reached.set()
        await self.open.wait()

    def open_soon(self) -> None:
        """Let go on while whoever calls this waits for something else."""
        asyncio.get_running_loop().call_later(0.05, self.open.set)


class HeldUp(httpx.AsyncBaseTransport):
    """A way on which the first answer is held up behind a gate: the platform has acted, and nobody knows."""

    def __init__(self, inner: httpx.AsyncBaseTransport, gate: Gate) -> None:
        self._inner = inner
        self._gate: Gate | None = gate

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, after the gate."""
        response = await self._inner.handle_async_request(request)
        gate, self._gate = self._gate, None
        if gate is not None:
            await gate()
        return response

    async def aclose(self) -> None:
        """Close the way behind it."""
        await self._inner.aclose()


class Interrupted(Connector):
    """The sandbox's connector, with something that happens before it asks or after it has read the answer."""

    def __init__(
        self,
        *,
        before: Callable[[], Awaitable[None]] | None = None,
        after: Callable[[Token], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(sandbox.facts, sandbox.endpoints)
        self.before = before
        self.after = after

    @hookimpl
    async def refresh_token(self, token: Token, client: Client, http: httpx.AsyncClient) -> Token:
        if self.before:
            await self.before()
        fresh = await self.facts.oauth.refresh(token, client, http)
        if self.after:
            await self.after(fresh)
        return fresh


@asynccontextmanager
async def host_with(
    world: World, connector: Connector, *, policy: RefreshPolicy = AT_ONCE, clock: Clock | None = None
) -> AsyncIterator[Host]:
    """A host whose only platform is the sandbox, by way of this connector."""
    plugins = Plugins()
    plugins.register(connector, "sandbox", "soulwatch-sandbox")
    host = await Host.open(world.settings(), policy=policy, clock=clock, plugins=plugins)
    try:
        yield host
    finally:
        await host.close()


def impatient(host: Host, seconds: float = 0.2, inner: httpx.AsyncBaseTransport | None = None) -> None:
    """Let the way to the sandbox's token endpoint give up soon, or be another one."""
    way = host.platforms.token_way("sandbox")
    host.platforms._ways["sandbox", "tokens"] = Outbound(way.addresses, inner or way._inner, timeout_s=seconds)


def held_up(host: Host) -> Gate:
    """Hold up the next answer of the sandbox."""
    gate = Gate()
    impatient(host, 30, HeldUp(host.platforms.token_way("sandbox")._inner, gate))
    return gate
