"""A database that fails at any step of a refresh, is short of something, or is a server that ends our sessions."""

import asyncio
import errno
import os
import resource
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolIsExhausted
from support.refreshing import expire, held_up, is_good, journal, played, refreshes
from support.served import on_postgres, on_sqlite, until
from support.stepping import Steps
from support.world import WITHOUT_WAITING

from soulwatch.host.store import database as store
from soulwatch.host.store.database import Database
from soulwatch.testing.clock import PlayedClock

CLAIM_IS_OVER_S = 61


class Hasty(PlayedClock):
    """A clock on which whoever sleeps is awake at once, and time has passed."""

    async def sleep(self, seconds):
        await anyio.lowlevel.checkpoint()
        await self.advance(seconds)


def hasty():
    return Hasty(played().now())


def said(words, kind=OperationalError):
    return kind("UPDATE ...", {}, Exception(words))


FAILS = {
    "F07 F41 the disk is full": said("database or disk is full"),
    "F40 locked for longer than anybody waits": said("database is locked"),
    "a deadlock": said("deadlock detected", DBAPIError),
    "a serialization failure": said("could not serialize access due to concurrent update", DBAPIError),
    "no connection is free": PoolIsExhausted("QueuePool limit reached"),
    "F49 only reading": said("attempt to write a readonly database"),
    "F49 an I/O error": said("disk I/O error"),
    "F49 a device that is gone": OSError(errno.EIO, os.strerror(errno.EIO)),
    "F49 no file descriptor": OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    "F49 no memory": MemoryError(),
}


def fails(name, times):
    shows = [word for word in name.split() if word.startswith("F")]
    return pytest.param(
        FAILS[name], times, id=f"{name}, {times} times", marks=[pytest.mark.fault(*shows)] * bool(shows)
    )


@pytest.mark.parametrize(
    ("error", "times"), [*(fails(name, 1) for name in FAILS), fails("F07 F41 the disk is full", 4)]
)
@on_sqlite
async def test_at_whichever_step_the_database_fails_nothing_is_sent_twice_and_nothing_is_lost(open_world, error, times):
    clock = hasty()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        steps, failed_at = Steps(host), []
        for step in range(100):
            connection = await world.connect(host, user=f"user {step}")
            await expire(world, host, connection)
            world.sandbox.requests.clear()
            steps.fail_at(step, error, times)
            [token] = await asyncio.gather(host.tokens.fresh(connection.id), return_exceptions=True)
            if not steps.was_reached:
                break
            where = steps.taken[step]
            failed_at.append(where)
            steps.heal()
            if not any(name.startswith("before POST") for name in steps.taken):
                assert refreshes(world) == [], where
            assert (await host.accounts.row(connection.id)).status == "connected", where
            await clock.advance(CLAIM_IS_OVER_S)
            await host.sweeper.recover()
            found = await host.tokens.fresh(connection.id)
            assert is_good(world, found), where
            assert token == found or isinstance(token, Exception), where
            assert len(refreshes(world)) == 1, where
            assert not {"intent", "received"} & {one.state for one in await journal(host, connection)}, where
            await host.accounts.disconnect(connection.id)

    assert len(failed_at) > 10


@pytest.mark.fault("F41", "F49")
@on_sqlite
async def test_who_asks_while_the_database_fails_is_told_to_come_again(served):
    application = await served.application()
    steps = Steps(served.host)
    steps.fail_at(0, FAILS["F07 F41 the disk is full"], 1000)
    answer = await application.get("/api/connections")

    assert answer.status_code == 503
    assert answer.json()["detail"] == "The database cannot be used at the moment. The log tells more."
    steps.heal()
    assert (await application.get("/api/connections")).status_code == 200


@pytest.mark.fault("F49", how="real")
@on_sqlite
async def test_without_a_file_descriptor_nothing_is_sent_and_with_one_all_goes_on(open_world):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.requests.clear()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        await host.platforms.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free(), hard))
        try:
            for _ in range(3):
                with pytest.raises(Exception, match=r"unable to open|Too many open files|ConnectError"):
                    await host.tokens.fresh(connection.id)
                await clock.advance(3700)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert refreshes(world) == []
        assert (await host.accounts.row(connection.id)).status == "connected"
        assert is_good(world, await host.tokens.fresh(connection.id))
        assert len(refreshes(world)) == 1


def lowest_free():
    """The number that the next file to be opened would get."""
    with Path(os.devnull).open() as nothing:
        return nothing.fileno()


# PostgreSQL


