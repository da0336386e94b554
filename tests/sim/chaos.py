"""What happens to machines, platform and clock while a story is played, at times and in measures of chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
from sim.machine import Died, Machine

from soulwatch.host.host import Host

if TYPE_CHECKING:
    from sim.world import Simulation

LONGEST_UNTIL_A_REFRESH_S = 60
STEPS_OF_A_REFRESH = 30


class Chaos:
    """Everything that a story asks for, once."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._chance = random.Random(f"{simulation.seed}:what happens")

    async def __call__(self) -> None:
        """Let it all happen, each at some time."""
        story, names = self._simulation.story, list(self._simulation.machines)
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
                group.start_soon(self._some_time, deed, self._chance.choice(names), self._chance.random())
            await asyncio.sleep(story.chaos_s)

    async def _some_time(self, deed: Callable[[str], Awaitable[None]], name: str, when: float) -> None:
        await asyncio.sleep(when * self._simulation.story.chaos_s)
        self._simulation.note(f"{deed.__name__} {name}")
        await deed(name)

    async def _kill(self, name: str) -> None:
        machine = self._simulation.machines[name]
        at = await self._soon(machine)
        if machine.is_dead or machine.dies_at is not None:
            return
        machine.dies_at = at
        await machine.died.wait()
        await self._simulation.bury(name)
        await asyncio.sleep(self._chance.uniform(0.2, 3))
        await self._simulation.boot(name)

    async def _soon(self, machine: Machine) -> int:
        """One of its next steps, half of the time one of its next refresh."""
        if self._chance.random() < 0.5:
            machine.intended.clear()
            with anyio.move_on_after(LONGEST_UNTIL_A_REFRESH_S):
                await machine.intended.wait()
            return machine.steps + self._chance.randrange(1, STEPS_OF_A_REFRESH)
        return machine.steps + self._chance.randrange(1, 60)

    async def _stop(self, name: str) -> None:
        machine = self._simulation.machines[name]
        at = await self._soon(machine)
        if machine.is_dead or machine.stops_at is not None:
            return
        machine.stops_at = at
        machine.stood_still.clear()
        await machine.stood_still.wait()
        await asyncio.sleep(self._chance.uniform(1, self._simulation.story.longest_stop))
        machine.go_on()

    async def _outage(self, _name: str) -> None:
        self._simulation.weather.is_down = True
        await asyncio.sleep(self._chance.uniform(1, 30))
        self._simulation.weather.is_down = False

    async def _fill_disk(self, _name: str) -> None:
        machines = list(self._simulation.machines.values())
        for machine in machines:
            machine.disk_is_full = True
        await asyncio.sleep(self._chance.uniform(0.1, 15))
        for machine in machines:
            machine.disk_is_full = False

    async def _jump(self, _name: str) -> None:
        self._simulation.wall.moved += timedelta(seconds=self._chance.choice((-3600, -90, -30, 30, 90, 3600)))

    async def _call(self, name: str) -> None:
        with suppress(Died, Exception):
            user = self._chance.choice(self._simulation.users)
            with anyio.move_on_after(self._chance.choice((0.01, 0.1, 1, 30))):
                await self._simulation.on(name, _ask, user)

    async def _reconnect(self, name: str) -> None:
        user = self._chance.choice(self._simulation.users)
        with suppress(Died, Exception):
            if self._chance.random() < 0.5:
                await self._simulation.on(name, self._simulation.disconnect, user)
                await asyncio.sleep(self._chance.uniform(0, 5))
            await self._simulation.on(name, self._simulation.connect, user)


async def _ask(host: Host, user: str) -> None:
    await host.ensure_fresh_token(user, "sandbox")
