"""A way to the sandbox through one more TCP connection, on which answers are cut off."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

LENGTH = re.compile(rb"(?im)^content-length: *(\d+)")
ASKS_FOR_TOKEN = re.compile(rb"POST \S*/token ")
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with a wait of 0: closing is a reset."""


class Proxy:
    """Passes requests and answers on, one after the other; those about tokens are cut off where that was asked."""

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._target = (address.hostname, address.port)
        self.url = ""
        self.heard = b""
        """All that was asked by this way."""
        self.cuts: list[tuple[Callable[[bytes], int], bool]] = []
        """Those that are still to come."""

    def cut(self, after: Callable[[bytes], int], *, by_reset: bool, times: int = 1) -> None:
        """Let only so much of the next token answer through, and end the connection then."""
        self.cuts += [(after, by_reset)] * times

    @asynccontextmanager
    async def running(
        self, listener: socket.socket | None = None, context: ssl.SSLContext | None = None
    ) -> AsyncIterator[Proxy]:
        """The way is open inside this block, on a socket that listens already or on one of its own."""
        listener = listener or socket.create_server(("127.0.0.1", 0))
        visits: set[asyncio.Task[None]] = set()

        def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            visits.add(task := asyncio.ensure_future(self._visit(reader, writer)))
            task.add_done_callback(visits.discard)

        server = await asyncio.start_server(visited, sock=listener, ssl=context)
        host, port = listener.getsockname()
        self.url = f"http{'s' if context else ''}://{host}:{port}"
        try:
            yield self
        finally:
            server.close()
            for visit in list(visits):
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond, to_beyond = await asyncio.open_connection(*self._target)
        try:
            with suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    request = await _message(reader)
                    self.heard += request
                    to_beyond.write(request)
                    answer = await _message(beyond)
                    if ASKS_FOR_TOKEN.match(request) and self.cuts:
                        await self._let_through(writer, answer, *self.cuts.pop(0))
                        return
                    writer.write(answer)
                    await writer.drain()
        finally:
            to_beyond.transport.abort()
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _let_through(
        self, writer: asyncio.StreamWriter, answer: bytes, after: Callable[[bytes], int], by_reset: bool
    ) -> None:
        writer.write(answer[: after(answer)])
        await writer.drain()
        if by_reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")
