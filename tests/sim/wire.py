"""The network between machines and the platform: real httpx, httpcore and h11 on one side, the sandbox on the other.

Only the sockets between them are played, so that a request can be lost on its way there, and an answer on its way back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import anyio
import h11
import httpcore
import httpx
from sim.machine import Machine
from starlette.types import ASGIApp

LOSING = ("request_lost", "answer_cut", "answer_hangs", "unwell", "lied")
LOSING_AN_ANSWER = ("answer_cut", "answer_hangs", "unwell")
"""Of these the platform has acted."""
SPARED_S = 120.0
"""What befell a token once does not befall it again so soon: there is none that could get over everything."""


Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
DEAD: Answer = (400, [(b"content-type", b"application/json")], b'{"error":"invalid_grant"}')
NOT_WELL: Answer = (503, [(b"content-type", b"text/html")], b"<p>not well</p>")


@dataclass
class Weather:
    """What may happen to an exchange, each with its probability; one thing at most happens to one exchange."""

    chance: random.Random
    refused: float = 0.0
    request_lost: float = 0.0
    answer_cut: float = 0.0
    answer_hangs: float = 0.0
    slow: float = 0.0
    unwell: float = 0.0
    lied: float = 0.0
    """It calls a token dead that is not."""
    is_down: bool = False
    latency_s: tuple[float, float] = (0.001, 0.05)

    def fate(self, *names: str) -> str:
        """Which of these happens now; "" where nothing does."""
        drawn = self.chance.random()
        for name in names:
            drawn -= getattr(self, name)
            if drawn < 0:
                return name
        return ""

    def latency(self) -> float:
        """One way."""
        return self.chance.uniform(*self.latency_s)


@dataclass
class Sent:
    """A token request as the platform saw it."""

    begun: float
    """When its first byte was about to leave."""
    at: float
    machine: str
    token: str
    fate: str
    status: int = 0
    is_given_up: bool = False
    """Whether nobody was there any more to hear the answer."""


@dataclass
class Wire(httpcore.AsyncNetworkBackend):
    """The network of one machine. `lost` are the refresh tokens whose answer got lost, with the time."""

    app: ASGIApp
    machine: Machine
    weather: Weather
    sent: list[Sent] = field(default_factory=list)
    spare: dict[str, float] = field(default_factory=dict)
    """Refresh tokens whose answer was lost lately: not twice in a row, or no protocol could get over it."""

    failed: list[BaseException] = field(default_factory=list)
    """What went wrong in the platform itself, which is our mistake."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  - httpcore wants it so
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Line:
        """A connection, unless the platform is down."""
        await self.machine.step("connect")
        await asyncio.sleep(self.weather.latency())
        if self.weather.is_down or self.weather.fate("refused"):
            raise httpcore.ConnectError("refused")
        return Line(self)

    async def sleep(self, seconds: float) -> None:
        await self.machine.sleep(seconds)


