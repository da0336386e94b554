"""Real processes, killed again and again in the middle of their refreshes.

TEST_KILLS=500 kills so often, however long that takes; TEST_SEED=... kills at the same moments as a
run that printed this seed. pytest ends what takes longer than three minutes unless it is told otherwise:

    TEST_KILLS=500 pytest tests/faults/test_killed_often.py -s -o faulthandler_timeout=0
"""

import os
import random
import time

import anyio
import pytest
from support.refreshing import refreshes
from support.stocktaking import SHORTEST_LIFE_S, ask, come_to_rest, make_due, revoked

from soulwatch_sandbox import TokenRules

KILLS = int(os.environ.get("TEST_KILLS", "30"))
SEED = int(os.environ.get("TEST_SEED", random.SystemRandom().randrange(10**9)))
LONGEST_S = None if "TEST_KILLS" in os.environ else 40.0
AT_LEAST = 5
PROCESSES = 3
USERS = [f"user{number}" for number in range(10)]
GRACE_S = 20
DIES_LATER = 0.8  # the others may die before they have begun
HURRY_S = 0.5


def started(world, serve):
    """One more process, for both platforms."""
    where = {f"SOULWATCH_PLATFORMS__SPOTIFY__{which}_URL": f"{world.url}/spotify" for which in ("API", "OAUTH")}
    client = {"SPOTIFY_CLIENT_ID": "invented-spotify-client", "SPOTIFY_CLIENT_SECRET": "invented-spotify-secret"}
    return serve(world, is_polling=False, SOULWATCH_LEASE="5s", **where, **client)


async def count(host, state):
    return await ask(host, f"SELECT COUNT(*) FROM refresh_attempts WHERE state = '{state}'")


async def all_events(host, kind):
    return [event for user in USERS for event in await host.events(user, limit=10_000) if event.type == kind]


async def hurry(host):
    while True:
        await make_due(host)
        await anyio.sleep(HURRY_S)


async def kill_often(world, serve, chance):
    """Kill processes at any moment and start them anew; how often that was."""
    begun = time.monotonic()
    processes = [started(world, serve) for _ in range(PROCESSES)]
    for one in processes:
        await one.begun()
    for killed in range(KILLS):
        if LONGEST_S is not None and killed >= AT_LEAST and time.monotonic() - begun > LONGEST_S:
            return killed
        await anyio.sleep(chance.uniform(0, 1))
        which = chance.randrange(PROCESSES)
        processes[which].kill()
        processes[which] = started(world, serve)
        if chance.random() < DIES_LATER:
            await processes[which].begun()
    return KILLS


@pytest.mark.slow
@pytest.mark.fault("F01", "F06", how="real")
async def test_killed_at_any_moment_and_started_anew_no_process_costs_anybody_a_connection(open_world, serve):
    """At a platform that gives a new refresh token each time, and at one that never does."""
    rules = {"spotify": TokenRules(life=SHORTEST_LIFE_S, rotation="none", replay_revokes=False, needs_pkce=False)}
    habits = {"token_life": SHORTEST_LIFE_S, "rotation": "grace", "grace": GRACE_S, "rules": rules}
    async with open_world(**habits) as world, world.host() as host:
        for user in USERS:
            await world.connect(host, "sandbox", user=user)
            await world.connect(host, "spotify", user=user)
        # The platform has acted before it begins to answer, slowly: that is the moment in which much can be lost.
        for pose in ("sandbox", "spotify"):
            world.sandbox.faults.add(
                "drip", pose=pose, path="/", method="POST", times=None, after_bytes=100, seconds=0.1
            )
        async with anyio.create_task_group() as group:
            group.start_soon(hurry, host)
            killed = await kill_often(world, serve, random.Random(SEED))
            group.cancel_scope.cancel()
        world.sandbox.faults.clear()
        await come_to_rest(world, host)

        states = {state: await count(host, state) for state in ("applied", "unknown", "not_sent")}
        print(f"seed {SEED}: {killed} kills, attempts: {states}")
        assert states["unknown"], "nobody was killed within a refresh: this showed nothing"
        assert not revoked(world)
        assert {event.data["status"] for event in await all_events(host, "connection_status")} == {"connected"}
        asked = len(refreshes(world, "sandbox")) + len(refreshes(world, "spotify"))
        assert asked <= states["applied"] + states["unknown"], "something was sent without being written down first"
