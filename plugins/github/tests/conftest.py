"""A stage on 127.0.0.1 where a test says what GitHub answers, and a way there for what was meant for GitHub."""

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from soulwatch import Account, Api, Client, Cursor
from soulwatch_github import github

METHODS = ["GET", "POST", "DELETE"]
RECORDED = Path(__file__).parent / "recorded"


Line = Response | Callable[[Request], Response]


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    url: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Stage:
    """Says its lines in order, the last one again and again, and remembers what it was asked."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def says(self, url: str, *lines: Line) -> None:
        self.lines[url] = list(lines)

    async def answer(self, request: Request) -> Response:
        url = f"https://{request.headers['host']}{request.url.path}"
        headers, body = dict(request.headers), await request.body()
        self.asked.append(Asked(request.method, url, dict(request.query_params), headers, body))
        lines = self.lines[url]
        line = lines.pop(0) if len(lines) > 1 else lines[0]
        return line if isinstance(line, Response) else line(request)


class ToStage(httpx.AsyncBaseTransport):
    """Takes every request to the stage; its Host header still says who was meant."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self.port)
        return await self.wire.handle_async_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream)
        )

    async def aclose(self) -> None:
        await self.wire.aclose()


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def house():
    """One server for all tests; each sets its own stage in it."""

    async def on_stage(request):
        return await app.state.stage.answer(request)

    app = Starlette(routes=[Route("/{path:path}", on_stage, methods=METHODS)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        app.state.port = door.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield app
        server.should_exit = True
        thread.join()


@pytest.fixture
def stage(house):
    house.state.stage = Stage()
    return house.state.stage


@pytest.fixture
async def http(house):
    async with httpx.AsyncClient(transport=ToStage(house.state.port)) as client:
        yield client


@pytest.fixture
def client():
    return Client("our client", "our secret/with=signs")


@pytest.fixture
def now():
    return datetime(2026, 11, 20, 18, 45, tzinfo=UTC)


@pytest.fixture
def api(http, now):
    async def access_token(refused):
        return "made-up-access-2" if refused else "made-up-access-1"

    return Api(github.facts, Account("90210007", "oda-brack"), http, access_token, now=lambda: now)


@pytest.fixture
def poll(api):
    """Reads one endpoint from a cursor on, as the host would."""

    async def read(name, cursor=None):
        endpoint = next(one for one in github.endpoints if one.name == name)
        return [page async for page in endpoint.pages(api, cursor or Cursor())]

    return read


@pytest.fixture
def recorded():
    """An answer of our own making, in the shape GitHub documents."""

    def answer(name, status=200, headers=None, **changes):
        body = json.loads((RECORDED / f"{name}.json").read_text())
        return JSONResponse({**body, **changes} if isinstance(body, dict) else body, status, headers)

    return answer
