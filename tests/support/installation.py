"""An installation as an operator has it: real processes and commands at DEBUG, of which nothing goes unheard."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from support import leaky
from support.canaries import Canaries
from support.overheard import Overheard
from support.served import PROTOCOL
from support.terminal import Running, Terminal
from support.world import World

KEY_FILE = "encryption.key"
READY = "To sign in, run"
LOOKED_AT_EVERY_S = 0.01


@dataclass
class Installation:
    """What it was told, what it said, and what of that it was meant to say."""

    world: World
    overheard: Overheard
    terminal: Terminal
    meant: dict[tuple[str, str], tuple[str, ...]]
    """Which answers are there to hand out which kinds of secrets."""
    stack: AsyncExitStack
    canaries: Canaries = field(default_factory=Canaries)
    said: list[tuple[str, bytes, tuple[str, ...]]] = field(default_factory=list)
    """What came out where, and the kinds of secrets that were meant to."""
    passing: set[bytes] = field(default_factory=set)
    """What stood in journals and temporary files for a while."""
    url: str = ""

    def hear(self, where: str, text: str | bytes, meant: tuple[str, ...] = ()) -> None:
        """Keep something that came out."""
        self.said.append((where, text.encode() if isinstance(text, str) else text, meant))

    @contextmanager
    def serving(self, **settings: str) -> Iterator[Running]:
        """A process of `soulwatch serve` under a few more settings."""
        before, self.terminal.variables = self.terminal.variables, {**self.terminal.variables, **settings}
        try:
            with self.terminal.running("serve") as process:
                self.url = process.wait_for(READY).partition("Address:")[2].split()[0]
                yield process
            self.hear("standard output", process.out)
            self.hear("the log", process.log)
        finally:
            self.terminal.variables = before

    async def type(self, *words: str, meant: tuple[str, ...] = ()) -> str:
        """Carry out a command; what it printed."""
        done = await anyio.to_thread.run_sync(self.terminal.run, *words)
        self.hear(f"soulwatch {' '.join(words)}", done.out, meant)
        self.hear(f"the log of soulwatch {' '.join(words)}", done.err)
        return done.out

    async def visitor(self, **options: Any) -> httpx.AsyncClient:
        """A browser or an application, whose answers are all kept."""
        hooks = {"response": [self._heard]}
        client = httpx.AsyncClient(base_url=self.url, event_hooks=hooks, trust_env=False, timeout=60, **options)
        return await self.stack.enter_async_context(client)

    async def _heard(self, response: httpx.Response) -> None:
        await response.aread()
        asked = response.request
        head = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
        meant = self.meant.get((asked.method, asked.url.path), ())
        self.hear(f"the answer to {asked.method} {asked.url.path}", head.encode() + response.content, meant)

    @asynccontextmanager
    async def listening(self, ticket: str) -> AsyncIterator[None]:
        """A socket that keeps every frame."""
        address = f"ws{self.url.removeprefix('http')}/ws"
        async with connect(address, subprotocols=[PROTOCOL, f"ticket.{ticket}"], proxy=None) as socket:

            async def listen() -> None:
                with suppress(ConnectionClosed):
                    async for frame in socket:
                        self.hear("a frame", frame)

            async with anyio.create_task_group() as group:
                group.start_soon(listen)
                yield
                group.cancel_scope.cancel()

    async def watch(self) -> None:
        """Look at journals and temporary files as they come and go, until cancelled."""
        while True:
            for path in [*self.world.folder.rglob("*-journal"), *(self.terminal.folder / "tmp").rglob("*")]:
                with suppress(OSError):
                    self.passing.add(path.read_bytes())
            await anyio.sleep(LOOKED_AT_EVERY_S)

    def leaks(self) -> list[str]:
        """Every secret that came out where it was not meant to."""
        found = [f"{where}: {leak}" for where, text, meant in self.said for leak in self.canaries.found_in(text, meant)]
        found += [f"for a while: {leak}" for text in self.passing for leak in self.canaries.found_in(text)]
        return found + self.canaries.found_in_files(self.world.folder, without=(KEY_FILE,))


def install_leaky(folder: Path) -> None:
    """A distribution with the leaky plugin, for whoever has the folder on its path."""
    about = folder / "soulwatch_leaky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: soulwatch-leaky\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[soulwatch]\nleaky = soulwatch_leaky:leaky\n")
    shutil.copy(leaky.__file__, folder / "soulwatch_leaky.py")
