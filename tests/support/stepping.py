"""The steps of a host, one by one: at any of them it can be made to die, to wait for a test, or to fail for a while.

A step is just before a transaction, at the end of it and before its commit, just after the commit, before a request
leaves, and when its answer is there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.host import Host
from soulwatch.host.outbound import Outbound

EVERY = 10**9
OF_DATABASE = (" read", " write", " commit")


class Gone(BaseException):
    """The process is gone: nothing that follows is carried out."""


class Steps:
    """Counts the steps of a host, and does at one of them what a test says."""

    def __init__(self, host: Host, platform: str = "sandbox") -> None:
        self.taken: list[str] = []
        self._at = 0
        self._times = 0
        self._do: Callable[[], Awaitable[None]] | None = None
        self._is_dead = False
        database = host.database
        reading, writing = database.reading, database.writing
        database.reading = self._around("read", reading)  # type: ignore[method-assign]
        database.writing = self._around("write", writing)  # type: ignore[method-assign]
        for use in ("reading", "tokens"):
            way = host.platforms.way(platform, use)
            host.platforms._ways[platform, use] = Outbound(way.addresses, _Way(way._inner, self._step), timeout_s=30)
        host.platforms._clients.pop(platform, None)

    async def die(self) -> None:
        """From this step on, nothing is done any more."""
        self._is_dead = True

    def die_at(self, step: int) -> None:
        """From that step on, nothing is done any more."""
        self._begin(step, self.die)

    def do_at(self, step: int, do: Callable[[], Awaitable[None]]) -> None:
        """At that step this is done, once; a `Gate` makes it wait there."""
        self._begin(step, do)

    def do_first_at(self, name: str, do: Callable[[], Awaitable[None]]) -> None:
        """At the first step of that name this is done, once."""

        async def only_there() -> None:
            if self.taken[-1] == name:
                self._times = 0
                await do()

        self._begin(0, only_there, EVERY)

    def fail_at(self, step: int, error: Exception, times: int = 1) -> None:
        """At that step and the next ones of the database, as many as said, this is what is raised."""

        async def fail() -> None:
            if self.taken[-1].endswith(OF_DATABASE):
                raise error

        self._begin(step, fail, times)

    def heal(self) -> None:
        """From now on all goes as it should."""
        self._do = None

    def _begin(self, step: int, do: Callable[[], Awaitable[None]], times: int = 1) -> None:
        self.taken, self._at, self._do, self._times = [], step, do, times

    @property
    def was_reached(self) -> bool:
        """Whether it came as far as the step that was meant."""
        return len(self.taken) > self._at

    async def _step(self, name: str) -> None:
        if self._is_dead:
            raise Gone(self.taken[-1])
        self.taken.append(name)
        if self._do is not None and self.was_reached and self._times > 0:
            self._times -= 1
            await self._do()
        if self._is_dead:
            raise Gone(name)

    def _around(self, name: str, open_: Callable[[], Any]) -> Callable[[], Any]:
        @asynccontextmanager
        async def stepped() -> AsyncIterator[AsyncConnection]:
            await self._step(f"before a {name}")
            async with open_() as transaction:
                yield transaction
                if name == "write":
                    await self._step("before its commit")
            await self._step(f"after a {name}")

        return stepped


class _Way(httpx.AsyncBaseTransport):
    def __init__(self, inner: httpx.AsyncBaseTransport, step: Callable[[str], Awaitable[None]]) -> None:
        self._inner = inner
        self._step = step

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """A step before it, a step after it."""
        await self._step(f"before {request.method} {request.url.path}")
        response = await self._inner.handle_async_request(request)
        await self._step(f"after {request.method} {request.url.path}")
        return response

    async def aclose(self) -> None:
        """Close the way behind it."""
        await self._inner.aclose()
