"""A stage on 127.0.0.1 where a test says what GitHub answers, and a way there for what was meant for GitHub."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from soulwatch import Account, Api, Client, Cursor
from soulwatch.testing.stage import running_stage
from soulwatch_github import github

RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def house():
    """One server for all tests; each sets its own lines in it."""
    with running_stage() as stage:
        yield stage


@pytest.fixture
def stage(house):
    house.clear()
    return house


@pytest.fixture
async def http(house):
    async with house.client() as client:
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
