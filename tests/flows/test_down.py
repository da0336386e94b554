"""A platform that is down: asked by one, once a minute, and noticed by all when it answers."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from support.refreshing import change, expire, impatient, is_good, played, refreshes
from support.served import on_sqlite
from support.world import WITHOUT_WAITING

from soulwatch import Connection, RateLimited, Unavailable
from soulwatch.host.host import Host

LOOKS_EVERY_S = 5
PEOPLE = {f"user{number}": person for number, person in enumerate(("mira", "oskar", "juno") * 4)}


async def connected(world, host) -> list[Connection]:
    """Twelve connections whose tokens have ended."""
    made = [await world.connect(host, user=user, person=person) for user, person in PEOPLE.items()]
    for connection in made:
        await expire(world, host, connection)
    return made


async def sweep_for(host: Host, clock, seconds: int) -> None:
    """As the background does, though less often."""
    for _ in range(seconds // LOOKS_EVERY_S):
        await host.sweeper.sweep()
        await clock.advance(LOOKS_EVERY_S)


@pytest.mark.fault("F10")
@pytest.mark.parametrize("kind", ["status", "drop"])
@on_sqlite
async def test_after_an_hour_of_errors_all_are_well_within_a_minute_and_nobody_was_told_to_connect(open_world, kind):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        made = await connected(world, host)
        fault = {"status": 503} if kind == "status" else {}
        world.sandbox.faults.add(kind, path="/token", times=None, **fault)
        await sweep_for(host, clock, 600)
        asked = len(refreshes(world))
        await sweep_for(host, clock, 3000)

        assert len(refreshes(world)) - asked <= 55 * (1 + 2)
        assert {row.status for row in await host.accounts.rows()} == {"connected"}
        with pytest.raises(Unavailable):
            await host.tokens.fresh(made[0].id)

        world.sandbox.faults.clear()
        await sweep_for(host, clock, 60 + LOOKS_EVERY_S)  # a minute, and the next look after it
        for connection in made:
            assert is_good(world, await host.tokens.fresh(connection.id))
        assert {row.reason for row in await host.accounts.rows()} == {None}


@on_sqlite
async def test_a_token_that_may_have_been_used_is_sent_again_promptly_though_the_platform_is_down(open_world):
    clock = played()
    async with open_world(now=clock.now, grace=10) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        made = await connected(world, host)
        world.sandbox.faults.add("lose_answer", path="/token", times=12)
        await host.sweeper.sweep()
        for _ in range(4):
            await clock.advance(1)
            await host.sweeper.sweep()

        assert not [grant for grant in world.sandbox.grants.of() if grant.revoked]
        for connection in made:
            assert is_good(world, await host.tokens.fresh(connection.id))


@on_sqlite
async def test_one_who_has_no_answer_among_many_who_have_is_no_outage(world):
    async with world.host() as host:
        made = await connected(world, host)
        world.sandbox.faults.add("status", path="/token", status=500, times=2)
        await host.sweeper.sweep()

        assert await host.breakers.waiting() == (set(), set())
        assert sorted({row.reason for row in await host.accounts.rows()}, key=str) == [None, "unavailable"]
        assert len(refreshes(world)) == len(made)


@pytest.mark.fault("F22")
@on_sqlite
async def test_the_end_of_an_outage_does_not_hurry_the_second_look_at_a_grant_that_was_called_dead(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        [doubted, *others] = await connected(world, host)
        second_look = clock.now() + timedelta(minutes=10)
        doubt = {"doubted_at": clock.now(), "reason": "unavailable", "next_refresh_at": second_look}
        await change(host, doubted, **doubt)
        world.sandbox.faults.add("status", path="/token", times=None, status=503)
        await host.sweeper.sweep()
        world.sandbox.faults.clear()
        await sweep_for(host, clock, 65)

        for connection in others:
            assert is_good(world, await host.tokens.fresh(connection.id))
        row = await host.accounts.row(doubted.id)
        assert {name: getattr(row, name) for name in doubt} == doubt


class LimitOf(httpx.AsyncBaseTransport):
    """A way on which one token alone is limited."""

    def __init__(self, inner: httpx.AsyncBaseTransport, refresh_token: str) -> None:
        self._inner = inner
        self._limited = refresh_token

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._limited in (await request.aread()).decode():
            return httpx.Response(429, headers={"Retry-After": "3600"}, request=request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.mark.fault("F14")
@on_sqlite
async def test_a_limit_of_one_connection_holds_up_no_other(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        first, *others = await connected(world, host)
        limited = host.tokens._safe.open(await host.accounts.row(first.id)).refresh
        impatient(host, 20, LimitOf(host.platforms.token_way("sandbox")._inner, limited))
        with pytest.raises(RateLimited):
            await host.tokens.fresh(first.id)
        for other in others:
            assert is_good(world, await host.tokens.fresh(other.id))
