"""A platform to play against: a real server on 127.0.0.1 where a test says what is answered, and what was asked."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Line = Response | Callable[[Request], Response]
"""What is answered: an answer, or what makes one of the request."""

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived; `url` as it was meant, without its query."""

    method: str
    url: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form."""
        return dict(parse_qsl(self.body.decode()))

    @property
    def json(self) -> Any:
        """The value of a JSON body."""
        return json.loads(self.body)


@dataclass
class Stage:
    """Says its lines in order, the last one again and again, and remembers what it was asked."""

    port: int = 0
    lines: dict[str, list[Line]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def says(self, url: str, *lines: Line) -> None:
        """What is answered at `url`, from now on."""
        self.lines[url] = list(lines)

    def clear(self) -> None:
        """Forget all lines and requests."""
        self.lines.clear()
        self.asked.clear()

    def client(self) -> httpx.AsyncClient:
        """A client whose every request comes here, whatever host it was meant for."""
        return httpx.AsyncClient(transport=ToStage(self.port), trust_env=False)

    async def answer(self, request: Request) -> Response:
        """The next line for a request."""
        url = f"https://{request.headers['host']}{request.url.path}"
        query, headers, body = dict(request.query_params), dict(request.headers), await request.body()
        self.asked.append(Asked(request.method, url, query, headers, body))
        if url not in self.lines:
            return Response(f"Nothing was to be said at {url}: stage.says(url, ...) gives it a line.", 501)
        lines = self.lines[url]
        line = lines.pop(0) if len(lines) > 1 else lines[0]
        return line if isinstance(line, Response) else line(request)


class ToStage(httpx.AsyncBaseTransport):
    """Takes every request to the stage at `port`; its Host header still says who was meant."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The stage's answer."""
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await self._wire.handle_async_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._wire.aclose()


@contextmanager
def running_stage() -> Iterator[Stage]:
    """A stage that is served, by a thread of its own, for as long as the block lasts."""
    stage = Stage()
    app = Starlette(routes=[Route("/{path:path}", stage.answer, methods=METHODS)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        stage.port = door.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        try:
            yield stage
        finally:
            server.should_exit = True
            thread.join()
