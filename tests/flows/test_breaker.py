import logging
from datetime import timedelta

import pytest
from support.refreshing import change
from support.served import on_sqlite

from soulwatch import Account, Misconfigured, Token, Unavailable
from soulwatch.host.timing import RefreshPolicy
from soulwatch.testing.clock import PlayedClock

PATIENT = RefreshPolicy()
MASS_CALL = "OPERATOR: sandbox calls many grants dead at once; users are not told yet"


async def give(world, host, users, *, expires_in=timedelta(hours=1)):
    """Connections with real grants at the sandbox, made without a consent page."""
    facts = host.platforms.facts("sandbox")
    for user in users:
        issued = world.sandbox.grant("sandbox", "mira")
        token = Token(issued.access, issued.refresh, host.clock.now() + expires_in)
        await host.accounts.store(user, facts, Account(f"account of {user}", user), token)


def asked(world):
    # Whatever it was about: of a client that is refused the platform does not look further.
    return len(world.sandbox.token_requests("sandbox"))


def wrong_secret(**more):
    return {"sandbox": {"id": "invented-sandbox-client", "secret": "wrong", **more}}


async def statuses(host):
    return {row.status for row in await host.accounts.rows()}


@pytest.fixture
def clock():
    return PlayedClock()


def calls(caplog):
    """How often the operator was called."""
    return [record.getMessage() for record in caplog.records if "OPERATOR" in record.getMessage()]


@pytest.mark.fault("F17")
async def test_a_wrong_client_secret_costs_few_requests_touches_no_connection_and_is_told_once(world, clock, caplog):
    users = [f"u{number}" for number in range(40)]
    async with world.host(PATIENT, clock, clients=wrong_secret()) as host:
        await give(world, host, users)
        await clock.advance(3300)
        with caplog.at_level(logging.ERROR, "soulwatch.breaker"):
            for _ in range(60):
                await host.sweeper.sweep()
                await clock.advance(5)
        assert asked(world) <= 10
        assert await statuses(host) == {"connected"}
        assert len(calls(caplog)) == 1
    async with world.host(PATIENT, clock) as host:
        for _ in range(36):
            await host.sweeper.sweep()
            await clock.advance(5)
        rows = await host.accounts.rows()
        assert all(row.token_expires_at > clock.now() for row in rows)
        assert {row.reason for row in rows} == {None}


@pytest.mark.fault("F17")
async def test_while_the_client_is_refused_a_caller_gets_the_old_token_or_the_operators_matter(world, clock):
    async with world.host(PATIENT, clock, clients=wrong_secret()) as host:
        await give(world, host, ["ada", "bea"])
        await clock.advance(3300)
        usable = await host.ensure_fresh_token("ada", "sandbox")
        assert usable.expires_at > clock.now()
        await clock.advance(600)
        with pytest.raises((Misconfigured, Unavailable)):
            await host.ensure_fresh_token("ada", "sandbox")
        before = asked(world)
        with pytest.raises(Misconfigured, match="client") as refused:
            await host.ensure_fresh_token("bea", "sandbox")
        assert refused.value.retry_at > clock.now()
        assert asked(world) == before


@pytest.mark.fault("F17")
async def test_an_older_secret_is_tried_before_the_operator_is_called(world, clock, caplog):
    clients = wrong_secret(old_secrets=["also wrong", "invented-sandbox-secret"])
    async with world.host(PATIENT, clock, clients=clients) as host:
        await give(world, host, ["ada", "bea"])
        await clock.advance(3300)
        for _ in range(20):
            await host.sweeper.sweep()
            await clock.advance(5)
        assert {row.reason for row in await host.accounts.rows()} == {None}
        assert asked(world) <= 6
        assert not calls(caplog)


@pytest.mark.fault("F15")
async def test_a_token_endpoint_that_moved_is_everybodys_matter_after_three(world, clock, caplog):
    async with world.host(PATIENT, clock) as host:
        await give(world, host, [f"u{number}" for number in range(30)])
        await clock.advance(3300)
        world.sandbox.faults.add("status", path="/token", status=404, times=None)
        for _ in range(60):
            await host.sweeper.sweep()
            await clock.advance(5)
        assert asked(world) <= 12
        [call] = calls(caplog)
        assert "HTTP 404" in call
        assert await statuses(host) == {"connected"}
        world.sandbox.faults.clear()
        for _ in range(40):
            await host.sweeper.sweep()
            await clock.advance(5)
        assert {row.reason for row in await host.accounts.rows()} == {None}