async def end_all_sessions(database):
    """As a server that restarts would, but for our own session."""
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    async with database.reading() as transaction:
        await transaction.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))


@pytest.mark.fault("F46", how="real")
@on_postgres
async def test_at_whichever_step_the_server_ends_our_sessions_the_token_is_renewed_once(open_world, database_url):
    other = Database(database_url)
    clock = hasty()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        steps = Steps(host)
        for step in range(100):
            connection = await world.connect(host, user=f"user {step}")
            await expire(world, host, connection)
            world.sandbox.requests.clear()
            steps.do_at(step, lambda: end_all_sessions(other))
            try:
                await host.tokens.fresh(connection.id)
            except DBAPIError:
                await clock.advance(CLAIM_IS_OVER_S)
                await host.sweeper.recover()
            if not steps.was_reached:
                break
            assert is_good(world, await host.tokens.fresh(connection.id)), steps.taken[step]
            assert len(refreshes(world)) == 1, steps.taken[step]
            await host.accounts.disconnect(connection.id)
    await other.close()
    assert step > 10


@pytest.mark.fault("F46", how="real")
@on_postgres
async def test_a_statement_that_is_cancelled_while_a_token_is_applied_is_said_again(open_world, database_url, caplog):
    other = Database(database_url)
    async with other.engine.connect() as plain:
        await plain.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(text(f"ALTER DATABASE {other.engine.url.database} SET statement_timeout = '200ms'"))
    clock = hasty()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        gate = held_up(host)
        async with anyio.create_task_group() as group:
            group.start_soon(host.tokens.fresh, connection.id)
            await gate.reached.wait()
            async with other.writing() as transaction:
                await transaction.execute(text("SELECT 1 FROM platform_connections FOR UPDATE"))
                gate.open.set()
                await anyio.sleep(0.5)
        assert "could not be written down" in caplog.text
        assert is_good(world, await host.tokens.fresh(connection.id))
        assert len(refreshes(world)) == 1
    await other.close()


@pytest.mark.fault("F46")
async def test_who_finds_no_free_connection_waits_for_one(world):
    async with world.host() as host, anyio.create_task_group() as group:
        connection = await world.connect(host)
        await expire(world, host, connection)
        pool = host.database.engine.pool
        let_go = anyio.Event()

        async def hold():
            async with host.database.reading() as transaction:
                await transaction.execute(text("SELECT 1"))
                await let_go.wait()

        for _ in range(pool.size() + pool._max_overflow):
            group.start_soon(hold)
        await until(lambda: pool.checkedout() == pool.size() + pool._max_overflow)
        found = []

        async def ask():
            found.append(await host.tokens.fresh(connection.id))

        group.start_soon(ask)
        await anyio.sleep(0.1)
        assert found == []
        let_go.set()
        await until(lambda: found)
        assert is_good(world, found[0])


# What is asked of the database


@pytest.mark.fault("F44")
async def test_each_of_many_connections_waits_for_the_disk(database_url):
    database = Database(database_url)
    asked = "PRAGMA synchronous" if database.is_sqlite else "SHOW synchronous_commit"
    found = []
    together = anyio.Event()

    async def look():
        async with database.reading() as transaction:
            found.append((await transaction.execute(text(asked))).scalar())
            if len(found) == 12:
                together.set()
            await together.wait()

    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(look)
    await database.close()
    assert set(found) == ({2} if database.is_sqlite else {"on"})


def size_of(path):
    return path.stat().st_size


@pytest.mark.fault("F42")
@on_sqlite
async def test_a_log_that_is_written_and_read_without_a_pause_stays_small(database_url, monkeypatch):
    monkeypatch.setattr(store, "wal_is_sound", lambda: True)
    database = Database(database_url)
    log = Path(f"{database.engine.url.database}-wal")
    async with database.writing() as transaction:
        await transaction.execute(text("CREATE TABLE much (id INTEGER PRIMARY KEY, words TEXT)"))
    is_over, largest = anyio.Event(), 0

    async def read():
        while not is_over.is_set():
            async with database.reading() as transaction:
                await transaction.execute(text("SELECT words FROM much LIMIT 20"))

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(read)
        for _ in range(300):
            async with database.writing() as transaction:
                await transaction.execute(text("INSERT INTO much (words) VALUES (:words)"), {"words": "x" * 100_000})
            largest = max(largest, size_of(log))
        is_over.set()
    await database.close()
    assert 0 < largest < 20_000_000  # of 30,000,000 that were written
