"""Processes that may open no file, or write no more into any, for a while; and a disk that takes nothing."""

import resource
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import anyio
import pytest
from support.refreshing import expire, refreshes, statuses
from support.served import on_sqlite
from support.small_disk import small_disk
from support.stocktaking import revoked, troubles, until

__all__ = ["small_disk"]

pytestmark = [on_sqlite, pytest.mark.slow]
LIMITS = {"no file can be opened": (resource.RLIMIT_NOFILE, 3), "no file can grow": (resource.RLIMIT_FSIZE, 0)}
LOOKS_EVERY_S = 1  # after what is overdue
PATIENCE_S = 90  # a request that could not leave is tried again after half a minute


@pytest.fixture(params=LIMITS)
def limited(request):
    """Holds a process to a limit while the block lasts."""
    kind, least = LIMITS[request.param]

    @contextmanager
    def limited_(process):
        soft, hard = resource.prlimit(process.process.pid, kind)
        resource.prlimit(process.process.pid, kind, (least, hard))
        try:
            yield
        finally:
            resource.prlimit(process.process.pid, kind, (soft, hard))

    return limited_


async def is_well_again(world, host, refreshed):
    async def is_well():
        return not await troubles(world, host)

    await until(is_well, PATIENCE_S)
    assert len(refreshes(world)) == refreshed
    assert not revoked(world)
    assert set(await statuses(host)) == {"connected"}
    with closing(sqlite3.connect(world.folder / "soulwatch.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.fault("F49", how="real")
async def test_what_is_due_while_a_process_lacks_the_means_is_made_up_for_by_itself(open_world, serve, limited):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        process = serve(world, is_polling=False)
        await process.begun()
        with limited(process):
            await expire(world, host, connection)
            await anyio.sleep(4 * LOOKS_EVERY_S)

            assert refreshes(world) == []
            assert process.is_running
            assert (await host.accounts.row(connection.id)).status == "connected"
        await is_well_again(world, host, refreshed=1)
        assert await process.health() == 200


@pytest.mark.fault("F49", how="real")
async def test_an_answer_that_comes_while_a_process_lacks_the_means_is_not_lost(open_world, serve, limited):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        process = serve(world, is_polling=False)
        await process.begun()
        under_way = world.sandbox.faults.add("hang", path="/token", seconds=1)
        await expire(world, host, connection)

        async def is_under_way():
            return under_way.struck == 1

        await until(is_under_way)
        with limited(process):
            await anyio.sleep(1 + 3 * LOOKS_EVERY_S)
        await is_well_again(world, host, refreshed=1)


@pytest.mark.fault("F49", how="real")
async def test_on_a_disk_that_cannot_be_written_to_it_says_so_and_changes_nothing(open_world, serve, small_disk):
    async with open_world(rotation="strict") as world:
        url = f"sqlite+aiosqlite:///{small_disk.folder}/soulwatch.db"
        async with world.host(data_dir=str(small_disk.folder), database_url=url) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
        where = {"SOULWATCH_DATA_DIR": str(small_disk.folder), "SOULWATCH_DATABASE_URL": url}
        before = (small_disk.folder / "soulwatch.db").read_bytes()
        small_disk.remount("ro")
        refused = serve(world, is_polling=False, **where)
        code = await anyio.to_thread.run_sync(refused.process.wait)

        assert code == 1
        said = refused.said()
        assert said.startswith("Error: The database cannot be written: attempt to write a readonly database. Make "), (
            said
        )
        assert said.count("\n") == 1, said
        assert refreshes(world) == []
        assert (small_disk.folder / "soulwatch.db").read_bytes() == before
        small_disk.remount("rw")
        await serve(world, is_polling=False, **where).begun()
        there = replace(world, folder=small_disk.folder, database_url=url)
        async with there.host() as host:
            await is_well_again(there, host, refreshed=1)