class Line(httpcore.AsyncNetworkStream):
    """One connection, keep-alive and all."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._server = h11.Connection(h11.SERVER)
        self._inbox = bytearray()
        self._is_broken = False
        self._is_closed = False
        self._arrived = asyncio.Event()
        self._request: h11.Request | None = None
        self._body = b""
        self._begun: float | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        if buffer and self._begun is None:
            self._begun = self._wire.machine.monotonic()
        await self._wire.machine.step("write")
        if self._is_broken or self._is_closed:
            raise httpcore.WriteError("the connection is gone")
        if not buffer:
            return  # which h11 would take for the end of the connection
        self._server.receive_data(buffer)
        while True:
            event = self._server.next_event()
            if isinstance(event, h11.Request):
                self._request, self._body = event, b""
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                # The platform goes on whatever becomes of who asked.
                serving = self._served(self._request, self._body, self._begun)
                asyncio.get_running_loop().create_task(serving, context=Context())
                self._begun = None
                return
            else:
                return

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        try:
            with anyio.fail_after(timeout):
                while not (self._inbox or self._is_broken):
                    self._arrived = asyncio.Event()
                    await self._arrived.wait()
        except TimeoutError:
            raise httpcore.ReadTimeout("nothing came") from None
        await self._wire.machine.step("read")
        if not self._inbox:
            raise httpcore.ReadError("reset")
        some = bytes(self._inbox[:max_bytes])
        del self._inbox[:max_bytes]
        return some

    async def aclose(self) -> None:
        self._is_closed = True

    def get_extra_info(self, info: str) -> Any:
        return self._is_broken if info == "is_readable" else None

    async def _served(self, request: h11.Request | None, body: bytes, begun: float) -> None:
        try:
            await self._serve(request, body, begun)
        except Exception as broken:  # noqa: BLE001  - told at the end of the run
            self._wire.failed.append(broken)

    async def _serve(self, request: h11.Request | None, body: bytes, begun: float) -> None:
        assert request is not None
        weather = self._wire.weather
        await asyncio.sleep(weather.latency())
        token = parse_qs(body.decode("latin-1")).get("refresh_token", [""])[0]
        fate = "request_lost" if weather.is_down else self._fate(token)
        sent = Sent(begun, asyncio.get_running_loop().time(), self._wire.machine.name, token, fate)
        if token:
            self._wire.sent.append(sent)
        if fate == "request_lost":
            self._break()
            return
        if fate == "lied":
            sent.status, headers, content = DEAD
        else:
            sent.status, headers, content = await self._answer(request, body)
        if fate == "unwell":
            sent.status, headers, content = NOT_WELL
        await asyncio.sleep(weather.latency() + (weather.chance.uniform(1, 12) if fate == "slow" else 0))
        packed = self._packed(sent.status, headers, content)
        sent.is_given_up = self._is_closed
        if fate == "answer_hangs":
            return
        if fate == "answer_cut":
            packed = packed[: weather.chance.randrange(len(packed))]
        self._inbox += packed
        if fate == "answer_cut":
            self._break()
        self._arrived.set()

    def _fate(self, token: str) -> str:
        now, spare = asyncio.get_running_loop().time(), self._wire.spare
        fate = self._wire.weather.fate("request_lost", "answer_cut", "answer_hangs", "slow", "unwell", "lied")
        if fate in LOSING and (now < spare.get(token, 0) or (fate == "lied" and not token)):
            return ""
        if token and fate in LOSING:
            spare[token] = now + SPARED_S
        return fate

    def _packed(self, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> bytes:
        length = [] if status in (204, 304) else [(b"content-length", str(len(content)).encode())]
        kept = [(name, value) for name, value in headers if name != b"content-length"]
        packed = self._server.send(h11.Response(status_code=status, headers=[*kept, *length])) or b""
        packed += (self._server.send(h11.Data(content)) or b"") if length else b""
        packed += self._server.send(h11.EndOfMessage()) or b""
        self._server.start_next_cycle()
        return packed

    def _break(self) -> None:
        self._is_broken = True
        self._arrived.set()

    async def _answer(self, request: h11.Request, body: bytes) -> Answer:
        path, _, query = request.target.partition(b"?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": request.method.decode(),
            "scheme": "http",
            "path": path.decode(),
            "raw_path": path,
            "root_path": "",
            "query_string": query,
            "headers": [(name, value) for name, value in request.headers],
            "server": ("platform", 80),
            "client": ("host", 1),
            "state": {},
        }
        said: dict[str, Any] = {"status": 500, "headers": [], "body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                said.update(status=message["status"], headers=list(message.get("headers", [])))
            else:
                said["body"] += message.get("body", b"")

        await self._wire.app(scope, receive, send)
        return said["status"], said["headers"], said["body"]


def transport_over(wire: Wire) -> httpx.AsyncHTTPTransport:
    """httpx's own transport and httpcore's own pool, on a played network."""
    transport = httpx.AsyncHTTPTransport()
    transport._pool = httpcore.AsyncConnectionPool(max_connections=20, network_backend=wire)
    return transport
