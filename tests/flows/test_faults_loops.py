"""Background work that dies, in whatever way: it is started again, and somebody hears of what shows no life."""

import asyncio

import anyio
import anyio.lowlevel
import pytest
from support.refreshing import change
from support.served import on_sqlite, until

pytestmark = [on_sqlite, pytest.mark.fault("F60")]


class Dying:
    """Stands in for what a loop calls: the first call ends badly, the rest do as before."""

    def __init__(self, trouble, then):
        self.trouble, self.then, self.calls = trouble, then, 0

    def _count(self):
        self.calls += 1
        if self.calls == 1:
            raise self.trouble


class DyingSoon(Dying):
    def __call__(self, *given):
        self._count()
        return self.then(*given)


class DyingLater(Dying):
    async def __call__(self, *given):
        await anyio.lowlevel.checkpoint()
        self._count()
        return await self.then(*given)


def put_in(host, loop, trouble):
    where, name, kind = {
        "refreshing": (host.sweeper, "next_due", DyingLater),
        "polling": (host.poller, "claim_due", DyingLater),
        "ticker": (host.worker._ticker._scheduler, "run_pending", DyingSoon),
    }[loop]
    dying = kind(trouble, getattr(where, name))
    setattr(where, name, dying)
    return dying


TROUBLES = {
    "an error": RuntimeError("out of the blue"),
    "several errors": ExceptionGroup("together", [ValueError("one"), KeyError("other")]),
    "a stray cancellation": asyncio.CancelledError(),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
@pytest.mark.parametrize("loop", ["refreshing", "polling", "ticker"])
async def test_a_loop_that_dies_is_started_again(world, loop, trouble, caplog):
    async with world.host() as host:
        connection = await world.connect(host)
        await host.poll_connection(connection.id)
        dying = put_in(host, loop, trouble)
        async with host.working():
            await until(lambda: dying.calls >= 2)
            await change(host, connection, next_refresh_at=host.clock.now())
            host.worker.wake()
            await until_refreshed(host, connection)
            assert host.worker.stale() == []
    assert [record.message for record in caplog.records if "started again" in record.message] == [
        f"{loop} stopped and is started again"
    ]


async def until_refreshed(host, connection):
    with anyio.fail_after(10):
        while (await host.accounts.row(connection.id)).generation == 1:
            await host.clock.sleep(0.01)


async def test_jobs_of_the_host_that_fail_come_again(world, monkeypatch):
    async with world.host() as host:
        jobs, heartbeats = host.worker._ticker._scheduler.get_jobs(), host.worker._ticker.heartbeats
        dying = DyingLater(RuntimeError("the first time"), host.access.prune)
        monkeypatch.setattr(host.access, "prune", dying)
        async with host.working():
            for turn in (1, 2):
                for job in jobs:
                    job.next_run = host.clock.now()
                await until(lambda turn=turn: dying.calls == turn)
            await until(lambda: all(heartbeats().values()))
