"""Serving a sandbox on a real socket: in the current event loop, or in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from soulwatch_sandbox.world import Sandbox

LONGEST_GOODBYE_S = 1.0


class OpenProtocol(H11Protocol):
    """HTTP/1.1 that shows the application its transport, so that a fault can break the connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A visitor has connected."""
        self.app_state = {**self.app_state, "transport": transport}
        # asyncio does this only for sockets whose protocol number is set, which create_server() leaves at 0;
        # without it each answer waits 40 ms for a delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers, that ends at once: whoever plays a crash does not wait for answers."""

    def capture_signals(self) -> Any:
        """None: the process belongs to somebody else."""
        return nullcontext()

    async def main_loop(self) -> None:
        """Until told to stop; the clock of the `Date` header goes on."""
        self._stop = asyncio.Event()
        ticks = 0
        while not self.should_exit:
            await self.on_tick(ticks * 10)
            ticks += 1
            try:
                async with asyncio.timeout(1):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Leave the main loop."""
        self.should_exit = True
        if hasattr(self, "_stop"):
            self._stop.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close every connection, whatever was going on there."""
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LONGEST_GOODBYE_S)
            for task in late:
                task.cancel()
        await asyncio.sleep(0)


@asynccontextmanager
async def running(sandbox: Sandbox, port: int = 0, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Serve `sandbox` while the block lasts; gives its base URL. Port 0 is any free one."""
    listener = _listen(host, port)
    config = uvicorn.Config(
        sandbox.app,
        http=OpenProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            if serving.done():
                await serving
            await asyncio.sleep(0.001)
        yield _url(listener)
    finally:
        server.stop()
        await serving


@contextmanager
def running_in_thread(sandbox: Sandbox, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """The same for tests that have no event loop."""
    started, ended = threading.Event(), threading.Event()
    found: list[str] = []
    failed: list[BaseException] = []

    async def serve() -> None:
        async with running(sandbox, port, host) as url:
            found.append(url)
            started.set()
            await asyncio.to_thread(ended.wait)

    def live() -> None:
        try:
            asyncio.run(serve())
        except BaseException as wrong:  # noqa: BLE001  - told to whoever waits
            failed.append(wrong)
        finally:
            started.set()

    thread = threading.Thread(target=live, name="soulwatch-sandbox", daemon=True)
    thread.start()
    started.wait()
    if not found:
        thread.join()
        raise RuntimeError("The sandbox did not start.") from failed[0]
    try:
        yield found[0]
    finally:
        ended.set()
        thread.join()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
