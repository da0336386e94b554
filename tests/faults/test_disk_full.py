"""A disk that is full at one moment or another, and has room again later. Database, key and log lie on it."""

import asyncio
import os
import re
import sqlite3
import sys
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace
from datetime import timedelta

import anyio
import httpx
import pytest
from sqlalchemy.exc import OperationalError
from support.refreshing import change, journal, refreshes, statuses
from support.served import on_sqlite
from support.small_disk import small_disk
from support.stocktaking import revoked, troubles, until

from soulwatch.errors import SettingsError
from soulwatch.host.store.database import Database

__all__ = ["small_disk"]

pytestmark = [on_sqlite, pytest.mark.slow]
LEASE_S = 5
LOOKS_EVERY_S = 1  # after what is overdue


@pytest.fixture
def open_small_world(open_world, small_disk):
    """A platform that gives no second chance, and connections on the small disk to keep alive."""

    @asynccontextmanager
    async def open_(*users):
        async with open_world(rotation="strict") as world:
            url = f"sqlite+aiosqlite:///{small_disk.folder}/soulwatch.db"
            small = replace(world, folder=small_disk.folder, database_url=url)
            async with small.host() as host:
                yield small, host, [await small.connect(host, user=user) for user in users]

    return open_


async def ends_in(seconds, world, host, connection):
    """The token is due, and of no use any more, in so many seconds."""
    world.sandbox.expire()
    then = host.clock.now() + timedelta(seconds=seconds)
    await change(
        host,
        connection,
        token_issued_at=then - timedelta(hours=1),
        token_expires_at=then,
        next_refresh_at=then,
        last_attempt_at=None,
    )


async def all_are_well(world, host, refreshed):
    """Good tokens everywhere, for which the platform was asked so often altogether; no user heard of anything bad."""

    async def is_well():
        return not await troubles(world, host)

    await until(is_well)
    assert len(refreshes(world)) == refreshed
    assert not revoked(world)
    told = [status for row in await host.accounts.rows() for status in await statuses(host, row.user_id)]
    assert set(told) == {"connected"}


def is_intact(disk):
    with closing(sqlite3.connect(disk.folder / "soulwatch.db")) as database:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.fault("F07", "F41", how="real")
async def test_while_the_disk_is_full_no_platform_is_asked_and_then_all_goes_on_by_itself(
    open_small_world, serve, small_disk
):
    async with open_small_world("ada", "grace", "mary") as (world, host, connections):
        process = serve(world, is_polling=False)
        await process.begun()
        for connection in connections:
            await ends_in(1.5, world, host, connection)
        small_disk.fill()
        await anyio.sleep(1.5 + 3 * LOOKS_EVERY_S)

        assert refreshes(world) == []
        assert await process.health() == 200
        rows = await host.accounts.rows()
        assert [(row.status, row.reason, row.lease_until) for row in rows] == 3 * [("connected", None, None)]
        small_disk.free()
        await all_are_well(world, host, refreshed=3)
        assert is_intact(small_disk)


async def readiness(process):
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{await process.begun()}/readyz")
    return answer.status_code, answer.json().get("detail")


@pytest.mark.fault("F41", how="real")
async def test_a_full_disk_is_told_in_one_line_and_makes_the_host_unready_and_its_end_in_another(
    open_small_world, serve, small_disk
):
    async with open_small_world("ada", "grace") as (world, host, connections):
        process = serve(world)
        await process.begun()
        assert await readiness(process) == (200, None)
        small_disk.fill()
        for connection in connections:
            with suppress(OperationalError):
                await ends_in(0, world, host, connection)

        async def is_unready():
            return (await readiness(process))[0] == 503

        await until(is_unready, 80)
        await anyio.sleep(10)
        assert await readiness(process) == (
            503,
            "The database cannot be written: no room is left. The log tells more.",
        )
        small_disk.free()

        async def is_ready():
            return (await readiness(process))[0] == 200

        await until(is_ready)
        assert process.said().count("Traceback") == 0, process.said()
        assert process.said().count("Z error ") == 1, process.said()
        assert process.said().count("The database cannot be written: database or disk is full. Make room on") == 1
        assert process.said().count("The database can be written again") == 1


