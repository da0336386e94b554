"""A platform that cannot revoke a grant at once when its account is disconnected: asked again, for a few seconds."""

from datetime import timedelta

import httpx
import pytest
from support.refreshing import Interrupted, change, expire, host_with, impatient, journal
from support.served import on_sqlite
from support.world import AT_ONCE

from soulwatch import SoulwatchError
from soulwatch.testing.clock import PlayedClock

pytestmark = on_sqlite
GONE = ("disconnected", None, None, None)


class Hurried(PlayedClock):
    """A clock that who sleeps moves on; before that, somebody may look around."""

    def __init__(self, start):
        super().__init__(start)
        self.waits = []
        self.look = None

    async def sleep(self, seconds):
        self.waits.append(seconds)
        if self.look:
            await self.look()
        await self.advance(seconds)


@pytest.fixture
def clock():
    return Hurried(PlayedClock().now())


def asked(world):
    return len(world.sandbox.requests.of("sandbox", "/revoke", "POST"))


@pytest.fixture
async def ending(open_world, clock):
    """Connects, lets things go wrong at the revocation endpoint, and disconnects: what is said of it, and the world."""
    async with open_world() as world, world.host(policy=AT_ONCE, clock=clock) as host:

        async def end(*faults, way=None):
            connection = await world.connect(host)
            for kind, about in faults:
                world.sandbox.faults.add(kind, path="/revoke", **about)
            if way is not None:
                way.inner = host.platforms.token_way("sandbox")._inner
                impatient(host, 30, way)

            async def is_gone_here_already():
                row = await host.accounts.row(connection.id)
                assert (row.status, row.access_token, row.refresh_token, row.sealed_key) == GONE

            clock.look = is_gone_here_already
            confirmed = await host.accounts.disconnect(connection.id)
            await is_gone_here_already()
            return confirmed, world

        yield end


@pytest.mark.parametrize("kind", ["status", "drop", "lose_answer"])
async def test_a_platform_that_is_away_for_a_moment_still_forgets_the_grant(ending, clock, kind):
    confirmed, world = await ending((kind, {"times": 1}))
    assert (confirmed, clock.waits) == (True, [1])
    assert [grant.revoked for grant in world.sandbox.grants.of()] == [True]


async def test_a_platform_that_stays_away_is_asked_three_times_and_nobody_is_told_that_it_confirmed(ending, clock):
    confirmed, world = await ending(("status", {"times": None}))
    assert (confirmed, clock.waits, asked(world)) == (False, [1, 3], 3)
    assert [grant.revoked for grant in world.sandbox.grants.of()] == [False]


async def test_it_is_waited_for_as_long_as_the_platform_says(ending, clock):
    at_two = {"times": 2, "retry_after": clock.now().replace(second=2)}
    confirmed, world = await ending(("status", at_two))
    assert (confirmed, asked(world)) == (True, 3)
    assert clock.waits == [2, 0]


async def test_it_is_not_waited_for_longer_than_somebody_would_who_disconnects(ending, clock):
    later = {"times": None, "retry_after": clock.now().replace(second=10)}
    confirmed, world = await ending(("status", later))
    assert (confirmed, clock.waits, asked(world)) == (False, [], 1)


async def test_what_is_refused_is_not_asked_again(ending, clock):
    confirmed, world = await ending(("status", {"times": None, "status": 400}))
    assert (confirmed, clock.waits, asked(world)) == (False, [], 1)


class Slow(httpx.AsyncBaseTransport):
    """A way on which everything takes nine seconds, and then fails."""

    inner: httpx.AsyncBaseTransport

    def __init__(self, clock):
        self.clock = clock
        self.asked = 0

    async def handle_async_request(self, request):
        self.asked += 1
        await self.clock.advance(9)
        raise httpx.ConnectTimeout("no answer", request=request)

    async def aclose(self):
        await self.inner.aclose()


async def test_waiting_for_answers_counts_too(ending, clock):
    slow = Slow(clock)
    confirmed, _ = await ending(way=slow)
    assert (confirmed, clock.waits, slow.asked) == (False, [], 1)


async def test_who_is_disconnected_leaves_no_key_in_memory(world):
    async with world.host() as host:
        connection = await world.connect(host)
        await host.tokens.fresh(connection.id)
        key = (await host.accounts.row(connection.id)).sealed_key
        assert key in host.vault._held
        assert await host.accounts.disconnect(connection.id)

        assert key not in host.vault._held


async def test_a_token_in_an_answer_that_nobody_could_read_is_revoked_too(open_world, monkeypatch):
    async def break_down(_token):
        raise RuntimeError("at fault")

    connector = Interrupted(after=break_down)
    async with open_world(rotation="strict") as world, host_with(world, connector) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        with pytest.raises(SoulwatchError):
            await host.tokens.fresh(connection.id)
        assert [attempt.state for attempt in await journal(host, connection)] == ["received"]
        connector.after = None
        revoked = []

        async def revoke(_platform, token):
            revoked.append(token.refresh)
            return True

        monkeypatch.setattr(host.platforms, "revoke", revoke)
        before = host.tokens._safe.open(await host.accounts.row(connection.id)).refresh
        assert await host.accounts.disconnect(connection.id)
        assert len(revoked) == 2
        assert (revoked[0] != before, revoked[1]) == (True, before)


async def test_where_a_crash_may_have_left_a_token_that_nobody_knows_nothing_is_confirmed(open_world):
    async with open_world(rotation="strict") as world, world.host(AT_ONCE) as host:
        connection = await world.connect(host)
        await host.tokens._claims.claim(connection.id)
        await change(host, connection, lease_until=host.clock.now() - timedelta(seconds=1))
        assert not await host.accounts.disconnect(connection.id)
