"""A task that is cancelled while it waits for the database, by asyncio's own way, which no scope can shield."""

from functools import partial

import anyio
import pytest
from sqlalchemy import func, select
from support.cutting import cut
from support.refreshing import expire, is_good, played

from soulwatch.host.store.database import Database
from soulwatch.host.store.migrate import migrate
from soulwatch.host.store.tables import user_streams

pytestmark = pytest.mark.fault("F45")
AT_ONCE = 15
CLAIM_IS_OVER_S = 61
COUNT = select(func.count()).select_from(user_streams)


async def is_whole(database):
    """Every connection of the pool is back in it, and all of them together can be had and used."""
    assert database.engine.pool.checkedout() == 0
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            barrier = anyio.Event()
            holding = []

            async def hold():
                async with database.reading() as transaction:
                    await transaction.execute(COUNT)
                    holding.append(1)
                    if len(holding) == AT_ONCE:
                        barrier.set()
                    await barrier.wait()

            for _ in range(AT_ONCE):
                group.start_soon(hold)
        async with database.writing() as transaction:
            await transaction.execute(COUNT)
    assert database.engine.pool.checkedout() == 0


@pytest.fixture
async def database(database_url):
    opened = Database(database_url)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest.mark.parametrize("times", [1, 2])
async def test_a_reading_that_is_cancelled_at_any_await_costs_no_connection(database, times):
    async def read():
        async with database.reading() as transaction:
            await transaction.execute(COUNT)
            await transaction.execute(COUNT)

    at = 0
    while await cut(read, at, times):
        assert database.engine.pool.checkedout() == 0, at
        at += 1
    await is_whole(database)
    assert at > 3


@pytest.mark.parametrize("times", [1, 2])
async def test_a_writing_that_is_cancelled_at_any_await_is_there_whole_or_not_at_all(database, times):
    async def write(at):
        async with database.writing() as transaction:
            for part in ("one", "other"):
                await transaction.execute(user_streams.insert().values(user_id=f"{at} {part}", last_seq=0))

    at, found = 0, set()
    while await cut(partial(write, at), at, times):
        assert database.engine.pool.checkedout() == 0, at
        async with database.reading() as transaction:
            is_its = user_streams.c.user_id.in_([f"{at} one", f"{at} other"])
            found.add((await transaction.execute(COUNT.where(is_its))).scalar())
        at += 1
    await is_whole(database)
    assert at > 4
    assert found <= {0, 2}


DEEDS = {
    "a token": lambda host, connection: partial(host.tokens.fresh, connection.id),
    "a poll": lambda host, connection: partial(host.poll_connection, connection.id, "notes"),
    "a sweep": lambda host, _connection: host.sweeper.sweep,
    "a message": lambda host, connection: partial(host.send_to_user, connection.user, {"type": "hello"}),
}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
async def test_whatever_a_host_does_may_be_cancelled_at_any_await(open_world, deed):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(clock=clock) as host:
        connection = await world.connect(host)
        at, is_cut = 0, True
        while is_cut:
            await expire(world, host, connection)
            is_cut = await cut(deed(host, connection), at)
            assert host.database.engine.pool.checkedout() == 0, at
            await clock.advance(CLAIM_IS_OVER_S)
            assert is_good(world, await host.tokens.fresh(connection.id)), at
            assert await host.poller.claim_now(connection.id, "notes") is not None, at
            at += 1

        await is_whole(host.database)
        assert at > 5
        assert not world.sandbox.grants.of()[0].revoked
        assert await host.sweeper.recover() == 0
        seqs = [event.seq for event in await host.events("ada", limit=10_000)]
        assert seqs == list(range(1, len(seqs) + 1))


async def test_a_disconnect_that_is_cancelled_at_any_await_has_happened_or_has_not(world):
    async with world.host() as host:
        at, is_cut, found = 0, True, set()
        while is_cut:
            connection = await world.connect(host, user=f"user {at}")
            is_cut = await cut(partial(host.accounts.disconnect, connection.id), at)
            row = await host.accounts.row(connection.id)
            found.add(row.status)
            if row.status == "connected":
                assert is_good(world, await host.tokens.fresh(connection.id)), at
            else:
                assert (row.access_token, row.refresh_token, row.sealed_key) == (None, None, None), at
            at += 1

        await is_whole(host.database)
        assert found == {"connected", "disconnected"}


async def test_who_is_cancelled_at_any_await_of_a_refresh_leaves_no_claim_behind(open_world):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(clock=clock) as host:
        at, is_cut, left = 0, True, []
        while is_cut:
            connection = await world.connect(host, user=f"user {at}")
            await expire(world, host, connection)
            is_cut = await cut(partial(host.tokens.fresh, connection.id), at)
            left += [at] if (await host.accounts.row(connection.id)).lease_until is not None else []
            at += 1

    assert left == []
    assert at > 5
