"""A process of the simulation: it steps through all that the world sees of it, and can stop or die at each step."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakSet

START = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING: ContextVar[Machine | None] = ContextVar("running", default=None)
"""Whose code this is; none for the platform's."""


class Died(BaseException):
    """The process is gone: whatever still unwinds can do nothing to the world."""


class WallTime:
    """The wall clock that all machines share, and that somebody may set."""

    def __init__(self) -> None:
        self.moved = timedelta(0)

    def now(self) -> datetime:
        """START plus what has passed, plus what was set."""
        return START + timedelta(seconds=asyncio.get_running_loop().time()) + self.moved


class Machine:
    """Its steps are counted, so that it can be told to die at any one of them; it is its own host's Clock."""

    def __init__(self, name: str, seed: str, wall: WallTime) -> None:
        self.name = name
        self.steps = 0
        self.dies_at: int | None = None
        self.stops_at: int | None = None
        self.is_dead = False
        self.disk_is_full = False
        self.on_step: Callable[[int, str], None] = lambda _number, _what: None
        self.connections: WeakSet[Any] = WeakSet()
        self.cursors: WeakSet[Any] = WeakSet()
        self.died = asyncio.Event()
        self.stood_still = asyncio.Event()
        self.intended = asyncio.Event()
        """Set when it has written down that it is about to refresh a token."""
        self.away: list[tuple[float, float]] = []
        """From when until when it stood still; when it died."""
        self._chance = random.Random(f"{seed}:{name}")
        self._wall = wall
        self._stopped: asyncio.Event | None = None
        self._stopped_at = 0.0

    async def step(self, what: str) -> None:
        """Come to a place where everything may end or stand still."""
        await self._go_on_later()
        if self.is_dead:
            raise Died
        self.steps += 1
        self.on_step(self.steps, what)
        if self.steps == self.dies_at:
            self.kill()
        if self.stops_at is not None and self.steps >= self.stops_at and not self._is_in_transaction():
            self.stops_at = None
            self.stop()
            await self._go_on_later()
        if self.is_dead:
            raise Died

    async def _go_on_later(self) -> None:
        while self._stopped and not self.is_dead:
            await self._stopped.wait()

    def _is_in_transaction(self) -> bool:
        """Who stands still with SQLite's lock would keep everybody else from even starting."""
        return any(one._connection is not None and one._connection.in_transaction for one in self.connections)

    def kill(self) -> None:
        """SIGKILL: open transactions are rolled back, connections break, nothing more is said."""
        if not self.is_dead:
            self.away.append((self.monotonic(), self.monotonic()))
        self.is_dead = True
        self.died.set()
        self.stood_still.set()
        self.go_on()
        for cursor in list(self.cursors):
            with suppress(sqlite3.ProgrammingError):  # of a connection that was closed in order
                cursor.close()  # one with rows left to give would hold its lock
        self.cursors.clear()
        for connection in list(self.connections):
            if connection._connection is not None:
                connection._connection.rollback()
                connection._connection.close()
                connection._connection = None
        self.connections.clear()

    def stop(self) -> None:
        """SIGSTOP."""
        if self._stopped is None:
            self._stopped = asyncio.Event()
            self._stopped_at = self.monotonic()
            self.stood_still.set()

    def go_on(self) -> None:
        """SIGCONT."""
        if self._stopped:
            self.away.append((self._stopped_at, self.monotonic()))
            self._stopped.set()
            self._stopped = None

    # The Clock that the host is given

    def now(self) -> datetime:
        return self._wall.now()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
        await self.step("woke")

    def random(self) -> float:
        return self._chance.random()

    def token_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)
