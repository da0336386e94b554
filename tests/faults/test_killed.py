from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from sqlalchemy import text

RECORDS = 3000


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    with anyio.fail_after(seconds):
        while not await true():  # noqa: ASYNC110  - another process does it
            await anyio.sleep(0.05)


async def ask(host: Any, query: str) -> Any:
    async with host.database.reading() as transaction:
        return (await transaction.execute(text(query))).scalar()


def stored(host: Any) -> Any:
    return ask(host, "SELECT COUNT(*) FROM user_platform_data WHERE data_type = 'archive'")


@pytest.mark.fault("F30")
async def test_killed_in_the_middle_of_a_poll_nothing_is_lost_and_nothing_is_there_twice(open_world, serve):
    async with open_world(archive_size=RECORDS) as world, world.host() as host:
        await world.connect(host)
        world.sandbox.faults.add("hang", pose="sandbox", path="/v1/archive", times=None, seconds=0.1)
        first = serve(world)

        async def has_begun() -> bool:
            return 0 < await stored(host) < RECORDS

        await until(has_begun)
        first.kill()
        assert 0 < await stored(host) < RECORDS
        assert await ask(host, "SELECT etag FROM polls WHERE data_type = 'archive'") is None
        world.sandbox.faults.clear()
        serve(world)

        async def is_whole() -> bool:
            return bool(await ask(host, "SELECT is_whole FROM polls WHERE data_type = 'archive'"))

        await until(is_whole)
        assert await stored(host) == RECORDS
        distinct = "SELECT COUNT(DISTINCT item_key) FROM user_platform_data WHERE data_type = 'archive'"
        assert await ask(host, distinct) == RECORDS
        events = await host.events("ada", limit=10_000)
        told = [
            event.data["count"] for event in events if event.type == "new_data" and event.data["dataType"] == "archive"
        ]
        assert sum(told) == RECORDS
        assert [event.seq for event in events] == list(range(1, len(events) + 1))


async def test_asked_to_end_it_ends_in_time_and_hands_back_what_it_had_begun(open_world, serve):
    async with open_world(archive_size=RECORDS) as world, world.host() as host:
        await world.connect(host)
        world.sandbox.faults.add("hang", pose="sandbox", path="/v1/archive", times=None, seconds=1)
        process = serve(world, SOULWATCH_SHUTDOWN_GRACE="2s", SOULWATCH_LEASE="60s")

        async def has_begun() -> bool:
            return await stored(host) > 0

        await until(has_begun)
        took = await anyio.to_thread.run_sync(process.end)
        assert process.process.returncode == 0, process.said()
        assert took < 10
        assert await ask(host, "SELECT COUNT(*) FROM polls WHERE lease_until IS NOT NULL") == 0
        assert await ask(host, "SELECT COUNT(*) FROM platform_connections WHERE lease_until IS NOT NULL") == 0
        assert await ask(host, "SELECT COUNT(*) FROM refresh_attempts WHERE state IN ('intent', 'received')") == 0


async def test_after_a_restart_everything_goes_on(open_world, serve):
    async with open_world(token_life=30, item_every=1) as world, world.host() as host:
        connection = await world.connect(host)
        first = serve(world)

        async def has_refreshed() -> bool:
            return await ask(host, "SELECT COUNT(*) FROM events WHERE type = 'token_refresh'") > refreshed

        refreshed = 0
        await until(has_refreshed)
        first.kill()
        refreshed = await ask(host, "SELECT COUNT(*) FROM events WHERE type = 'token_refresh'")
        notes = await ask(host, "SELECT COUNT(*) FROM user_platform_data WHERE data_type = 'notes'")
        serve(world)
        await until(has_refreshed)

        async def has_more_notes() -> bool:
            return await ask(host, "SELECT COUNT(*) FROM user_platform_data WHERE data_type = 'notes'") > notes

        await until(has_more_notes)
        row = await host.accounts.row(connection.id)
        assert (row.status, row.reason) == ("connected", None)
