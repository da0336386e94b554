"""aiosqlite without its threads: each statement runs in the loop, with a step of the machine before and after it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import aiosqlite.core
from sim.machine import RUNNING

LONGEST_WAIT_S = 30.0
"""As the host asks of SQLite; waiting in SQLite itself would stop virtual time."""
FULL = "database or disk is full"


class _AtOnce:
    """What is put into this queue is done before `put_nowait` returns."""

    def put_nowait(self, job: tuple[asyncio.Future[Any] | None, Callable[[], Any]]) -> None:
        future, function = job
        try:
            result = function()
        except Exception as broken:
            if future is None:
                raise
            future.set_exception(broken)
        else:
            if future is not None:
                future.set_result(result)


class _NoThread:
    daemon = True

    def start(self) -> None:
        pass


def _init(self: Any, connector: Callable[[], sqlite3.Connection], iter_chunk_size: int, **_: Any) -> None:
    def connect() -> sqlite3.Connection:
        connection = connector()
        connection.execute("PRAGMA busy_timeout=0")
        connection.create_function("virtual_now", 0, asyncio.get_running_loop().time)
        machine = RUNNING.get()
        if machine is not None:
            machine.connections.add(self)
            connection.create_function("intended", 0, machine.intended.set)
        return connection

    self._running = True
    self._connection = None
    self._connector = connect
    self._tx = _AtOnce()
    self._iter_chunk_size = iter_chunk_size
    self._thread = _NoThread()


async def _execute(self: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    name = getattr(function, "__name__", "")
    machine = RUNNING.get()
    if machine is None or name not in ("execute", "executemany", "commit"):
        return function(*args, **kwargs)
    await machine.step(f"before {name}")
    patience = asyncio.get_running_loop().time() + LONGEST_WAIT_S
    while True:
        if machine.disk_is_full and (name == "commit" or str(args[0]).startswith(("INSERT", "UPDATE", "DELETE"))):
            raise sqlite3.OperationalError(FULL)
        try:
            result = function(*args, **kwargs)
            break
        except sqlite3.OperationalError as broken:
            if "locked" not in str(broken) or asyncio.get_running_loop().time() > patience:
                raise
        await machine.sleep(0.001 + machine.random() / 50)
    if name != "commit":
        machine.cursors.add(result)
    await machine.step(f"after {name}")
    return result


def _await(self: Any) -> Any:
    return self._connect().__await__()


@contextmanager
def inline_sqlite() -> Iterator[None]:
    """While this lasts aiosqlite starts no thread."""
    connection = aiosqlite.core.Connection
    with (
        patch.object(connection, "__init__", _init),
        patch.object(connection, "_execute", _execute),
        patch.object(connection, "__await__", _await),
    ):
        yield
