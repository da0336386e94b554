"""uvicorn as this host needs it: its own signals, no access log, small frames, and an end within the grace period."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
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
PART_FOR_REQUESTS = 0.9
"""The part of the grace period that open requests may take; the rest is for closing up."""
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
    logging.getLogger("uvicorn.error").addFilter(_is_a_fault)
    server = Server(_config(app, host.settings.shutdown_grace))
    serving = anyio.CancelScope()
    # The lifespan is run here and not by uvicorn, which would turn an error into a log line and a bare exit code.
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_when_told, server, host, serving)
        async with app.router.lifespan_context(app):
            group.start_soon(_when_up, server, greet)
            with serving:
                await server.serve(sockets=sockets)
        group.cancel_scope.cancel()


def _config(app: Starlette, grace: timedelta) -> uvicorn.Config:
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
        timeout_graceful_shutdown=max(1, int(grace.total_seconds() * PART_FOR_REQUESTS)),
    )


def _is_a_fault(record: logging.LogRecord) -> bool:
    # A request that is cut off at the end of the grace period would be told as an error with a long traceback.
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


async def _when_up(server: Server, greet: Callable[[], Awaitable[None]]) -> None:
    await server.up.wait()
    await greet()


async def _stop_when_told(server: Server, host: Host, serving: anyio.CancelScope) -> None:
    """The first signal lets what is running finish, the second waits for no request any more."""
    if os.name != "posix":
        return  # no event loop hears signals there; Ctrl+C interrupts the program
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            name = signal.Signals(number).name
            if server.should_exit:
                logger.warning("stopping at once (%s): open requests are cut off", name)
                serving.cancel()
                continue
            logger.info("stopping (%s): what is running may finish", name)
            # At once, so that polls and open requests share one grace period instead of having one after the other.
            host.worker.stop()
            server.should_exit = True
