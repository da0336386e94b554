"""A host that dies at every step there is: the next one finds its way back."""

import pytest
from sqlalchemy import text
from support.refreshing import expire, is_good, journal, played, refreshes
from support.served import on_sqlite
from support.stepping import Gone, Steps
from support.world import WITHOUT_WAITING

LONG_ENOUGH_S = 61
"""A claim of a host that died is over then."""


async def dies(world, clock, step, work):
    """A host that dies at this step of its work; the connection, and where it died, or None where it did not."""
    async with world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host, user=f"user {step}")
        await expire(world, host, connection)
        world.sandbox.requests.clear()
        steps = Steps(host)
        steps.die_at(step)
        try:
            await work(host, connection)
        except Gone as gone:
            return connection, str(gone)
        return connection, None


def refresh(host, connection):
    return host.tokens.fresh(connection.id)


def poll(host, connection):
    return host.poll_connection(connection.id, "archive")


@pytest.mark.fault("F06")
@pytest.mark.parametrize(
    ("database_url", "rotation"),
    [("sqlite", "grace"), ("sqlite", "strict"), ("postgres", "strict")],
    indirect=["database_url"],
)
async def test_wherever_a_host_dies_in_a_refresh_only_an_answer_that_nobody_had_stored_can_be_lost(
    open_world, rotation
):
    clock, died_at, lost = played(), [], []
    async with (
        open_world(rotation=rotation, grace=2 * LONG_ENOUGH_S, now=clock.now) as world,
        world.host(WITHOUT_WAITING, clock=clock) as host,
    ):
        for step in range(100):
            connection, where = await dies(world, clock, step, refresh)
            if where is None:
                break
            died_at.append(where)
            states = [attempt.state for attempt in await journal(host, connection)]
            was_unstored = bool(refreshes(world)) and states == ["intent"]
            await clock.advance(LONG_ENOUGH_S)
            await host.sweeper.recover()
            await host.sweeper.sweep()
            row = await host.accounts.row(connection.id)
            assert (row.status, row.lease_until) == ("connected", None), where
            assert not {"intent", "received"} & {one.state for one in await journal(host, connection)}, where
            if row.reason is None:
                assert is_good(world, await host.tokens.fresh(connection.id)), where
                assert len(refreshes(world)) == (2 if was_unstored else 1), where
            else:
                lost.append(where)
                assert was_unstored, where
                assert row.is_ambiguous, where
            await host.accounts.disconnect(connection.id)

    assert {"before a write", "before its commit", "after a write", "before POST /sandbox/token"} <= set(died_at)
    assert len(died_at) > 10
    unstored = {"after POST /sandbox/token", "before a write", "before its commit"}
    assert set(lost) == (unstored if rotation == "strict" else set())


ITEMS = 250
COUNTED = """
    SELECT COUNT(*) AS rows, COUNT(DISTINCT item_key) AS items,
           (SELECT is_whole FROM polls WHERE connection_id = :id AND data_type = 'archive') AS is_whole
    FROM user_platform_data WHERE connection_id = :id
"""


async def counted(host, connection):
    async with host.database.reading() as transaction:
        return (await transaction.execute(text(COUNTED), {"id": connection.id})).one()


@pytest.mark.fault("F30")
@on_sqlite
async def test_wherever_a_host_dies_in_a_poll_each_item_is_there_once_and_none_is_passed_over(open_world):
    clock, died_at = played(), []
    async with (
        open_world(rotation="none", archive_size=ITEMS, token_life=86400, now=clock.now) as world,
        world.host(WITHOUT_WAITING, clock=clock) as host,
    ):
        for step in range(200):
            connection, where = await dies(world, clock, step, poll)
            if where is None:
                break
            died_at.append(where)
            await clock.advance(LONG_ENOUGH_S)
            found = await counted(host, connection)
            assert not found.is_whole or found.rows == ITEMS, where
            [outcome] = await poll(host, connection)
            assert (outcome.problem, outcome.new) == (None, ITEMS - found.rows), where
            assert tuple(await counted(host, connection)) == (ITEMS, ITEMS, True), where
            events = await host.events(connection.user, limit=1000)
            assert sum(event.data["count"] for event in events if event.type == "new_data") == ITEMS, where

    assert {"after GET /sandbox/v1/archive", "before its commit", "after a write"} <= set(died_at)
