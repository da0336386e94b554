"""A host on 127.0.0.1 for what the pages show: an application's key, and one account at the sandbox, connected and polled."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import anyio
import httpx
import pytest
import uvicorn

from soulwatch import Connection
from soulwatch.host.app import create_app
from soulwatch.host.connecting import Callback
from soulwatch.host.host import Host
from soulwatch.host.settings import load_settings
from soulwatch_sandbox import Sandbox, answer_consent, running

FRONT_END = "https://app.example.com"


@dataclass
class Served:
    """A host that can be reached, and what the examples need to know of it."""

    host: Host
    url: str
    key: str
    connection: Connection


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    with Sandbox(item_every=None) as sandbox, socket.create_server(("127.0.0.1", 0)) as door:
        async with running(sandbox) as place:
            given = {
                "host": "127.0.0.1",
                "port": door.getsockname()[1],
                "data_dir": str(tmp_path / "data"),
                "clients.sandbox.id": "invented-sandbox-client",
                "clients.sandbox.secret": "invented-sandbox-secret",
                "platforms.sandbox.api_url": place,
                "platforms.sandbox.oauth_url": place,
                "cors_origins": [FRONT_END],
                "return_to_origins": [FRONT_END],
            }
            host = await Host.open(load_settings(overrides=given, env={}, cwd=tmp_path))
            try:
                _, key = await host.access.new_key("the application")
                connection = await _connected(host)
                await host.poll_all_platforms_for_user("ada")
                async with serving(host, door) as url:
                    yield Served(host, url, key, connection)
            finally:
                await host.close()


class serving:  # noqa: N801  - reads as a verb where it is used
    """The application of a host, served while the block lasts; gives its address."""

    def __init__(self, host: Host, door: socket.socket) -> None:
        config = uvicorn.Config(create_app(host=host, worker=False), log_config=None, ws="websockets-sansio")
        self._server, self._door = uvicorn.Server(config), door
        self._group = anyio.create_task_group()

    async def __aenter__(self) -> str:
        await self._group.__aenter__()
        self._group.start_soon(self._server.serve, [self._door])
        while not self._server.started:
            await anyio.sleep(0.005)
        return f"http://127.0.0.1:{self._door.getsockname()[1]}"

    async def __aexit__(self, *raised: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        await self._group.__aexit__(*raised)


async def _connected(host: Host) -> Connection:
    url = await host.connecting.start("ada", "sandbox", "a browser")
    async with httpx.AsyncClient() as browser:
        back = await answer_consent(browser, url, person="mira")
    given = dict(parse_qsl(urlsplit(back).query))
    came = Callback("sandbox", given["state"], given["code"], None, given.get("iss"), "a browser")
    finished = await host.connecting.finish(came)
    assert finished.connection is not None
    return finished.connection
