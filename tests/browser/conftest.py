"""A real Chromium before a real `soulwatch serve --demo`; nothing that the browser complains of goes unseen."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from anyio import to_thread
from playwright.async_api import Browser, BrowserContext, Page, Response, async_playwright, expect
from support.served import Served, serving
from support.terminal import Running, Terminal
from support.world import AT_ONCE, OpenWorld, World, open_world

from soulwatch.host.web.who import cookie_name

__all__ = ["open_world"]

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
NO_CHROMIUM = """no Chromium found for the browser tests.
  Debian, Ubuntu:  apt-get install chromium
  elsewhere:       install Chromium or Chrome and set CHROMIUM=/path/to/its/binary"""
SWITCHES = (
    "--no-sandbox",  # it does not start as root otherwise, and visits our own pages only
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The browser's own wall around this machine is taken down: what is tried is ours.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
    # Invented names lead here and all others nowhere: nothing leaves this machine.
    "--host-resolver-rules=MAP *.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
PATIENCE_MS = 20_000
TELL_VIOLATIONS = """addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy violated: ${event.violatedDirective} by ${event.blockedURI || "inline"}`));"""

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The machine's own Chromium; without one the tests fail, since a skipped test shows nothing."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if not found or not shutil.which(found):
        pytest.fail(NO_CHROMIUM, pytrace=False)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=found, args=[*SWITCHES])
        yield launched
        await launched.close()


@dataclass
class Visitor:
    """Somebody's browser: cookies of its own, and what it complained of."""

    context: BrowserContext
    base_url: str
    complaints: list[str] = field(default_factory=list)
    _forgiven: list[str] = field(default_factory=list)

    async def begin(self) -> None:
        """Listen for all that can go wrong on a page without anybody seeing it."""
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("console", self._hear)
        self.context.on("weberror", lambda wrong: self.complaints.append(f"script failed: {wrong.error}"))
        self.context.on("response", self._look_at)
        await self.context.add_init_script(TELL_VIOLATIONS)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _look_at(self, response: Response) -> None:
        policy = response.headers.get("content-security-policy", "")
        if response.url.startswith(self.base_url) and ("default-src 'none'" not in policy or "unsafe" in policy):
            self.complaints.append(f"{response.url} came with the policy {policy!r}")

    def forgive(self, pattern: str) -> None:
        """This complaint belongs to what is tried."""
        self._forgiven.append(pattern)

    @property
    def unforgiven(self) -> list[str]:
        return [said for said in self.complaints if not any(re.search(one, said) for one in self._forgiven)]

    async def open(self, path: str) -> Page:
        """A page of the host in a new tab."""
        page = await self.context.new_page()
        await page.goto(path)
        return page

    async def sign_in(self, code: str) -> Page:
        """The way of the printed address: it carries the code behind its #."""
        page = await self.open(f"/sign-in#{code}")
        await expect(page.locator("#live")).to_have_text("Live")
        return page


Visit = Callable[..., Awaitable[Visitor]]


@pytest.fixture
async def visit(browser: Browser) -> AsyncIterator[Visit]:
    """Gives browsers without a session; nothing that they complain of goes unseen."""
    visitors: list[Visitor] = []

    async def visit_(base_url: str, **options: Any) -> Visitor:
        visitors.append(Visitor(await browser.new_context(base_url=base_url, **options), base_url))
        await visitors[-1].begin()
        return visitors[-1]

    yield visit_
    for visitor in visitors:
        await visitor.context.close()
    assert [visitor.unforgiven for visitor in visitors] == [[] for _ in visitors]


class Demo:
    """The process of `soulwatch serve --demo` on a machine without settings. Killed or not, its data stay."""

    def __init__(self, folder: Path, processes: ExitStack) -> None:
        self._folder = folder
        self._processes = processes
        self.url = ""
        self.running: Running
        self._session: Any = None

    async def start(self) -> None:
        """Start it, where it was before if it was."""
        words = ("serve", "--demo", "--port", self.url.rpartition(":")[2] or "0")
        self.running = self._processes.enter_context(Terminal(self._folder).running(*words))
        said = await to_thread.run_sync(self.running.wait_for, "login-code")
        (self.url,) = re.findall(r"Address: +(http://127\.0\.0\.1:\d+)", said)

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.running.process.kill()
        await to_thread.run_sync(self.running.process.wait)

    async def sign_in_address(self) -> str:
        """What the command prints that `serve` tells to run."""
        (command,) = re.findall(r"To sign in, run: (.+)", self.running.out)
        words = shlex.split(command)
        start = words.index("soulwatch")
        variables = dict(word.split("=", 1) for word in words[:start])
        done = await to_thread.run_sync(lambda: Terminal(self._folder, variables).run(*words[start + 1 :]))
        assert done.code == 0, done.err
        return done.out.strip()

    async def operator(self, visit: Visit, **options: Any) -> Visitor:
        """A browser that is signed in."""
        visitor = await visit(self.url, storage_state=self._session, **options)
        if self._session is None:
            page = await visitor.sign_in((await self.sign_in_address()).partition("#")[2])
            await page.close()
            self._session = await visitor.context.storage_state()
        return visitor

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Ask its database, beside it."""
        (file,) = self._folder.rglob("soulwatch.db")
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()


@pytest.fixture(scope="session")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    """One process for all tests; each has users of its own."""
    with ExitStack() as processes:
        made = Demo(tmp_path_factory.mktemp("demo"), processes)
        await made.start()
        yield made


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The page looks the same on every database."""
    return f"sqlite+aiosqlite:///{tmp_path}/soulwatch.db"


@pytest.fixture
async def world(open_world: OpenWorld) -> AsyncIterator[World]:
    """A sandbox in which nothing happens by itself."""
    async with open_world() as made:
        yield made


@pytest.fixture
async def served(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A host within reach of the test, where only what is asked for is polled and refreshed."""
    policy = getattr(request, "param", AT_ONCE)
    async with serving(world.sandbox, lambda port: world.settings(port=port), policy) as made:
        yield made


@pytest.fixture
async def operator(served: Served, visit: Visit) -> Visitor:
    """A browser that is signed in there; how that is done is not what its tests are about."""
    access, visitor = served.host.access, await visit(served.url)
    secret = await access.sign_in(await access.login_code()) or ""
    name = cookie_name(served.host.settings, "session")
    await visitor.context.add_cookies([{"name": name, "value": secret, "url": served.url}])
    return visitor
