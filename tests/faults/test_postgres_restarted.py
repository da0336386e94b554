"""A PostgreSQL that crashes and comes back while tokens are refreshed, and connections to it that it ends itself."""

from contextlib import suppress

import anyio
import asyncpg
import pytest
from sqlalchemy.exc import SQLAlchemyError
from support.postgres import running_postgres
from support.refreshing import expire, journal, refreshes, statuses
from support.stocktaking import ask, come_to_rest, make_due, revoked, troubles, until

pytestmark = pytest.mark.slow
RESTARTS = 5
UP_S = 3.0
LEASE_S = 3
USERS = [f"user{number}" for number in range(10)]
FAILURES = (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
OURS = "datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def server():
    """A server of the test's own, which nobody else misses while it is down."""
    with running_postgres() as one:
        yield one


@pytest.fixture
def database_url(server):
    return server.make_database("soulwatch")


async def again_and_again(seconds, work):
    while True:
        with suppress(*FAILURES):
            await work()
        await anyio.sleep(seconds)


class Teller:
    """Tells a user one number after the other, and remembers which were said to be stored."""

    def __init__(self, host):
        self.host, self.number, self.stored = host, 0, {}

    async def tell(self):
        self.number += 1
        number = self.number
        event = await self.host.send_to_user("mira", {"type": "note", "number": number})
        self.stored[number] = event.seq


async def end_sessions(host):
    await ask(host, f"SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {OURS}")


async def restarted(server, after_s):
    """It crashes, and is there again after so many seconds."""
    await anyio.to_thread.run_sync(server.stop, "immediate")
    await anyio.sleep(after_s)
    await anyio.to_thread.run_sync(server.start)


async def restart_often(server):
    for _ in range(RESTARTS):
        await anyio.sleep(UP_S)
        await restarted(server, after_s=0)


async def has_struck(fault):
    return fault.struck == 1


async def is_well(world, host):
    return not await troubles(world, host)


@pytest.mark.fault("F07", "F46", how="real")
async def test_a_database_that_crashes_again_and_again_costs_nobody_a_connection(open_world, serve, server):
    async with open_world(rotation="grace", grace=60, token_life=30) as world, world.host() as host:
        for user in USERS:
            await world.connect(host, user=user)
        # The platform has acted, and its answer takes a while: that is the moment in which much can be lost.
        world.sandbox.faults.add("drip", path="/token", times=None, after_bytes=100, seconds=0.1)
        processes = [serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s") for _ in range(2)]
        for one in processes:
            await one.begun()
        teller = Teller(host)
        async with anyio.create_task_group() as group:
            group.start_soon(again_and_again, 0.5, lambda: make_due(host))
            group.start_soon(again_and_again, 0.01, teller.tell)
            group.start_soon(again_and_again, 2.0, lambda: end_sessions(host))
            await restart_often(server)
            group.cancel_scope.cancel()
        world.sandbox.faults.clear()
        await come_to_rest(world, host)

        assert all(one.is_running for one in processes)
        assert not revoked(world)
        for user in USERS:
            assert set(await statuses(host, user)) == {"connected"}
        events = await host.events("mira", limit=100_000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        numbers = [event.data["number"] for event in events]
        assert numbers == sorted(set(numbers))
        found = {event.data["number"]: event.seq for event in events}
        assert teller.stored.items() <= found.items()
        refreshed = await ask(host, "SELECT COUNT(*) FROM refresh_attempts WHERE state = 'applied'")
        print(f"{RESTARTS} crashes: {refreshed} refreshes, {len(teller.stored)} of {teller.number} numbers stored")


@pytest.mark.fault("F07", "F46", how="real")
async def test_an_answer_that_finds_no_database_is_kept_and_its_token_not_sent_again(open_world, serve, server):
    """Its claim is over when the database comes back, and another process is there to take over."""
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        under_way = world.sandbox.faults.add("hang", path="/token", seconds=1)
        processes = [serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s") for _ in range(2)]
        for one in processes:
            await one.begun()
        await expire(world, host, connection)
        await until(lambda: has_struck(under_way))
        await restarted(server, after_s=1 + 1.5 * LEASE_S)

        await until(lambda: is_well(world, host))
        assert len(refreshes(world)) == 1
        assert not revoked(world)
        assert "applied" in [attempt.state for attempt in await journal(host, connection)]
        assert set(await statuses(host)) == {"connected"}


@pytest.mark.fault("F46", how="real")
async def test_a_database_that_is_gone_for_a_moment_cuts_off_no_request_that_is_under_way(open_world, serve, server):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        acted = world.sandbox.faults.add("drip", path="/token", after_bytes=200, seconds=4)
        process = serve(world, is_polling=False, SOULWATCH_LEASE="30s")
        await process.begun()
        await expire(world, host, connection)
        await until(lambda: has_struck(acted))
        await restarted(server, after_s=3)

        await until(lambda: is_well(world, host))
        assert len(refreshes(world)) == 1
        assert [attempt.state for attempt in await journal(host, connection)] == ["applied"]
        assert "The database cannot be used" in process.said(), "nothing went wrong: this showed nothing"
