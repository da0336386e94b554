"""An hour with a wrong client secret. The long form of it, on both kinds of database, takes a quarter of an hour:

TEST_CONNECTIONS=10000 pytest -s -o faulthandler_timeout=0 tests/faults/test_wrong_secret.py
"""

import logging
import os
from datetime import timedelta

import pytest
from sqlalchemy import func, or_, select
from support.many import give, granted_by, refreshing_host
from support.skipping import SkippingClock

from soulwatch.host.store.tables import connections

LONG = os.environ.get("TEST_CONNECTIONS")
COUNT = int(LONG or 200)
WRONG = {"sandbox": {"id": "invented-sandbox-client", "secret": "wrong"}}
ALREADY_DUE = timedelta(minutes=55)


async def unwell(host, since):
    """How many connections have no new token since then, or still give a reason."""
    query = select(func.count()).where(or_(connections.c.token_issued_at < since, connections.c.reason.is_not(None)))
    async with host.database.reading() as transaction:
        return (await transaction.execute(query)).scalar_one()


async def statuses(host):
    async with host.database.reading() as transaction:
        return set((await transaction.execute(select(connections.c.status))).scalars())


def most_within(moments, span):
    """The most of them that fall into any span of time."""
    return max(sum(begin <= one < begin + span for one in moments) for begin in moments)


@pytest.mark.slow
@pytest.mark.fault("F17", how="played")
@pytest.mark.parametrize("database_url", ["sqlite", "postgres"] if LONG else ["sqlite"], indirect=True)
async def test_an_hour_with_a_wrong_secret_costs_few_requests_and_nobody_their_connection(open_world, caplog):
    clock = SkippingClock()
    async with open_world(token_life=3600, rotation="strict", now=clock.now) as world, clock.running():
        async with refreshing_host(world.settings(clients=WRONG), clock) as host:
            clock.watch(host)
            begun = clock.now()
            await give(host, granted_by(world.sandbox, COUNT), lambda _: begun - ALREADY_DUE)
            with caplog.at_level(logging.ERROR, "soulwatch"):
                async with host.working():
                    await clock.sleep(3600)
            assert await statuses(host) == {"connected"}
        asked = [entry.at for entry in world.sandbox.token_requests("sandbox")]
        assert 60 <= len(asked) <= 70
        most = most_within(asked, timedelta(minutes=5))
        assert most <= 10
        assert len([record for record in caplog.records if "OPERATOR" in record.message]) == 1
        async with refreshing_host(world.settings(), clock) as host:
            clock.watch(host)
            mended, skipped_s = clock.now(), clock.skipped_s
            async with host.working():
                while await unwell(host, mended):
                    assert clock.skipped_s - skipped_s < 180
                    await clock.sleep(1)
            assert await statuses(host) == {"connected"}
        took, idle_s = clock.now() - mended, clock.skipped_s - skipped_s
        print(
            f"{COUNT} connections, {len(asked)} requests in the hour; well {took} after the mend, {idle_s:.0f} s idle"
        )
        assert len(world.sandbox.token_requests("sandbox", "refresh_token")) == COUNT
