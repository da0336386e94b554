"""One refresh, cut off at each of its steps: its process dies or stands still there, or its caller gives up."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import pytest
from sim.machine import Died
from sim.world import Simulation, Story

from soulwatch import SoulwatchError
from soulwatch.host.host import Host

STEPS = range(1, 46)
"""Exactly those of a refresh: see the first test."""
ON_ITS_WAY_S = 0.2
"""Longer than a request takes to the platform."""


@dataclass
class Cut:
    """Begins a refresh and does `how` to it at its `at`-th step; remembers how far it had come by then."""

    at: int
    how: str
    what: str = ""
    was_sent: bool = False
    journal: list[str] = field(default_factory=list)
    checked_out: int = 0

    async def __call__(self, simulation: Simulation) -> None:
        """The script of the run."""
        await asyncio.sleep(5)
        machine, [user] = simulation.machines["a"], simulation.users
        refreshing = asyncio.ensure_future(self._refresh(simulation, user))
        reached = asyncio.Event()
        goal = machine.steps + self.at

        def look(number: int, what: str) -> None:
            if number == goal:
                self.what = what
                reached.set()
                {"die": machine.kill, "stop": machine.stop, "give up": refreshing.cancel}[self.how]()

        machine.on_step = look
        with anyio.fail_after(30):
            await reached.wait()
        self.journal = simulation.journal()
        await asyncio.sleep(ON_ITS_WAY_S)
        self.was_sent = bool(simulation.sent)
        if self.how == "die":
            await simulation.bury("a")
            await asyncio.sleep(1)
            await simulation.boot("a")
        elif self.how == "stop":
            await asyncio.sleep(90)
            machine.go_on()
        await asyncio.sleep(100)
        self.checked_out = simulation.hosts["a"].database.engine.pool.checkedout()  # type: ignore[attr-defined]

    async def _refresh(self, simulation: Simulation, user: str) -> None:
        async def ask(host: Host) -> None:
            with suppress(SoulwatchError, Died):
                await host.refresh_connection(simulation.ids[user])

        await simulation.on("a", ask)

    @property
    def may_be_lost(self) -> bool:
        """Whether the platform's answer existed nowhere but on its way."""
        # Between a last look at the clock and the kernel there is always a step.
        is_on_its_way = self.was_sent or self.what == "write"
        return is_on_its_way and "received" not in self.journal and "applied" not in self.journal


def story(**habits: object) -> Story:
    """A platform with these habits, one user, and nothing else that goes wrong."""
    return Story(**{"machines": 1, "users": 1, "callers": 0, "kills": 1, "quiet_s": 40, **habits})  # type: ignore[arg-type]


def test_the_steps_are_all_those_of_a_refresh_from_before_its_intent_to_its_end(play):
    seen: list[tuple[str, ...]] = []

    async def look_on(simulation: Simulation) -> None:
        await asyncio.sleep(5)
        machine, [user] = simulation.machines["a"], simulation.users
        machine.on_step = lambda _number, what: seen.append((what, *simulation.journal()))
        await simulation.on("a", _refreshed, simulation.ids[user])
        machine.on_step = lambda _number, _what: None

    play(story(rotation="strict", kills=0), 0, look_on)

    assert len(seen) == len(STEPS)
    landmarks = [("write", "intent"), ("read", "intent"), ("after commit", "received"), ("after commit", "applied")]
    places = [seen.index(("after commit", "intent")), *(seen.index(one) for one in landmarks)]
    assert places == sorted(places)
    assert places[0] > 0
    assert places[-1] < len(seen) - 1


@pytest.mark.fault("F06", "F45")
@pytest.mark.parametrize("habits", [{"grace": 10}, {"rotation": "none"}], ids=["grace", "no rotation"])
@pytest.mark.parametrize("at", STEPS)
def test_a_process_that_dies_there_costs_nothing(play, at, habits):
    play(story(**habits), at, Cut(at, "die"))


@pytest.mark.fault("F06")
@pytest.mark.parametrize("at", STEPS)
def test_with_strict_rotation_only_an_answer_on_its_way_is_lost_with_its_process(play, at):
    cut = Cut(at, "die")
    simulation = play(story(rotation="strict"), at, cut)

    is_lost = any(grant.revoked for grant in simulation.revoked)
    assert not is_lost or cut.may_be_lost


@pytest.mark.fault("F02", "F34")
@pytest.mark.parametrize("at", STEPS)
def test_with_strict_rotation_a_process_that_stands_still_loses_only_an_answer_on_its_way(play, at):
    cut = Cut(at, "stop")
    simulation = play(story(rotation="strict", machines=2), at, cut)

    is_lost = any(grant.revoked for grant in simulation.revoked)
    assert not is_lost or cut.may_be_lost


@pytest.mark.fault("F45")
@pytest.mark.parametrize("at", STEPS)
def test_a_caller_who_gives_up_there_costs_nothing_and_leaves_no_connection_behind(play, at):
    cut = Cut(at, "give up")
    play(story(rotation="strict", kills=0), at, cut)

    assert cut.checked_out == 0


@pytest.mark.fault("F07", "F41")
@pytest.mark.parametrize("full_for_s", [1, 30, 58, 61, 65, 90])
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_that_cannot_be_stored_is_stored_in_the_end_and_never_asked_for_again(play, seed, full_for_s):
    async def fill_the_disk(simulation: Simulation) -> None:
        await asyncio.sleep(5)
        machines, [user] = simulation.machines.values(), simulation.users

        def fill(_number: int, what: str) -> None:
            if what == "read":
                for machine in machines:
                    machine.disk_is_full = True

        simulation.machines["a"].on_step = fill
        refreshing = asyncio.ensure_future(simulation.on("a", _refreshed, simulation.ids[user]))
        await asyncio.sleep(full_for_s)
        simulation.machines["a"].on_step = lambda _number, _what: None
        for machine in machines:
            machine.disk_is_full = False
        await refreshing
        await asyncio.sleep(30)

    simulation = play(story(rotation="strict", machines=2, kills=0), seed, fill_the_disk)

    assert not simulation.revoked
    assert {"applied"} <= set(simulation.states) <= {"applied", "unknown", "not_sent"}


async def _refreshed(host: Host, connection_id: str) -> None:
    with suppress(SoulwatchError):
        await host.refresh_connection(connection_id)
