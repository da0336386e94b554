"""Who was overtaken meanwhile writes nothing, though what was seen is only one behind what is there now."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update
from support.refreshing import change
from support.served import on_sqlite

from soulwatch import Cursor
from soulwatch.host.store import connections, polls, tables

FENCE = 5
TOLD_BEFORE = 3
WRITES = {
    "a poll that is over": lambda to, _, poll, behind, now: polls.finish(
        to, poll, FENCE - behind, due_at=now, cursor=Cursor("further"), now=now
    ),
    "a poll that failed": lambda to, _, poll, behind, now: polls.put_off(
        to, poll, FENCE - behind, due_at=now, reason="unavailable", message="late"
    ),
    "a poll that is handed back": lambda to, _, poll, behind, _now: polls.hand_back(to, poll, FENCE - behind),
    "a poll that starts over": lambda to, _, poll, behind, _now: polls.start_over(to, poll, FENCE - behind),
    "a poll that goes on": lambda to, _, poll, behind, now: polls.hold(to, poll, FENCE - behind, now),
    "a connection that is revived": lambda to, whose, _, behind, now: connections.revive(
        to, whose, FENCE - behind, now
    ),
    "a claim whose owner is gone": lambda to, whose, _, behind, _now: connections.free(to, whose, FENCE - behind),
    "a claim that is given back": lambda to, whose, _, behind, _now: connections.let_go(to, whose, FENCE - behind),
    "an end that is foretold": lambda to, whose, _, behind, _now: connections.foretell(
        to, whose, TOLD_BEFORE + behind, 1
    ),
    "an end that is foretold for the first time": lambda to, whose, _, behind, _now: connections.foretell(
        to, whose, None if behind else TOLD_BEFORE, 1
    ),
}


async def everything(host):
    """The rows of connections and polls."""
    async with host.database.reading() as transaction:
        found = [
            (await transaction.execute(select(table).order_by(table.c.id))).all()
            for table in (tables.connections, tables.polls)
        ]
    return [tuple(row) for rows in found for row in rows]


@pytest.mark.fault("F08")
@pytest.mark.parametrize("behind", [0, 1])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@on_sqlite
async def test_only_who_saw_how_it_is_now_writes(world, write, behind):
    async with world.host() as host:
        connection = await world.connect(host)
        later = host.clock.now() + timedelta(minutes=1)
        claimed = {"fence": FENCE, "lease_owner": "another host", "lease_until": later}
        await change(host, connection, **claimed, status="needs_reauth", foretold_days=TOLD_BEFORE)
        async with host.database.writing() as transaction:
            await transaction.execute(update(tables.polls).values(**claimed, cursor="here", etag="this", is_whole=True))
            [poll, *_] = await polls.of_connections(transaction, [connection.id])
        before = await everything(host)
        async with host.database.writing() as transaction:
            await write(transaction, connection.id, poll.id, behind, later + timedelta(minutes=1))

        assert (await everything(host) == before) is bool(behind)
