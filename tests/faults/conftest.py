"""Real processes of `soulwatch serve`, and the world of the flow tests around them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.world import World, open_world

__all__ = ["open_world"]


class Served:
    """One process of `soulwatch serve`, and what it printed."""

    def __init__(self, world: World, **more: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "SOULWATCH_DATA_DIR": str(world.folder),
            "SOULWATCH_DATABASE_URL": world.database_url,
            "SOULWATCH_LEASE": "2s",
            "SOULWATCH_PORT": "0",
            "SANDBOX_CLIENT_ID": "invented-sandbox-client",
            "SANDBOX_CLIENT_SECRET": "invented-sandbox-secret",
            "SOULWATCH_PLATFORMS__SANDBOX__API_URL": world.url,
            "SOULWATCH_PLATFORMS__SANDBOX__OAUTH_URL": world.url,
            **more,
        }
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

    def said(self) -> str:
        return Path(self.log.name).read_text()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Starts processes, and ends those a test left running."""
    started: list[Served] = []

    def start(world: World, **more: str) -> Served:
        started.append(Served(world, **more))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()
        one.log.close()
