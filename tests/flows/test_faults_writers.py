"""Everything that writes to a connection's row beside a refresh: none of it touches the token."""

import re
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import event
from support.refreshing import change, expire, held_up, is_good, played
from support.world import WITHOUT_WAITING

from soulwatch import SoulwatchError
from soulwatch.host.store import connections

pytestmark = pytest.mark.fault("F08")
TOKEN = {"access_token", "refresh_token", "token_fingerprint", "token_expires_at", "generation"}
UPDATE = re.compile(r"UPDATE platform_connections SET (.*?) WHERE", re.DOTALL)


def overhear(host):
    """The columns that each statement on the table of connections sets."""
    heard = []

    def listen(_connection, _cursor, statement, *_):
        heard.extend(frozenset(re.findall(r"(\w+)=", columns)) for columns in UPDATE.findall(statement))

    event.listen(host.database.engine.sync_engine, "before_cursor_execute", listen)
    return heard


async def live_through_everything(world, host, other, clock):
    """Connected, polled, refreshed, refused, doubted, ended, foretold, unreadable, connected again, disconnected."""
    connection = await world.connect(host)
    await host.poll_connection(connection.id)
    await change(other, connection, grant_expires_at=clock.now() + timedelta(days=2))
    await host.forecast.look_ahead()
    for fault in ("status", "html", "invalid_client", "limited", "lose_answer"):
        await expire(world, other, connection)
        world.sandbox.faults.add(fault, path="/token")
        await tried(host, connection)
        await clock.advance(3700)
        await tried(host, connection)
    await change(other, connection, access_token=b"damaged")
    await tried(host, connection)
    await world.connect(host)
    await expire(world, other, connection)
    world.sandbox.revoke_user("mira")
    for _ in range(10):  # the first may still wait, for what went wrong before
        await tried(host, connection)
        await clock.advance(61)
    assert (await host.accounts.row(connection.id)).status == "needs_reauth"
    again = await world.connect(host)
    await host.accounts.disconnect(again.id)


async def tried(host, connection):
    try:
        await host.tokens.fresh(connection.id)
    except SoulwatchError as refused:
        return refused
    return None


async def test_a_statement_brings_a_whole_token_or_none_of_it(open_world):
    clock = played()
    usual = {"policy": WITHOUT_WAITING, "clock": clock}
    async with open_world(now=clock.now) as world, world.host(**usual) as host, world.host(**usual) as other:
        heard = overhear(host)
        await live_through_everything(world, host, other, clock)

    whole = {columns for columns in heard if columns & TOKEN}
    assert len(whole) == 3  # refreshed, connected again, disconnected
    assert all(columns >= TOKEN for columns in whole)
    others = frozenset.union(*(set(heard) - whole))
    assert {"last_sync", "foretold_days", "doubted_at", "status", "reason", "lease_until", "fence"} <= others


OTHERS = {
    "a poll that ends": lambda host, row: host.poll_connection(row.id, "notes"),
    "a grant that is going to end": lambda host, _row: host.forecast.look_ahead(),
    "a doubt": lambda host, row: write(host, connections.mark, row.id, row.fence, doubted_at=row.created_at),
    "a failure of somebody who came too late": lambda host, row: write(
        host, connections.let_go, row.id, row.fence - 1, fail_count=9, next_refresh_at=None
    ),
    "a claim of somebody who came too late": lambda host, row: write(
        host, connections.claim, row.id, "somebody", host.clock.now(), host.clock.now()
    ),
}


async def write(host, how, *what, **columns):
    async with host.database.writing() as transaction:
        return await how(transaction, *what, **columns)


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
async def test_what_is_written_in_the_middle_of_a_refresh_costs_nobody_the_new_token(open_world, other):
    async with open_world(rotation="strict") as world, world.host() as host, world.host() as second:
        connection = await world.connect(host)
        await host.tokens.fresh(connection.id)
        await change(host, connection, grant_expires_at=host.clock.now() + timedelta(days=2))
        gate = held_up(host)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: host.tokens.fresh(connection.id, is_asked_for=True))
            await gate.reached.wait()
            row = await second.accounts.row(connection.id)
            await other(second, row)
            gate.open.set()

        stored = await second.tokens.fresh(connection.id)
        assert (await second.accounts.row(connection.id)).generation == row.generation + 1
        assert is_good(world, stored)
        fresh, _ = await second.refresh_connection(connection.id)
        assert is_good(world, fresh)
        assert not world.sandbox.grants.of()[0].revoked
