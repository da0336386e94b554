import faulthandler
import json
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from support import calling
from support.refreshing import change, expire, is_good, journal, refreshes, statuses

PROCESSES = 8
CALLERS = 125
ROUNDS = 20
PATIENCE_S = 120


class Callers:
    """One process of callers."""

    def __init__(self, process):
        self.process = process
        self._lines = process.stdout
        self._rest = b""

    async def says(self):
        with anyio.fail_after(PATIENCE_S):
            while b"\n" not in self._rest:
                self._rest += await self._lines.receive()
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def call(self):
        await self.process.stdin.send(b"\n")


@asynccontextmanager
async def callers_of(world):
    """So many processes on one database, each past its start."""
    settings = world.folder / "settings.json"
    settings.write_text(json.dumps(world.given()))
    command = [sys.executable, calling.__file__, str(settings), str(CALLERS)]
    async with AsyncExitStack() as stack:
        started = [
            Callers(await stack.enter_async_context(await anyio.open_process(command, stderr=None)))
            for _ in range(PROCESSES)
        ]
        for one in started:
            assert await one.says() == {"is_ready": True}
        try:
            yield started
        finally:
            for one in started:
                one.process.kill()


async def all_at_once(started):
    """What the callers of all processes were given, and which errors they heard."""
    for one in started:
        await one.call()
    tokens, errors = Counter(), Counter()
    for one in started:
        heard = await one.says()
        tokens.update(heard["tokens"])
        errors.update(heard["errors"])
    return tokens, errors


@pytest.mark.slow
@pytest.mark.fault("F01", "F03", how="real")
async def test_a_thousand_callers_in_eight_processes_cost_one_refresh_each_time_and_are_given_one_token(open_world):
    faulthandler.cancel_dump_traceback_later()  # on a busy machine it takes minutes; each answer has a limit of its own
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        given = []
        async with callers_of(world) as started:
            for number in range(1, ROUNDS + 1):
                await expire(world, host, connection)
                await change(host, connection, last_attempt_at=None)
                tokens, errors = await all_at_once(started)
                assert not errors
                assert list(tokens.values()) == [PROCESSES * CALLERS]
                assert len(refreshes(world)) == number
                given += tokens
        assert len(set(given)) == ROUNDS
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        assert await statuses(host) == ["connected"]
        assert [attempt.state for attempt in await journal(host, connection)] == ["applied"] * ROUNDS
