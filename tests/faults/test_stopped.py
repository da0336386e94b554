"""Processes that stand still, as on a machine that sleeps, and go on without knowing how late it is."""

import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta

import anyio
import pytest
from support.proxy import Proxy
from support.refreshing import change, expire, journal, refreshes, statuses
from support.served import on_sqlite
from support.stocktaking import ask, revoked, troubles, until

LEASE_S = 5
SENT_WITHIN = 0.4  # of its claim
A_MOMENT = timedelta(seconds=0.3)


async def is_at_it(host):
    return await ask(host, "SELECT COUNT(*) FROM refresh_attempts WHERE state = 'intent'") == 1


async def is_applied(host):
    return await ask(host, "SELECT COUNT(*) FROM refresh_attempts WHERE state = 'applied'") == 1


async def goes_on_as_usual(world, host, connection):
    """Whichever token it is that won, the next refresh builds on it."""
    before = await ask(host, "SELECT COUNT(*) FROM events WHERE type = 'token_refresh'")
    await expire(world, host, connection)
    await change(host, connection, last_attempt_at=None)

    async def is_well():
        told = await ask(host, "SELECT COUNT(*) FROM events WHERE type = 'token_refresh'")
        return told > before and not await troubles(world, host)

    await until(is_well)
    assert not revoked(world)
    assert set(await statuses(host)) == {"connected"}


@contextmanager
def closed_road():
    """Somebody listens there, and no connection comes about: the one place in the queue is taken."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.socket() as first:
        first.connect(listener.getsockname())
        yield listener


@pytest.mark.slow
@pytest.mark.fault("F02", how="real")
async def test_stopped_while_its_answer_is_under_way_it_wakes_to_a_token_of_another_process(open_world, serve):
    async with open_world(rotation="grace", grace=60) as world, world.host() as host:
        connection = await world.connect(host)
        fault = world.sandbox.faults.add("hang", path="/token", seconds=1)
        sleeper = serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s")
        await sleeper.begun()
        await expire(world, host, connection)
        await until(lambda: has_struck(fault))
        with sleeper.stopped():
            quick = serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s")
            await until(lambda: is_applied(host))
            won = (await host.accounts.row(connection.id)).generation
        await until(lambda: is_all_well(world, host))

        row = await host.accounts.row(connection.id)
        assert (row.generation, row.lease_until) == (won, None)
        assert len(refreshes(world)) == 2
        states = [attempt.state for attempt in await journal(host, connection)]
        assert states.count("applied") == 1, states
        assert sleeper.is_running
        quick.kill()
        await goes_on_as_usual(world, host, connection)


async def is_all_well(world, host):
    return not await troubles(world, host)


async def has_struck(fault):
    return fault.struck == 1


async def has_come_to_an_end(host):
    return await ask(host, "SELECT COUNT(*) FROM refresh_attempts WHERE state IN ('intent', 'received')") == 0


async def has_given_up(process):
    return "token not refreshed" in process.said()


@asynccontextmanager
async def about_to_send(world, serve, host, connection, lease_s):
    """A process that has claimed a connection and does not reach the platform until its way there is opened."""
    with closed_road() as listener:
        way = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = serve(
            world, is_polling=False, SOULWATCH_LEASE=f"{lease_s}s", SOULWATCH_PLATFORMS__SANDBOX__OAUTH_URL=way
        )
        await process.begun()
        await expire(world, host, connection)
        await until(lambda: is_at_it(host))
        async with AsyncExitStack() as stack:
            yield process, lambda: stack.enter_async_context(Proxy(world.url).running(listener))


@pytest.mark.slow
@pytest.mark.fault("F02", how="real")
async def test_stopped_before_its_request_has_left_until_its_claim_is_over_it_sends_nothing(open_world, serve):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        async with about_to_send(world, serve, host, connection, LEASE_S) as (sleeper, open_the_way):
            with sleeper.stopped():
                quick = serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s")
                await until(lambda: is_applied(host))
                await open_the_way()
            await until(lambda: has_given_up(sleeper))

            assert len(refreshes(world)) == 1
            quick.kill()
            await goes_on_as_usual(world, host, connection)


@pytest.mark.slow
@pytest.mark.fault("F02", how="real")
async def test_stopped_for_a_moment_too_long_it_does_not_send_though_it_still_could(open_world, serve):
    """It wakes with a connection to the platform and within its claim, but an answer might come after that."""
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        async with about_to_send(world, serve, host, connection, 2 * LEASE_S) as (sleeper, open_the_way):
            with sleeper.stopped():
                await open_the_way()
                claimed_at = (await journal(host, connection))[0].started_at
                too_late = claimed_at + SENT_WITHIN * timedelta(seconds=2 * LEASE_S) + A_MOMENT
                await anyio.sleep((too_late - host.clock.now()).total_seconds())
            await until(lambda: has_given_up(sleeper))

            assert [attempt.state for attempt in await journal(host, connection)] == ["not_sent"]
            assert refreshes(world) == []
            await goes_on_as_usual(world, host, connection)


@on_sqlite
@pytest.mark.slow
@pytest.mark.parametrize("stands_still_s", [7, 12], ids=["longer than an answer may take", "longer than its claim"])
@pytest.mark.fault("F02", "F34", how="real")
async def test_an_answer_that_came_while_its_process_stood_still_is_read_when_it_goes_on(
    open_world, serve, stands_still_s
):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        fault = world.sandbox.faults.add("hang", path="/token", seconds=1)
        process = serve(world, is_polling=False, SOULWATCH_LEASE=f"{2 * LEASE_S}s")
        await process.begun()
        await expire(world, host, connection)
        await until(lambda: has_struck(fault))
        with process.stopped():
            await anyio.sleep(stands_still_s)
        await until(lambda: has_come_to_an_end(host))

        assert [attempt.state for attempt in await journal(host, connection)] == ["applied"]
        assert len(refreshes(world)) == 1
        assert not await troubles(world, host)


@pytest.mark.slow
@pytest.mark.fault("F34", how="real")
async def test_what_became_due_while_a_process_stood_still_is_made_up_for_when_it_goes_on(open_world, serve):
    async with open_world(rotation="strict") as world, world.host() as host:
        connections = [await world.connect(host, user=user) for user in ("ada", "grace", "mary")]
        process = serve(world, is_polling=False)
        await process.begun()
        with process.stopped():
            for connection in connections:
                await expire(world, host, connection)
            await anyio.sleep(1)
            assert refreshes(world) == []

        await until(lambda: is_all_well(world, host))
        assert len(refreshes(world)) == len(connections)
        assert not revoked(world)
