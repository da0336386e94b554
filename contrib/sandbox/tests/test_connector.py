import os
import subprocess
import sys
from datetime import timedelta

import httpx
import pytest

from soulwatch import Account, Api, Connection, Cursor
from soulwatch_sandbox import Sandbox, TokenRules
from soulwatch_sandbox import sandbox as connector

MIRA = Account("mira", "Mira Vantongeren")
CONNECTION = Connection("1", "ada", "sandbox", MIRA)


class Mapped(httpx.AsyncBaseTransport):
    """Sends what is meant for the declared address to where the sandbox runs, as an operator's setting would."""

    def __init__(self, base_url: str) -> None:
        self._to = httpx.URL(base_url)
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme=self._to.scheme, host=self._to.host, port=self._to.port)
        request.headers["host"] = request.url.netloc.decode()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
async def api(sandbox: Sandbox, base_url: str):
    sandbox.rules["sandbox"] = TokenRules(life=86400)
    access = sandbox.grant("sandbox", "mira").access

    async def access_token(_refused: str | None) -> str:
        return access

    async with httpx.AsyncClient(transport=Mapped(base_url)) as http:
        yield Api(connector.platform(), MIRA, http, access_token)


def endpoint(name: str):
    return next(one for one in connector.poll_endpoints(CONNECTION) if one.name == name)


async def read(api: Api, name: str, cursor: Cursor | None = None) -> list:
    return [page async for page in endpoint(name).pages(api, cursor or Cursor())]


@pytest.mark.parametrize(("name", "pages", "items"), [("notes", 2, 60), ("follows", 3, 25), ("archive", 3, 250)])
async def test_every_list_is_read_to_its_end(api, name, pages, items):
    read_pages = await read(api, name)

    keys = {item.key for page in read_pages for item in page.items}
    assert (len(read_pages), len(keys)) == (pages, items)


async def test_the_next_poll_starts_where_the_last_one_ended(api, sandbox: Sandbox):
    last = (await read(api, "notes"))[-1]
    assert not any(page.items for page in await read(api, "notes", last.cursor))

    [added] = sandbox.add_item("sandbox", "mira")
    [news] = await read(api, "notes", last.cursor)
    assert [item.key for item in news.items] == [f"note-{added}"]


async def test_a_mood_is_one_item_or_none(api, clock):
    sizes = set()
    for _ in range(30):
        [page] = await read(api, "mood")
        sizes.add(len(page.items))
        clock.forward(minutes=1)
    assert sizes == {0, 1}


async def test_identity_names_the_person(api):
    facts = connector.platform()

    assert facts.identity.read((await api.get(facts.identity.url)).value()) == MIRA


def test_it_is_polled_often():
    assert {one.name: connector.schedule(one) for one in connector.endpoints} == {
        "notes": timedelta(seconds=10),
        "mood": timedelta(seconds=15),
        "follows": timedelta(seconds=60),
        "archive": timedelta(days=1),
    }


def test_the_server_is_not_loaded_with_the_connector():
    ask = "import sys, soulwatch_sandbox; print([m for m in ('starlette', 'uvicorn', 'sqlite3') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, env=environment)

    assert told.stdout.strip() == "[]"
