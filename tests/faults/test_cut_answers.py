"""Answers of the token endpoint that break off on their way, after any number of bytes, with a goodbye or a reset.

TEST_EVERY_BYTE=1 cuts after each single byte; without it after those that matter, and some between.
"""

import os
from contextlib import asynccontextmanager

import pytest
from support.proxy import Proxy
from support.refreshing import expire, is_good, journal, played, refreshes
from support.served import on_sqlite
from support.stocktaking import revoked

from soulwatch import NeedsReauth, Unavailable
from soulwatch.host.timing import RefreshPolicy

pytestmark = [on_sqlite, pytest.mark.parametrize("by_reset", [False, True], ids=["goodbye", "reset"])]
EVERY_BYTE = bool(os.environ.get("TEST_EVERY_BYTE"))
GRACE_S = 10
A_WHILE_S = 61
STATUS_LINE = len(b"HTTP/1.1 200 OK\r\n")


def places(answer):
    """After how many bytes an answer is cut: none, in the midst of each part, at both sides of each end; all of it."""
    if EVERY_BYTE:
        return range(len(answer) + 1)
    head, whole = answer.index(b"\r\n\r\n") + 4, len(answer)
    ends = [end + by for end in (STATUS_LINE, head, whole) for by in (-2, -1, 0, 1)]
    some = [*range(0, 9, 4), *range(STATUS_LINE, whole, (whole - STATUS_LINE) // 10)]
    return sorted({place for place in (1, 12, head - 3, *ends, *some) if place <= whole})


@pytest.fixture
def open_proxied(open_world):
    """A world whose token answers come by way of a proxy, and a clock to put forward to the next try."""

    @asynccontextmanager
    async def open_(**habits):
        clock = played()
        async with open_world(now=clock.now, **habits) as world, Proxy(world.url).running() as proxy:
            platform = {"api_url": world.url, "oauth_url": proxy.url, "schedules": {}}
            given = {"platforms": {"sandbox": platform}}
            async with world.host(RefreshPolicy(), clock=clock, **given) as host:
                yield world, host, proxy, clock

    return open_


async def whole_answer(world, host, proxy, connection):
    """What there is to be cut."""
    seen = []
    proxy.cut(lambda answer: seen.append(answer) or len(answer), by_reset=False)
    await expire(world, host, connection)
    await host.tokens.fresh(connection.id)
    return seen[0]


async def fresh_in_the_end(host, clock, connection):
    """The token that all the tries lead to, and how many they were. Raises NeedsReauth."""
    tries = 0
    while True:
        tries += 1
        try:
            return await host.tokens.fresh(connection.id), tries
        except Unavailable:
            row = await host.accounts.row(connection.id)
            assert row.status == "connected"
            await clock.advance(max((row.next_refresh_at - clock.now()).total_seconds(), 0))


@pytest.mark.slow
@pytest.mark.fault("F05", how="real")
async def test_wherever_an_answer_breaks_off_its_token_is_asked_for_again_while_the_platform_still_gives_it(
    open_proxied, by_reset
):
    async with open_proxied(rotation="grace", grace=GRACE_S) as (world, host, proxy, clock):
        connection = await world.connect(host)
        answer = await whole_answer(world, host, proxy, connection)
        for place in places(answer):
            await clock.advance(A_WHILE_S)
            await expire(world, host, connection)
            proxy.cut(lambda answer, place=place: min(place, len(answer) - 1), by_reset=by_reset, times=2)
            token, tries = await fresh_in_the_end(host, clock, connection)
            assert (tries, is_good(world, token)) == (3, True), place
            states = [attempt.state for attempt in await journal(host, connection)]
            assert states[-3:] == ["unknown", "unknown", "applied"], place
            row = await host.accounts.row(connection.id)
            assert (row.status, row.reason, row.is_ambiguous) == ("connected", None, False), place
            assert not revoked(world), place


@pytest.mark.fault("F05", how="real")
async def test_an_answer_that_came_to_its_end_counts_however_the_connection_ends(open_proxied, by_reset):
    async with open_proxied(rotation="strict") as (world, host, proxy, clock):
        connection = await world.connect(host)
        await expire(world, host, connection)
        proxy.cut(len, by_reset=by_reset)
        token, tries = await fresh_in_the_end(host, clock, connection)
        assert (tries, len(refreshes(world)), is_good(world, token)) == (1, 1, True)
        assert not proxy.cuts


@pytest.mark.slow
@pytest.mark.fault("F05", how="real")
async def test_where_there_was_one_answer_only_its_user_is_told_that_it_got_lost_and_nothing_else(
    open_proxied, by_reset
):
    async with open_proxied(rotation="strict") as (world, host, proxy, clock):
        first = await world.connect(host, user="nobody")
        answer = await whole_answer(world, host, proxy, first)
        for place in places(answer)[:-1]:
            user = f"user{place}"
            connection = await world.connect(host, user=user)
            await clock.advance(A_WHILE_S)
            await expire(world, host, connection)
            proxy.cut(lambda _, place=place: place, by_reset=by_reset)
            with pytest.raises(NeedsReauth):
                await fresh_in_the_end(host, clock, connection)
            told = [event.data for event in await host.events(user) if event.type == "connection_status"]
            asked = [each["reason"] for each in told if each["status"] == "needs_reauth"]
            assert asked == ["ambiguous_rotation"], place
