"""Real processes of `soulwatch serve`, and the world of the flow tests around them."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from support.world import World, open_world

__all__ = ["open_world"]

ADDRESS = re.compile(r"Address: +(\S+)")
WITHOUT_POLLS = {
    f"SOULWATCH_PLATFORMS__{endpoint}": "off"
    for endpoint in (
        *(f"SANDBOX__SCHEDULES__{data_type}" for data_type in ("NOTES", "MOOD", "FOLLOWS", "ARCHIVE")),
        *(f"SPOTIFY__SCHEDULES__{data_type}" for data_type in ("RECENTLY_PLAYED", "CURRENTLY_PLAYING")),
    )
}


class Served:
    """One process of `soulwatch serve`, and what it printed."""

    def __init__(self, world: World, *, is_polling: bool = True, **more: str) -> None:
        environment = {
            **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
            "PYTHONUNBUFFERED": "1",
            "SOULWATCH_DATA_DIR": str(world.folder),
            "SOULWATCH_DATABASE_URL": world.database_url,
            "SOULWATCH_LEASE": "2s",
            "SOULWATCH_PORT": "0",
            "SANDBOX_CLIENT_ID": "invented-sandbox-client",
            "SANDBOX_CLIENT_SECRET": "invented-sandbox-secret",
            "SOULWATCH_PLATFORMS__SANDBOX__API_URL": world.url,
            "SOULWATCH_PLATFORMS__SANDBOX__OAUTH_URL": world.url,
            **({} if is_polling else WITHOUT_POLLS),
            **more,
        }
        self._database = world.database_url
        command = [sys.executable, "-m", "soulwatch", "serve"]
        self.log = (world.folder / f"log-{time.monotonic_ns()}").open("w+")
        self.process = subprocess.Popen(command, env=environment, cwd=world.folder, stdout=self.log, stderr=self.log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> float:
        """Ask it to end; how many seconds that took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return time.monotonic() - begun

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """As if its machine slept: it does nothing inside this block, and does not know it.

        It is not caught within a transaction: a whole machine sleeps, and with it whoever would wait for SQLite's lock.
        """
        self._stop()
        while self._holds_lock():
            self.process.send_signal(signal.SIGCONT)
            time.sleep(0.01)
            self._stop()
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def _holds_lock(self) -> bool:
        if not self._database.startswith("sqlite"):
            return False
        with closing(
            sqlite3.connect(self._database.partition("///")[2], timeout=0, isolation_level=None)
        ) as connection:
            try:
                connection.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return True
        return False

    def said(self) -> str:
        return Path(self.log.name).read_text()

    async def begun(self) -> str:
        """Its address, once it takes requests."""
        with anyio.fail_after(40):
            while not (found := ADDRESS.search(self.said())) or "To sign in" not in self.said():
                assert self.is_running, self.said()
                await anyio.sleep(0.05)
        return found[1]

    async def health(self) -> int:
        """What it says of itself."""
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"{await self.begun()}/healthz")).status_code


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts processes, and ends those a test left running."""
    started: list[Served] = []

    def start(world: World, *, is_polling: bool = True, **more: str) -> Served:
        started.append(Served(world, is_polling=is_polling, **more))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        one.log.close()
