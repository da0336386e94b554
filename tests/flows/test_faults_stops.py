"""A process that is stopped anywhere in a refresh, longer than its claim lasts, and goes on as if nothing had been."""

from contextlib import suppress

import pytest
from support.refreshing import expire, is_good, journal, played, refreshes
from support.served import on_sqlite
from support.stepping import Steps
from support.world import WITHOUT_WAITING

from soulwatch import SoulwatchError

pytestmark = [on_sqlite, pytest.mark.fault("F02")]
CLAIM_IS_OVER_S = 61


@pytest.mark.parametrize("rotation", ["grace", "strict"])
async def test_whoever_is_stopped_at_any_step_of_a_refresh_sends_and_writes_nothing_afterwards(open_world, rotation):
    clock, stopped_at, lost = played(), [], set()
    usual = {"policy": WITHOUT_WAITING, "clock": clock}
    async with (
        open_world(rotation=rotation, grace=3600, old_access_dies=True, now=clock.now) as world,
        world.host(**usual) as slow,
        world.host(**usual) as quick,
    ):
        steps = Steps(slow)
        for step in range(100):
            connection = await world.connect(slow, user=f"user {step}")
            await expire(world, slow, connection)
            world.sandbox.requests.clear()
            sent = []

            async def meanwhile(connection=connection, sent=sent):
                if steps.taken[-1] == "before its commit":
                    return  # there it has the database to itself, and nobody else gets anywhere
                sent.extend(refreshes(world))
                await clock.advance(CLAIM_IS_OVER_S)
                await quick.sweeper.recover()
                with suppress(SoulwatchError):
                    await quick.tokens.fresh(connection.id)
                sent.append(len(refreshes(world)))

            steps.do_at(step, meanwhile)
            with suppress(SoulwatchError):
                await slow.tokens.fresh(connection.id)
            if not steps.was_reached:
                break
            where = steps.taken[step]
            if sent:
                stopped_at.append(where)
                assert len(refreshes(world)) == sent[-1], where
            await quick.sweeper.recover()
            assert not {"intent", "received"} & {attempt.state for attempt in await journal(quick, connection)}, where
            row = await quick.accounts.row(connection.id)
            assert row.status == "connected", where
            if row.reason is not None or not is_good(world, await quick.tokens.fresh(connection.id)):
                lost.add(where)  # the platform was asked again with a token that it had taken back
            await quick.accounts.disconnect(connection.id)

    assert {"after a write", "before POST /sandbox/token", "after POST /sandbox/token"} <= set(stopped_at)
    assert lost == ({"after POST /sandbox/token", "before a write"} if rotation == "strict" else set())
