"""A sandbox on a real socket, a clock that can be moved, and an application that connects to it."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from soulwatch import Client, OAuth2
from soulwatch_sandbox import Sandbox, running


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


class PlayedClock:
    """Wall time that only moves when told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **time: float) -> None:
        self.at += timedelta(**time)


@pytest.fixture
def clock() -> PlayedClock:
    return PlayedClock()


@pytest.fixture
def sandbox(clock: PlayedClock) -> Iterator[Sandbox]:
    with Sandbox(now=clock, rotation="strict", control_key="let-me-in") as made:
        yield made


@pytest.fixture
async def base_url(sandbox: Sandbox) -> AsyncIterator[str]:
    async with running(sandbox) as url:
        yield url


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, headers={"Accept": "application/json"}) as client:
        yield client


CALLBACK = "http://127.0.0.1:4711/connect/{}/callback"
VERIFIER = "an-invented-verifier-that-is-just-about-long-enough"


def oauth(base_url: str, pose: str = "sandbox") -> OAuth2:
    """A pose as the kit sees it."""
    root = f"{base_url}/{pose}"
    if pose == "spotify":
        return OAuth2(f"{root}/authorize", f"{root}/api/token", client_auth="basic")
    if pose == "github":
        token = f"{root}/login/oauth/access_token"
        aliases = {"bad_refresh_token": "invalid_grant", "bad_verification_code": "invalid_grant"}
        return OAuth2(f"{root}/login/oauth/authorize", token, may_not_expire=True, error_aliases=aliases)
    return OAuth2(f"{root}/authorize", f"{root}/token", revoke_url=f"{root}/revoke", client_auth="basic")


def client(pose: str = "sandbox") -> Client:
    return Client(f"invented-{pose}-client", f"invented-{pose}-secret")


def signed(access: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access}"}