@pytest.mark.fault("F41", how="real")
async def test_a_command_that_finds_the_disk_full_says_so_in_one_line(open_small_world, small_disk):
    async with open_small_world("ada") as (world, _, _):
        small_disk.fill()
        environment = {
            **os.environ,
            "SOULWATCH_DATA_DIR": str(world.folder),
            "SOULWATCH_DATABASE_URL": world.database_url,
            "SANDBOX_CLIENT_ID": "invented-sandbox-client",
            "SANDBOX_CLIENT_SECRET": "invented-sandbox-secret",
            "SOULWATCH_PLATFORMS__SANDBOX__API_URL": world.url,
            "SOULWATCH_PLATFORMS__SANDBOX__OAUTH_URL": world.url,
        }
        command = [sys.executable, "-m", "soulwatch", "poll"]
        done = await anyio.run_process(command, env=environment, cwd=world.folder, check=False)
    assert done.returncode == 1
    assert re.fullmatch(
        r"Error: The database cannot be written: database or disk is full\. Make room on the disk of /.*\.\n",
        done.stderr.decode(),
    )


@pytest.mark.fault("F41", how="real")
async def test_what_is_started_on_a_full_disk_is_told_to_make_room(small_disk, database_url):
    database = Database(f"sqlite+aiosqlite:///{small_disk.folder}/soulwatch.db")
    database.make_private()
    small_disk.fill()
    with pytest.raises(SettingsError, match=r"database or disk is full\. Make room on the disk of /.*soulwatch\.db\.$"):
        await database.check()
    await database.close()


@pytest.mark.fault("F07", "F41", how="real")
async def test_an_answer_that_finds_the_disk_full_is_kept_until_there_is_room(open_small_world, serve, small_disk):
    async with open_small_world("ada") as (world, host, [connection]):
        process = serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s")
        await process.begun()
        under_way = world.sandbox.faults.add("hang", path="/token", seconds=1)
        await ends_in(0, world, host, connection)

        async def is_under_way():
            return under_way.struck == 1

        await until(is_under_way)
        small_disk.fill()
        await anyio.sleep(1 + 1.5 * LEASE_S)

        assert [attempt.state for attempt in await journal(host, connection)] == ["intent"]
        assert await process.health() == 200
        small_disk.free()
        await all_are_well(world, host, refreshed=1)
        assert [attempt.state for attempt in await journal(host, connection)] == ["applied"]
        assert is_intact(small_disk)


@pytest.mark.fault("F07", "F41", how="real")
async def test_wherever_within_a_refresh_the_room_gives_out_no_token_is_lost(open_small_world, serve, small_disk):
    async with open_small_world("ada") as (world, host, [connection]):
        process = serve(world, is_polling=False, SOULWATCH_LEASE=f"{LEASE_S}s")
        await process.begun()
        for number, blocks in enumerate((5, 7, 8, 9, 10), start=1):
            await ends_in(0.5, world, host, connection)
            small_disk.fill(leave=blocks)
            await anyio.sleep(0.5 + LOOKS_EVERY_S)
            small_disk.free()
            await all_are_well(world, host, refreshed=number)
            assert is_intact(small_disk)
        assert process.is_running


@pytest.mark.fault("F07", "F41", how="real")
async def test_an_answer_that_finds_the_disk_full_is_kept_though_who_asked_for_it_has_gone(
    open_small_world, small_disk, monkeypatch
):
    """A poll that took too long, for one; the process lives on, and so does what it holds."""
    monkeypatch.setattr("soulwatch.host.refresher.LET_WRITE_S", 1.0, raising=False)  # or it would take half a minute
    async with open_small_world("ada") as (world, host, [connection]):
        under_way = world.sandbox.faults.add("hang", path="/token", seconds=0.5)
        await ends_in(0, world, host, connection)
        asked = asyncio.ensure_future(host.tokens.fresh(connection.id))

        async def is_under_way():
            return under_way.struck == 1

        await until(is_under_way)
        small_disk.fill()
        await anyio.sleep(1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            with anyio.fail_after(10):
                await asked
        await anyio.sleep(1)
        small_disk.free()

        async def is_kept():
            return (await journal(host, connection))[0].state in ("received", "applied")

        await until(is_kept, 10)
        await host.sweeper.recover()
        await all_are_well(world, host, refreshed=1)
