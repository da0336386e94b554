"""Clocks that are wrong: set forward, set back, or simply others than the database's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.refreshing import change, expire, is_good, played, refreshes
from support.served import on_postgres, on_sqlite
from support.world import AT_ONCE

from soulwatch.host.agreed import AgreedClock
from soulwatch.host.clock import SystemClock
from soulwatch.host.timing import RefreshPolicy


@pytest.mark.fault("F31")
@pytest.mark.parametrize("hours", [-1, -720])
@on_sqlite
async def test_after_a_clock_was_set_back_what_it_had_passed_already_is_due(world, hours):
    clock = played()
    async with world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await host.poll_connection(connection.id)
        await host.clock_watch.look()
        await change(host, connection, lease_owner="somebody", lease_until=clock.now() + timedelta(seconds=60))

        clock.jump(hours * 3600)
        await host.clock_watch.look()

        row = await host.accounts.row(connection.id)
        assert row.next_refresh_at == clock.now()
        assert row.lease_until == clock.now() + timedelta(seconds=60)
        assert await host.poller.next_due() == clock.now()
        await clock.advance(61)
        assert await host.sweeper.sweep() == 1
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        assert await host.sweeper.sweep() == 0
        assert len(refreshes(world)) == 1


@pytest.mark.fault("F31")
@pytest.mark.parametrize("hours", [1, 720])
@on_sqlite
async def test_after_a_clock_was_set_forward_each_token_is_refreshed_once(world, hours):
    clock = played()
    async with world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        clock.jump(hours * 3600)
        for _ in range(5):
            await host.sweeper.sweep()
            await clock.advance(60)

        assert len(refreshes(world)) == 1
        assert (await host.accounts.row(connection.id)).status == "connected"


@pytest.mark.fault("F35")
@pytest.mark.parametrize("minutes", [-10, 10])
@on_postgres
async def test_a_host_whose_clock_is_wrong_goes_by_that_of_the_database(world, monkeypatch, minutes):
    async with world.host() as right:
        connection = await world.connect(right)
        monkeypatch.setattr(AgreedClock, "machine", lambda _self: SystemClock().now() + timedelta(minutes=minutes))
        async with world.host() as wrong:
            assert abs(wrong.clock.now() - SystemClock().now()) < timedelta(seconds=5)
            held = SystemClock().now() + timedelta(seconds=30)
            await change(right, connection, lease_owner="somebody", lease_until=held)
            assert await wrong.tokens._claims.claim(connection.id) is None
            await change(right, connection, lease_owner=None, lease_until=None)
            await expire(world, wrong, connection)
            fresh = await wrong.ensure_fresh_token("ada", "sandbox")
            assert abs(fresh.expires_at - SystemClock().now() - timedelta(seconds=900)) < timedelta(seconds=10)
            assert AT_ONCE.next_refresh(connection.id, wrong.clock.now(), fresh.expires_at) > SystemClock().now()


@pytest.mark.fault("F35")
@pytest.mark.parametrize("minutes", [-10, 10])
@on_postgres
async def test_a_clock_that_was_set_since_the_host_looked_last_changes_no_claim(world, monkeypatch, minutes):
    policy = RefreshPolicy()
    async with world.host(policy) as host:
        connection = await world.connect(host)
        monkeypatch.setattr(AgreedClock, "machine", lambda _self: SystemClock().now() + timedelta(minutes=minutes))
        held = SystemClock().now() + timedelta(seconds=30)
        await change(host, connection, lease_owner="somebody", lease_until=held)
        assert await host.tokens._claims.claim(connection.id) is None

        await change(host, connection, lease_until=SystemClock().now() - timedelta(seconds=1))
        claimed = await host.tokens._claims.claim(connection.id)
        assert abs(claimed.row.lease_until - SystemClock().now() - policy.lease) < timedelta(seconds=5)