@pytest.mark.fault("F22")
async def test_a_platform_that_calls_most_grants_dead_at_once_is_not_believed_at_once(world, clock, caplog):
    async with world.host(PATIENT, clock) as host:
        await give(world, host, [f"u{number}" for number in range(60)])
        await clock.advance(3300)
        world.sandbox.faults.add("invalid_grant", path="/token", times=None)
        for _ in range(120):
            await host.sweeper.sweep()
            await clock.advance(5)
        rows = await host.accounts.rows()
        assert sum(row.status == "needs_reauth" for row in rows) <= 20
        assert set(calls(caplog)) == {MASS_CALL}
        world.sandbox.faults.clear()
        for _ in range(200):
            await host.sweeper.sweep()
            await clock.advance(5)
        held = [row for row in await host.accounts.rows() if row.status == "connected"]
        assert len(held) >= 40
        assert {row.reason for row in held} == {None}


async def sweep_for(host, clock, minutes):
    """As the background does, every five seconds."""
    for _ in range(minutes * 12):
        await host.sweeper.sweep()
        await clock.advance(5)


@pytest.mark.fault("F22")
@on_sqlite
async def test_a_platform_that_calls_most_grants_dead_for_a_day_is_believed_then(world, clock, caplog):
    async with world.host(PATIENT, clock) as host:
        await give(world, host, [f"u{number}" for number in range(60)])
        await clock.advance(3300)
        world.sandbox.faults.add("invalid_grant", path="/token", times=None)
        await sweep_for(host, clock, minutes=4)
        held = [row for row in await host.accounts.rows() if row.status == "connected"]
        assert len(held) >= 40
        for row in held:
            await change(host, row, doubted_at=clock.now() - timedelta(hours=23, minutes=35))
        await sweep_for(host, clock, minutes=24)
        assert {(await host.accounts.row(row.id)).status for row in held} == {"connected"}
        await sweep_for(host, clock, minutes=11)
        ended = [await host.accounts.row(row.id) for row in held]
        assert {(row.status, row.reason) for row in ended} == {("needs_reauth", "invalid_grant")}
        assert set(calls(caplog)) == {MASS_CALL}


@pytest.mark.fault("F22")
@on_sqlite
async def test_whom_a_platform_at_fault_calls_dead_is_spared_though_no_host_ran_for_a_while(world, clock):
    async with world.host(PATIENT, clock) as host:
        await give(world, host, [f"u{number}" for number in range(60)])
        await clock.advance(3300)
        world.sandbox.faults.add("invalid_grant", path="/token", times=None)
        await sweep_for(host, clock, minutes=4)
        held = [row for row in await host.accounts.rows() if row.status == "connected"]
        for _ in range(3):
            await clock.advance(1200)
            await host.sweeper.sweep()

        assert {(await host.accounts.row(row.id)).status for row in held} == {"connected"}


async def test_a_few_dead_grants_among_many_are_told_to_their_users(world, clock):
    async with world.host(PATIENT, clock) as host:
        await give(world, host, [f"u{number}" for number in range(10)])
        facts = host.platforms.facts("sandbox")
        for number in range(3):
            token = Token("gone", f"dead {number}", clock.now() + timedelta(hours=1))
            await host.accounts.store(f"lost{number}", facts, Account(f"lost {number}", "Lost"), token)
        await clock.advance(3300)
        for _ in range(60):
            await host.sweeper.sweep()
            await clock.advance(5)
        lost = [row for row in await host.accounts.rows() if row.user_id.startswith("lost")]
        assert {(row.status, row.reason) for row in lost} == {("needs_reauth", "invalid_grant")}
        (told,) = [event for event in await host.events("lost0") if event.data.get("status") == "needs_reauth"]
        assert told.type == "connection_status"
