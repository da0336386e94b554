from datetime import timedelta

import pytest
from sqlalchemy import func, select
from support.many import give, granted_by, refreshing_host
from support.served import on_sqlite
from support.skipping import SkippingClock

from soulwatch.host.settling import FROM_SEVERAL
from soulwatch.host.store.tables import connections

COUNT = 300
ALREADY_DUE = timedelta(minutes=55)
RETRY_AFTER_S = 30
ASKS_FOR_S = 300


async def renewed(host, pose, since):
    """How many connections have a new token since then."""
    is_so = (connections.c.platform == pose) & (connections.c.token_issued_at > since)
    async with host.database.reading() as transaction:
        return (await transaction.execute(select(func.count()).where(is_so))).scalar_one()


async def all_renewed(host, pose, clock, since, count, within_s):
    """Wait until they have; `within_s` is the most that may go by without anything to do."""
    latest = clock.skipped_s + within_s
    while await renewed(host, pose, since) < count:
        assert clock.skipped_s < latest
        await clock.sleep(1)


@on_sqlite
@pytest.mark.slow
@pytest.mark.fault("F14", how="played")
async def test_a_platform_that_asks_to_wait_is_asked_by_few_of_its_many_and_no_other_platform_waits(open_world):
    clock = SkippingClock()
    async with open_world(token_life=3600, now=clock.now) as world, clock.running():
        async with refreshing_host(world.settings(), clock) as host:
            clock.watch(host)
            begun = clock.now()
            await give(host, granted_by(world.sandbox, COUNT), lambda _: begun - ALREADY_DUE)
            await give(host, granted_by(world.sandbox, 20, "github"), lambda _: begun - ALREADY_DUE, "github")
            world.sandbox.faults.add("limited", pose="sandbox", path="/token", times=None, retry_after=RETRY_AFTER_S)
            async with host.working():
                await all_renewed(host, "github", clock, begun, 20, within_s=10)
                await clock.sleep(ASKS_FOR_S)
                asked = len(world.sandbox.token_requests("sandbox"))
                world.sandbox.faults.clear()
                mended = clock.now()
                await all_renewed(host, "sandbox", clock, mended, COUNT, within_s=180)
                took = clock.now() - mended
            async with host.database.reading() as transaction:
                statuses = (await transaction.execute(select(connections.c.status).distinct())).scalars().all()
        print(f"{COUNT} connections: {asked} requests in five minutes of 429; all renewed {took} after")
        assert statuses == ["connected"]
        # As many as make it a matter of all, those that had left by then, and one whenever the wait is over.
        assert asked <= FROM_SEVERAL + host.platforms.at_once("sandbox") + ASKS_FOR_S / RETRY_AFTER_S
