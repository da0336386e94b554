"""Hosts, a platform and a database under one seed: what happens, and what must be true of it afterwards."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
from sim.machine import RUNNING, START, Died, Machine, WallTime
from sim.wire import Sent, Weather, Wire, transport_over

from soulwatch import Account, Token
from soulwatch.host.host import Host
from soulwatch.host.outbound import Outbound
from soulwatch.host.plugins import Plugins
from soulwatch.host.settings import Settings, load_settings
from soulwatch.host.store import attempts, events, items
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
        self.chance = random.Random(f"{seed}:what happens")
        self.trace: list[tuple[float, str]] = []
        self.weather = Weather(random.Random(f"{seed}:weather"), **story.weather)
        self.file = folder / f"{seed}.db"
        shutil.copy(template, self.file)
        with closing(sqlite3.connect(self.file)) as connection:
            connection.executescript(GUARDS)
        self.settings = settings_for(self.file)
        self.machines: dict[str, Machine] = {}
        self.hosts: dict[str, Host] = {}
        self.sent: list[Sent] = []
        self._spare: dict[str, float] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._born = 0
        self.ended: list[str] = []
        self.wires: list[Wire] = []
        self.ids: dict[str, str] = {}
        self.revoked: list[Any] = []
        self.states: list[str] = []
        self.disconnected: set[str] = set()

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
        self.machines[name] = machine
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
        plugins.register(sandbox, "sandbox", "soulwatch-sandbox")
        host = await Host.open(self.settings, clock=machine, policy=self.policy, plugins=plugins)
        host.tokens._is_gone = self._is_gone
        host.tokens._refresher._owner = host.poller._owner = machine.name
        wire = Wire(self.sandbox.app, machine, self.weather, self.sent, self._spare)
        self.wires.append(wire)
        facts = host.platforms.addresses("sandbox")
        host.platforms._ways["sandbox"] = Outbound(facts, transport_over(wire))
        return host

    def _is_gone(self, owner: str) -> bool:
        return owner not in {machine.name for machine in self.machines.values() if not machine.is_dead}

    def journal(self) -> list[str]:
        """The states of all attempts, as they are in the file at this moment."""
        with closing(sqlite3.connect(self.file)) as connection:
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
        self.ids[user] = (await host.accounts.store(user, facts, Account(user, user), token)).id

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
            await (script(self) if script else self._chaos(names))
            self.sandbox.register("sandbox", "simulated-client", "simulated-secret", [uri])
            await self._quiet(names)
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

    async def _chaos(self, names: list[str]) -> None:
        story = self.story
        deeds: list[Callable[[str], Awaitable[None]]] = [
            *[self._kill] * story.kills,
            *[self._stop] * story.stops,
            *[self._outage] * story.outages,
            *[self._fill_disk] * story.full_disks,
            *[self._jump] * story.jumps,
            *[self._call] * story.callers,
            *[self._reconnect] * story.reconnects,
        ]
        async with anyio.create_task_group() as group:
            for deed in deeds:
                group.start_soon(self._some_time, deed, self.chance.choice(names), self.chance.random())
            await asyncio.sleep(story.chaos_s)

    async def _some_time(self, deed: Callable[[str], Awaitable[None]], name: str, when: float) -> None:
        await asyncio.sleep(when * self.story.chaos_s)
        self.note(f"{deed.__name__} {name}")
        await deed(name)

    async def _kill(self, name: str) -> None:
        machine = self.machines[name]
        if machine.is_dead or machine.dies_at is not None:
            return
        machine.dies_at = machine.steps + self.chance.randrange(1, 60)
        await machine.died.wait()
        await self.bury(name)
        await asyncio.sleep(self.chance.uniform(0.2, 3))
        await self.boot(name)

    async def _stop(self, name: str) -> None:
        machine = self.machines[name]
        machine.stop()
        await asyncio.sleep(self.chance.uniform(1, self.story.longest_stop))
        machine.go_on()

    async def _outage(self, _name: str) -> None:
        self.weather.is_down = True
        await asyncio.sleep(self.chance.uniform(1, 30))
        self.weather.is_down = False

    async def _fill_disk(self, _name: str) -> None:
        machines = list(self.machines.values())
        for machine in machines:
            machine.disk_is_full = True
        await asyncio.sleep(self.chance.uniform(0.1, 15))
        for machine in machines:
            machine.disk_is_full = False

    async def _jump(self, _name: str) -> None:
        self.wall.moved += timedelta(seconds=self.chance.choice((-3600, -90, -30, 30, 90, 3600)))

    async def _call(self, name: str) -> None:
        with suppress(Died, Exception):
            user = self.chance.choice(self.users)
            with anyio.move_on_after(self.chance.choice((0.01, 0.1, 1, 30))):
                await self.on(name, _ask, user)

    async def _reconnect(self, name: str) -> None:
        user = self.chance.choice(self.users)
        with suppress(Died, Exception):
            if self.chance.random() < 0.5:
                await self.on(name, lambda host: host.accounts.disconnect(self.ids[user]))
                await asyncio.sleep(self.chance.uniform(0, 5))
            await self.on(name, self.connect, user)

    async def _quiet(self, names: list[str]) -> None:
        for machine in self.machines.values():
            machine.go_on()
            machine.disk_is_full = False
            machine.dies_at = None
        self.weather.is_down = False
        self.weather = _calm(self.weather)
        await asyncio.sleep(self.story.quiet_s)

    # What must be true

    async def check(self) -> None:
        """Raise Broken with everything that is wrong."""
        wrong = await self.on(next(iter(self.hosts)), self._wrong)
        if wrong:
            raise Broken("\n".join(wrong))

    async def _wrong(self, host: Host) -> list[str]:
        wrong: list[str] = []
        for row in await host.accounts.rows():
            wrong += [f"{row.user_id}: {one}" for one in await self._wrong_with(host, row)]
        with closing(sqlite3.connect(self.file)) as connection:
            wrong += [what for (what,) in connection.execute("SELECT what FROM never")]
        return [*wrong, *self._sent_twice(), *self.ended, *(repr(one) for wire in self.wires for one in wire.failed)]

    async def _wrong_with(self, host: Host, row: Any) -> list[str]:
        if row.status == "disconnected":
            grants = [grant for grant in self.sandbox.grants.of(row.user_id) if not grant.revoked]
            return [] if row.access_token is None else [f"disconnected, and {len(grants)} tokens are left"]
        wrong = await self._open_attempts(host, row)
        if row.status != "connected":
            lost = [sent for sent in self.sent if sent.fate in LOSING]
            reasons = ("ambiguous_rotation", "invalid_grant") if self._was_rude else ("ambiguous_rotation",)
            if self.story.rotation != "strict" or row.reason not in reasons or not (lost or self._was_rude):
                wrong.append(f"{row.status}, {row.reason}: {row.error_message}")
            return wrong
        token = await host.tokens.fresh(row.id)
        verdict = self.sandbox.grants.standing("sandbox", token.access).verdict
        if verdict != "good":
            wrong.append(f"connected, and its access token is {verdict}")
        if row.reason is not None:
            wrong.append(f"connected, and not well: {row.reason}: {row.error_message}")
        return [*wrong, *await self._not_told(host, row), *await self._not_stored(host, row)]

    @property
    def _was_rude(self) -> bool:
        return bool(self.story.kills or self.story.stops or self.story.full_disks)

    async def _open_attempts(self, host: Host, row: Any) -> list[str]:
        async with host.database.reading() as transaction:
            left = await attempts.open_of(transaction, row.id, row.fence)
        return [f"attempt {one.id} is still open: {one.state}" for one in left]

    async def _not_told(self, host: Host, row: Any) -> list[str]:
        async with host.database.reading() as transaction:
            told = [event.seq for event in await events.after(transaction, row.user_id, 0, 100_000)]
        return [] if told == list(range(1, len(told) + 1)) else [f"events out of order: {told}"]

    async def _not_stored(self, host: Host, row: Any) -> list[str]:
        async with host.database.reading() as transaction:
            wanted = items.current(user=row.user_id, data_type="notes", limit=1000)
            stored = [item.item_key for item in (await transaction.execute(wanted)).all()]
        return [] if len(stored) == len(set(stored)) == 7 else [f"{len(stored)} notes are stored and not 7"]

    def _sent_twice(self) -> list[str]:
        """A refresh token whose answer is not lost is sent once, unless who sent it was stopped or killed."""
        if self.story.rotation == "none" or self._was_rude:
            return []
        wrong: list[str] = []
        by_token: dict[str, Sent] = {}
        for sent in self.sent:
            before = by_token.get(sent.token)
            if before and before.fate not in LOSING and before.status in (0, OK):
                told = f"{before.machine} had sent it at {before.at:.3f}"
                wrong.append(f"{sent.machine} sent a token again at {sent.at:.3f}; {told}")
            by_token[sent.token] = sent
        return wrong


Script = Callable[[Simulation], Awaitable[None]]
LOSING = ("answer_cut", "answer_hangs", "unwell", "request_lost", "lied")
OK = 200


async def _ask(host: Host, user: str) -> None:
    await host.ensure_fresh_token(user, "sandbox")


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
