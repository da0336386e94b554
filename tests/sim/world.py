"""Hosts, a platform and a database under one seed: what happens, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sim.chaos import Chaos
from sim.checks import Checks
from sim.machine import RUNNING, START, Died, Machine, WallTime
from sim.wire import Sent, Weather, Wire, transport_over

from soulwatch import Account, Connector, Token
from soulwatch.host.host import Host
from soulwatch.host.outbound import Outbound
from soulwatch.host.plugins import Plugins
from soulwatch.host.settings import Settings, load_settings
from soulwatch.host.timing import RefreshPolicy
from soulwatch_sandbox import Sandbox, sandbox

TOKEN_LIFE_S = 60.0
POLICY = RefreshPolicy()
GUARDS = """
CREATE TABLE never (what TEXT);
CREATE TRIGGER only_grow BEFORE UPDATE ON platform_connections
WHEN NEW.fence < OLD.fence OR NEW.generation < OLD.generation
BEGIN INSERT INTO never VALUES ('a fence or a generation went back'); END;
CREATE TRIGGER tokens_by_generation BEFORE UPDATE ON platform_connections
WHEN NEW.generation = OLD.generation AND
     (NEW.access_token IS NOT OLD.access_token OR NEW.refresh_token IS NOT OLD.refresh_token)
