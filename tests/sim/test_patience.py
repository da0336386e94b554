"""How long an answer is waited for: less where a used token is taken again for a while only."""

from __future__ import annotations

import asyncio

import pytest
from sim.world import Simulation, Story

ONE_WAY_S = 4


@pytest.mark.fault("F05")
def test_only_the_first_try_at_a_platform_with_a_grace_gives_up_early_and_the_second_has_its_time(play):
    async def be_slow(simulation: Simulation) -> None:
        simulation.weather.latency_s = (ONE_WAY_S, ONE_WAY_S)
        await asyncio.sleep(60)
        simulation.weather.latency_s = (0.001, 0.05)

    simulation = play(Story(grace=15, machines=1, users=1, callers=0, quiet_s=5), 0, be_slow)

    first, second = simulation.sent
    assert first.token == second.token
    assert 0 < second.at - first.at < 15
    assert simulation.states == ["unknown", "applied"]
