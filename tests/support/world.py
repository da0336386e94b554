"""A host and a sandbox platform, wired over real HTTP on 127.0.0.1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from soulwatch import Connection
from soulwatch.host.clock import Clock
from soulwatch.host.connecting import Callback
from soulwatch.host.host import Host
from soulwatch.host.settings import Settings, load_settings
from soulwatch.host.timing import RefreshPolicy
from soulwatch_sandbox import Sandbox, answer_consent, running

BROWSER = "a-browser-of-the-tests"
AT_ONCE = RefreshPolicy(floor=timedelta(0), confirm_after=timedelta(0), late_answer=timedelta(0))
"""No floor between refreshes, nothing waited for: the tests do not wait."""

WITHOUT_WAITING = RefreshPolicy(late_answer=timedelta(0))
"""The usual policy, for a clock that stands still."""


@dataclass
class World:
    """A sandbox, its address, and the hosts that a test opens on one database."""

    sandbox: Sandbox
    url: str
    folder: Path
    database_url: str

    def given(self, **overrides: Any) -> dict[str, Any]:
        """What an operator sets to connect to the three poses of the sandbox."""
        platforms = {
            pose: {
                "api_url": f"{self.url}{'' if pose == 'sandbox' else '/' + pose}",
                "oauth_url": f"{self.url}{'' if pose == 'sandbox' else '/' + pose}",
                "schedules": {},
            }
            for pose in ("sandbox", "spotify", "github")
        }
        clients = {pose: {"id": f"invented-{pose}-client", "secret": f"invented-{pose}-secret"} for pose in platforms}
        return {
            "data_dir": str(self.folder),
            "platforms": platforms,
            "clients": clients,
            "database_url": self.database_url,
            **overrides,
        }

    def settings(self, **overrides: Any) -> Settings:
        """The settings that follow from it."""
        return load_settings(overrides=self.given(**overrides), env={}, cwd=self.folder)

    @asynccontextmanager
    async def host(
        self, policy: RefreshPolicy = AT_ONCE, clock: Clock | None = None, **overrides: Any
    ) -> AsyncIterator[Host]:
        """A host that is open for a while; its background work is not running."""
        host = await Host.open(self.settings(**overrides), policy=policy, clock=clock)
        try:
            yield host
        finally:
            await host.close()

    async def connect(
        self, host: Host, platform: str = "sandbox", user: str = "ada", person: str = "mira", **consent: Any
    ) -> Connection:
        """Go through the platform's consent page, as a person in a browser would."""
        url = await host.connecting.start(user, platform, BROWSER)
        async with httpx.AsyncClient() as browser:
            back = await answer_consent(browser, url, person=person, **consent)
        finished = await host.connecting.finish(self.callback(platform, back))
        assert finished.connection is not None
        return finished.connection

    def callback(self, platform: str, url: str, browser: str | None = BROWSER) -> Callback:
        """What a platform's redirect says."""
        given = dict(parse_qsl(urlsplit(url).query))
        return Callback(
            platform, given.get("state", ""), given.get("code"), given.get("error"), given.get("iss"), browser
        )


OpenWorld = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture
def open_world(tmp_path: Path, database_url: str) -> OpenWorld:
    """Makes a world whose sandbox has the habits a test asks for."""

    @asynccontextmanager
    async def open_(**habits: Any) -> AsyncIterator[World]:
        sandbox = Sandbox(**{"item_every": None, **habits})
        async with running(sandbox) as url:
            yield World(sandbox, url, tmp_path, database_url)

    return open_
