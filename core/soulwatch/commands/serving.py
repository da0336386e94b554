"""uvicorn as this host needs it: its own signals, no access log, small frames, and an end within the grace period."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import uvicorn
from uvicorn.config import WS_PROTOCOLS

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from soulwatch.host.host import Host

logger = logging.getLogger("soulwatch.serve")

LARGEST_FRAME = 64 * 1024
PING_EVERY_S = 20.0
SANS_IO = "websockets-sansio"


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which raise the signal once more when all has ended in order."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """None: `serve_until_told` listens for them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take requests, and say so."""
        await super().startup(sockets)
        self.up.set()


async def serve_until_told(
    app: Starlette, host: Host, sockets: list[socket.socket], greet: Callable[[], Awaitable[None]]
) -> None:
    """Serve `app` on `sockets` until SIGINT or SIGTERM, then end within the grace period; `greet` once it is up."""
    server = Server(_config(app, max(1, round(host.settings.shutdown_grace.total_seconds()))))
    # The lifespan is run here and not by uvicorn, which would turn an error into a log line and a bare exit code.
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_when_told, server, host)
        async with app.router.lifespan_context(app):
            group.start_soon(_when_up, server, greet)
            await server.serve(sockets=sockets)
        group.cancel_scope.cancel()


def _config(app: Starlette, grace_s: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        ws=SANS_IO if SANS_IO in WS_PROTOCOLS else "auto",
        ws_per_message_deflate=False,  # it doubles the memory of an idle socket
        ws_max_size=LARGEST_FRAME,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PING_EVERY_S,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
    )


async def _when_up(server: Server, greet: Callable[[], Awaitable[None]]) -> None:
    await server.up.wait()
    await greet()


async def _stop_when_told(server: Server, host: Host) -> None:
    """The first signal lets what is running finish, the second waits for no request any more."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            name = signal.Signals(number).name
            if server.should_exit:
                logger.warning("stopping at once (%s)", name)
                server.force_exit = True
                continue
            logger.info("stopping (%s): what is running may finish", name)
            # At once, so that polls and open requests share one grace period instead of having one after the other.
            host.worker.stop()
            server.should_exit = True
