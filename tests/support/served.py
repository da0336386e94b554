"""A host served by a real uvicorn on 127.0.0.1, and who comes to it: browsers, applications, sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect

from soulwatch.commands.serving import Server
from soulwatch.host.access import Operator
from soulwatch.host.app import create_app
from soulwatch.host.clock import Clock
from soulwatch.host.host import Host
from soulwatch.host.timing import RefreshPolicy
from soulwatch_sandbox import Sandbox, answer_consent
from soulwatch_sandbox.serving import QuietServer

PROTOCOL = "soulwatch.v1"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests to which the kind of database makes no difference: each runs once."""

on_postgres = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
"""For tests of what only a server of several hosts does."""


@dataclass
class Served:
    """A host, its address, and the ways in that a test may take."""

    host: Host
    sandbox: Sandbox
    url: str
    stack: AsyncExitStack

    @property
    def ws_url(self) -> str:
        """Where its WebSocket is."""
        return f"ws{self.url.removeprefix('http')}/ws"

    async def visitor(self, **options: Any) -> httpx.AsyncClient:
        """A browser without a session: a cookie jar of its own, redirects looked at one by one."""
        return await self.stack.enter_async_context(httpx.AsyncClient(base_url=self.url, trust_env=False, **options))

    async def operator(self) -> httpx.AsyncClient:
        """A browser that is signed in, and whose script sends the CSRF token."""
        browser = await self.visitor()
        code = await self.host.access.login_code()
        signed_in = await browser.post("/sign-in", data={"code": code})
        assert signed_in.status_code == 303, signed_in.text
        browser.headers["X-CSRF-Token"] = (await self.session_of(browser)).csrf_token
        return browser

    async def session_of(self, browser: httpx.AsyncClient) -> Operator:
        """The session whose cookie a browser holds."""
        (secret,) = (cookie.value for cookie in browser.cookies.jar if "session" in cookie.name)
        session = await self.host.access.session(secret or "")
        assert session is not None
        return session

    async def application(self, name: str = "front end") -> httpx.AsyncClient:
        """An application with an API key of its own."""
        _, key = await self.host.access.new_key(name)
        return await self.visitor(headers={"Authorization": f"Bearer {key}"})

    async def consented(self, browser: httpx.AsyncClient, start: str, person: str = "mira", **answer: Any) -> str:
        """Follow `start` to the platform, answer its question there, and give the address it sends the browser to."""
        away = await browser.get(start)
        assert away.status_code == 303, away.text
        async with httpx.AsyncClient(trust_env=False) as elsewhere:
            return await answer_consent(elsewhere, away.headers["location"], person=person, **answer)

    async def ticket(self, user: str = "ada") -> str:
        """A socket's pass, as an application obtains it."""
        return await self.host.access.ticket(user, None, "api key of the tests")

    def socket(self, ticket: str | None, query: str = "", **options: Any) -> connect:
        """A socket that shows its ticket as a sub-protocol; with None it shows none."""
        offered = [PROTOCOL] if ticket is None else [PROTOCOL, f"ticket.{ticket}"]
        return connect(self.ws_url + query, **{"subprotocols": offered, "proxy": None, "compression": None, **options})

    async def listening(self, user: str = "ada", query: str = "", **options: Any) -> ClientConnection:
        """A socket that hears a user's events; it is past its first message."""
        opened = await self.stack.enter_async_context(self.socket(await self.ticket(user), query, **options))
        await opened.recv()
        return opened


async def until(is_so: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it is so. Raises TimeoutError."""
    with anyio.fail_after(seconds):
        while not is_so():  # noqa: ASYNC110  - what is waited for knows of no event
            await anyio.sleep(0.005)


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@asynccontextmanager
async def serving(
    sandbox: Sandbox, settings_on: Callable[[int], Any], policy: RefreshPolicy, clock: Clock | None = None
) -> AsyncIterator[Served]:
    """Serve a host, opened under the settings for a port, while the block lasts. Its background work is not running."""
    listener = free_port()
    port = listener.getsockname()[1]
    async with AsyncExitStack() as stack:
        host = await Host.open(settings_on(port), clock=clock, policy=policy)
        stack.push_async_callback(host.close)
        app = create_app(host=host, worker=False)
        await stack.enter_async_context(app.router.lifespan_context(app))
        await stack.enter_async_context(running(app, listener))
        yield Served(host, sandbox, f"http://127.0.0.1:{port}", await stack.enter_async_context(AsyncExitStack()))


def free_port() -> socket.socket:
    """A listening socket on a port that nobody uses."""
    # Its protocol is named, since asyncio sends small answers at once only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(100)
    return listener


@asynccontextmanager
async def running(app: ASGIApp, listener: socket.socket, *, is_quiet: bool = True) -> AsyncIterator[uvicorn.Server]:
    """A uvicorn set up as `soulwatch serve` does it; a quiet one ends without a word to anybody who is connected."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    server = QuietServer(config) if is_quiet else Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0.001)
        yield server
    finally:
        server.stop() if isinstance(server, QuietServer) else setattr(server, "should_exit", True)
        await task
