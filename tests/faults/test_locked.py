"""One SQLite file that many processes write to, with a reader in their way that takes its time."""

import json
import sqlite3
import sys
import time
from contextlib import AsyncExitStack, closing

import anyio
import anyio.to_thread
import pytest
from support import writing
from support.served import on_sqlite

PROCESSES = 8
SECONDS = 10
READS_FOR_S = 2.0
RESTS_FOR_S = 1.0
PATIENCE_S = 120


async def line_of(process):
    with anyio.fail_after(PATIENCE_S):
        said = b""
        while not said.endswith(b"\n"):
            said += await process.stdout.receive()
    return json.loads(said)


def read_slowly(path, until):
    """Hold the file open for reading, again and again: whoever wants to write has to wait for that."""
    with closing(sqlite3.connect(path, timeout=30)) as database:
        while time.monotonic() < until:
            database.execute("BEGIN")
            database.execute("SELECT COUNT(*) FROM events").fetchone()
            time.sleep(READS_FOR_S)
            database.rollback()
            time.sleep(RESTS_FOR_S)


@pytest.mark.slow
@on_sqlite
@pytest.mark.fault("F40", how="real")
async def test_eight_processes_that_write_to_one_file_around_a_slow_reader_store_everything(open_world):
    async with open_world() as world, world.host() as host, AsyncExitStack() as stack:
        settings = world.folder / "settings.json"
        settings.write_text(json.dumps(world.given()))
        users = [f"user{number}" for number in range(PROCESSES)]
        processes = []
        for user in users:
            command = [sys.executable, writing.__file__, str(settings), user, str(SECONDS)]
            processes.append(await stack.enter_async_context(await anyio.open_process(command, stderr=None)))
        for one in processes:
            assert await line_of(one) == {"is_ready": True}
        for one in processes:
            await one.stdin.send(b"\n")
        await anyio.to_thread.run_sync(read_slowly, world.folder / "soulwatch.db", time.monotonic() + SECONDS)
        said = [await line_of(one) for one in processes]

        assert [each["errors"] for each in said] == [{}] * PROCESSES
        for user, each in zip(users, said, strict=True):
            events = await host.events(user, limit=100_000)
            assert sorted(event.data["number"] for event in events) == sorted(each["stored"])
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
        counts = [len(each["stored"]) for each in said]
        assert all(counts), counts
        print(f"writes: {sum(counts)}, by process {counts}; longest waits {[each['longest'] for each in said]} s")