BEGIN INSERT INTO never VALUES ('a token changed within its generation'); END;
CREATE TRIGGER intents_are_seen AFTER INSERT ON refresh_attempts BEGIN SELECT intended(); END;
CREATE TABLE kept (fingerprint BLOB, at REAL);
CREATE TRIGGER answers_are_kept AFTER UPDATE ON refresh_attempts WHEN NEW.answer IS NOT NULL
BEGIN INSERT INTO kept VALUES (NEW.token_fingerprint, virtual_now()); END;
"""


@dataclass(frozen=True)
class Story:
    """What a run plays. Times are in seconds."""

    rotation: str = "grace"
    grace: float = 10
    chaos_s: float = 200
    quiet_s: float = 130
    machines: int = 2
    weather: dict[str, float] = field(default_factory=dict)
    kills: int = 0
    stops: int = 0
    longest_stop: float = 0
    outages: int = 0
    full_disks: int = 0
    jumps: int = 0
    callers: int = 10
    reconnects: int = 0
    users: int = 3
    wrong_secret: bool = False
    """Whether the platform refuses our client until the chaos is over."""
    old_access_dies: bool = False


class Broken(AssertionError):
    """Something that must never be was found."""


class Simulation:
    """One run of one story."""

    def __init__(self, story: Story, seed: int, folder: Path, template: Path, policy: RefreshPolicy) -> None:
        self.story = story
        self.seed = seed
        self.policy = policy
        self.wall = WallTime()
        self.trace: list[tuple[float, str]] = []
        self.weather = Weather(random.Random(f"{seed}:weather"), **story.weather)
        self.file = folder / f"{seed}.db"
        shutil.copy(template, self.file)
        with closing(sqlite3.connect(self.file)) as connection:
            connection.executescript(GUARDS)
        self.settings = settings_for(self.file)
        self.machines: dict[str, Machine] = {}
        self.ever: dict[str, Machine] = {}
        """Every process there was."""
        self.hosts: dict[str, Host] = {}
        self.sent: list[Sent] = []
        self._spare: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._born = 0
        self.ended: list[str] = []
        self.wires: list[Wire] = []
        self.ids: dict[str, str] = {}
        self.granted: dict[str, str] = {}
        """The grant that a user's connection certainly has."""
        self.given_back: list[str] = []
        """The grants that the platform has confirmed to be over."""
        self.revoked: list[Any] = []
        self.states: list[str] = []

    def note(self, what: str) -> None:
        """Write into the trace."""
        self.trace.append((asyncio.get_running_loop().time(), what))

    @property
    def users(self) -> list[str]:
        """Who is connected."""
        return list(self.sandbox.people)

    # Machines

    async def boot(self, name: str) -> Host:
        """Start a process of this name, its background work and all."""
        self._born += 1
        machine = Machine(f"{name}{self._born}", str(self.seed), self.wall)
        machine.on_step = lambda _number, what: self.note(f"{machine.name} {what}")
        self.machines[name] = self.ever[machine.name] = machine
        ready: asyncio.Future[Host] = asyncio.get_running_loop().create_future()
        context = copy_context()
        context.run(RUNNING.set, machine)
        work = self._live(name, machine, ready)
        self._tasks[name] = asyncio.get_running_loop().create_task(work, context=context)
        return await ready

    async def _live(self, name: str, machine: Machine, ready: asyncio.Future[Host]) -> None:
        try:
            host = await self._open(machine)
            self.hosts[name] = host
            ready.set_result(host)
            async with host.working():
                await asyncio.Event().wait()
        except BaseException as broken:  # noqa: BLE001  - whatever ends a process, dead or not
            if not machine.is_dead:
                self.ended.append(f"{machine.name} ended by itself: {broken!r}")
            if not ready.done():
                ready.set_exception(Died())

    async def _open(self, machine: Machine) -> Host:
        plugins = Plugins()
        facts = replace(sandbox.facts, oauth=replace(sandbox.facts.oauth, rotation=self.story.rotation))  # type: ignore[arg-type]
        plugins.register(Connector(facts, sandbox.endpoints), "sandbox", "soulwatch-sandbox")
        host = await Host.open(self.settings, clock=machine, policy=self.policy, plugins=plugins)
        host.sweeper._is_gone = self._is_gone
        host.tokens._claims._owner = host.poller._owner = machine.name
        wire = Wire(self.sandbox.app, machine, self.weather, self.sent, self._spare)
        self.wires.append(wire)
        addresses = host.platforms.addresses("sandbox")
        for use in ("reading", "tokens"):
            host.platforms._ways["sandbox", use] = Outbound(addresses, transport_over(wire))
        return host

    def _is_gone(self, owner: str) -> bool:
        return owner not in {machine.name for machine in self.machines.values() if not machine.is_dead}

    def journal(self) -> list[str]:
        """The states of all attempts, as they are in the file at this moment, whoever holds a lock on it."""
        with closing(sqlite3.connect(f"file:{self.file}?immutable=1", uri=True)) as connection:
            return [state for (state,) in connection.execute("SELECT state FROM refresh_attempts ORDER BY id")]

    async def bury(self, name: str) -> None:
        """Let what is left of a killed process unwind; nothing of it reaches the world."""
        self.machines[name].kill()
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait({task}, timeout=100)
        self.note(f"{name} is dead")

    async def close(self) -> None:
        """End everything."""
        for name in list(self._tasks):
            await self.bury(name)
        self.sandbox.close()

    # What happens

    async def connect(self, host: Host, user: str) -> None:
        """As if the user had just come back from the consent page."""
        issued = self.sandbox.grant("sandbox", user, client_id="simulated-client")
        facts = host.platforms.facts("sandbox")
        ends = host.clock.now() + timedelta(seconds=issued.expires_in or 0)
        token = Token(issued.access, issued.refresh, ends, issued.scope)
        self.granted.pop(user, None)
        self.ids[user] = (await host.accounts.store(user, facts, Account(user, user), token)).id
        self.granted[user] = issued.grant

    async def disconnect(self, host: Host, user: str) -> None:
        """As if the user had ended it."""
        grant = self.granted.pop(user, None)
        if await host.accounts.disconnect(self.ids[user]) and grant:
            self.given_back.append(grant)

    async def play(self, script: Script | None = None) -> None:
        """The whole story: connect, what `script` says or else chaos, quiet."""
        story, loop = self.story, asyncio.get_running_loop()
        self.sandbox = Sandbox(
            seed=str(self.seed),
            token_life=TOKEN_LIFE_S,
            rotation=story.rotation,  # type: ignore[arg-type]
            grace=story.grace,
            old_access_dies=story.old_access_dies,
            item_every=None,
            first_items=7,
            people=story.users,
            now=lambda: START + timedelta(seconds=loop.time()),
        )
        uri = "http://127.0.0.1:8000/connect/sandbox/callback"
        self.sandbox.register("sandbox", "simulated-client", "simulated-secret", [uri])
        names = [chr(ord("a") + number) for number in range(self.story.machines)]
        try:
            for name in names:
                await self.boot(name)
            for user in self.users:
                await self.on(names[0], self.connect, user)
            if story.wrong_secret:
                self.sandbox.register("sandbox", "simulated-client", "another-secret", [uri])
            await (script(self) if script else Chaos(self)())
            self.sandbox.register("sandbox", "simulated-client", "simulated-secret", [uri])
            await self._quiet()
            self.states = self.journal()
            self.revoked = [grant for grant in self.sandbox.grants.of() if grant.revoked]
            await self.check()
        finally:
            await self.close()

    async def on(self, name: str, deed: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Do something with a machine's host, as its own code."""
        context = copy_context()
        context.run(RUNNING.set, self.machines[name])
        return await asyncio.get_running_loop().create_task(deed(self.hosts[name], *args), context=context)  # type: ignore[arg-type]

    async def _quiet(self) -> None:
        for machine in self.machines.values():
            machine.go_on()
            machine.disk_is_full = False
            machine.dies_at = machine.stops_at = None
        self.weather.is_down = False
        self.weather = _calm(self.weather)
        await asyncio.sleep(self.story.quiet_s)

    async def check(self) -> None:
        """Raise Broken with everything that is wrong."""

        async def look(host: Host) -> list[str]:
            return await Checks(self, host).wrong()

        if wrong := await self.on(next(iter(self.hosts)), look):
            raise Broken("\n".join(wrong))


Script = Callable[[Simulation], Awaitable[None]]


def _calm(weather: Weather) -> Weather:
    for name in ("refused", "request_lost", "answer_cut", "answer_hangs", "slow", "unwell", "lied"):
        setattr(weather, name, 0.0)
    return weather


def settings_for(file: Path) -> Settings:
    """The settings of every machine of a run."""
    here = {
        "api_url": "http://127.0.0.1:1",
        "oauth_url": "http://127.0.0.1:1",
        "schedules": {"notes": "1m", "mood": "off", "follows": "off", "archive": "off"},
    }
    given = {
        "data_dir": str(file.parent),
        "database_url": f"sqlite+aiosqlite:///{file}",
        "encryption_key": "c2ltdWxhdGVkLWtleS1zaW11bGF0ZWQta2V5LTEyMzQ=",
        "platforms": {"sandbox": here},
        "clients": {"sandbox": {"id": "simulated-client", "secret": "simulated-secret"}},
    }
    return load_settings(overrides=given, env={}, cwd=file.parent)


async def make_template(file: Path) -> None:
    """An empty database of the present schema, to be copied by each run."""
    host = await Host.open(settings_for(file), plugins=Plugins())
    await host.close()
