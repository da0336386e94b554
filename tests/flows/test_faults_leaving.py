"""A connection that is ended or made anew while a refresh or a poll of it is anywhere on its way."""

import asyncio
from contextlib import suppress
from functools import partial

import pytest
from sqlalchemy import text
from support.refreshing import Gate, expire, is_good, journal, refreshes
from support.served import on_sqlite
from support.stepping import Steps

from soulwatch import NeedsReauth, SoulwatchError

pytestmark = [on_sqlite, pytest.mark.fault("F63")]
ENOUGH = 200
LEFT = """
    SELECT (SELECT COUNT(*) FROM sealed_data_keys) AS keys,
           (SELECT COUNT(*) FROM refresh_attempts) AS attempts,
           (SELECT COUNT(*) FROM platform_connections WHERE access_token IS NOT NULL) AS tokens,
           (SELECT COUNT(*) FROM platform_connections WHERE lease_until IS NOT NULL) AS claims,
           (SELECT COUNT(*) FROM polls WHERE lease_until IS NOT NULL) AS polls
"""
ITEMS = "SELECT COUNT(*), COUNT(DISTINCT item_key) FROM user_platform_data WHERE connection_id = :id"


async def ask(host, query, **parameters):
    async with host.database.reading() as transaction:
        return tuple((await transaction.execute(text(query), parameters)).one())


async def meanwhile(steps, step, work, happens):
    """Let `work` come to a step; then something happens, and it goes on. False where it has no such step."""
    gate = Gate()
    steps.do_at(step, gate)
    task = asyncio.ensure_future(work())
    reached = asyncio.ensure_future(gate.reached.wait())
    await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    happening = asyncio.ensure_future(happens()) if steps.was_reached else None
    if happening is not None:
        # Where the work has the database to itself, what happens has to wait for it.
        await asyncio.wait({happening}, timeout=0.2)
    gate.open.set()
    with suppress(SoulwatchError):
        await task
    if happening is not None:
        await happening
    return happening is not None


def newest_grant(world):
    return world.sandbox.grants.of()[-1]


@pytest.mark.parametrize("is_confirmed", [True, False])
async def test_disconnected_at_any_step_of_a_refresh_nothing_of_it_comes_back(open_world, is_confirmed):
    late = []
    async with open_world(rotation="strict") as world, world.host() as host:
        steps = Steps(host)
        for step in range(ENOUGH):
            connection = await world.connect(host, user=f"user {step}")
            await expire(world, host, connection)
            world.sandbox.requests.clear()
            if not is_confirmed:
                world.sandbox.faults.add("status", path="/revoke", status=400)
            refresh, disconnect = (partial(do, connection.id) for do in (host.tokens.fresh, host.accounts.disconnect))
            if not await meanwhile(steps, step, refresh, disconnect):
                break
            where = steps.taken[step]
            assert await ask(host, LEFT) == (0, 0, 0, 0, 0), where
            assert (await host.accounts.row(connection.id)).next_refresh_at is None
            assert (await host.sweeper.recover(), await host.sweeper.sweep()) == (0, 0)
            with pytest.raises(NeedsReauth):
                await host.tokens.fresh(connection.id)
            told = await host.events(connection.user)
            assert told[-1].data.get("status") == "disconnected", where
            was_late = refreshes(world) and "token_refresh" not in {event.type for event in told}
            if is_confirmed or was_late:
                assert newest_grant(world).revoked, where
            late += [where] if was_late else []

    assert step > 10
    assert {"before POST /sandbox/token", "after POST /sandbox/token", "before a write"} <= set(late)


async def test_connected_again_at_any_step_of_a_refresh_the_new_grant_is_the_one_in_use(open_world):
    async with open_world(rotation="strict") as world, world.host() as host:
        steps = Steps(host)
        for step in range(ENOUGH):
            connection = await world.connect(host, user=f"user {step}")
            await expire(world, host, connection)
            again = partial(world.connect, host, user=connection.user)
            if not await meanwhile(steps, step, partial(host.tokens.fresh, connection.id), again):
                break
            where = steps.taken[step]
            assert await host.sweeper.recover() == 0, where
            assert not {"intent", "received"} & {attempt.state for attempt in await journal(host, connection)}, where
            token = await host.tokens.fresh(connection.id)
            assert is_good(world, token), where
            assert world.sandbox.grants.find("sandbox", token.refresh).id == newest_grant(world).id, where
            assert (await host.accounts.row(connection.id)).lease_until is None, where

    assert step > 10


async def test_disconnected_at_any_step_of_a_poll_it_stores_and_tells_nothing_more(open_world):
    async with open_world(rotation="strict", archive_size=150) as world, world.host() as host:
        steps = Steps(host)
        for step in range(ENOUGH):
            connection = await world.connect(host, user=f"user {step}")
            found = []

            async def disconnect(connection=connection, found=found):
                await host.accounts.disconnect(connection.id)
                found.append(await ask(host, ITEMS, id=connection.id))

            if not await meanwhile(steps, step, partial(host.poll_connection, connection.id, "archive"), disconnect):
                break
            where = steps.taken[step]
            assert await ask(host, LEFT) == (0, 0, 0, 0, 0), where
            assert [await ask(host, ITEMS, id=connection.id)] == found, where
            assert (await host.events(connection.user))[-1].data.get("status") == "disconnected", where
            assert await host.poller.claim_due(50) == []

    assert step > 10


async def test_connected_again_at_any_step_of_a_poll_each_item_is_there_once(open_world):
    async with open_world(rotation="strict", archive_size=150) as world, world.host() as host:
        steps = Steps(host)
        for step in range(ENOUGH):
            connection = await world.connect(host, user=f"user {step}")
            again = partial(world.connect, host, user=connection.user)
            if not await meanwhile(steps, step, partial(host.poll_connection, connection.id, "archive"), again):
                break
            where = steps.taken[step]
            [outcome] = await host.poll_connection(connection.id, "archive")
            assert outcome.problem is None, where
            assert await ask(host, ITEMS, id=connection.id) == (150, 150), where

    assert step > 10
