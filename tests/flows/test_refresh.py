"""One request a generation, and no token handed out that is not stored."""

from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from support.refreshing import (
    Interrupted,
    change,
    expire,
    host_with,
    impatient,
    is_good,
    journal,
    played,
    refreshes,
    statuses,
)
from support.served import on_sqlite
from support.world import AT_ONCE

from soulwatch import Misconfigured, NotFound, PluginError, Token, Unavailable, hookimpl
from soulwatch.host.timing import RefreshPolicy

CALLERS = 200
EXPIRIES = {"sqlite": 20, "postgresql": 5}


async def together(callers, call):
    """What each of many callers at once is given."""
    found = []

    async def one():
        found.append(await call())

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(one)
    return found


@pytest.mark.fault("F01")
async def test_two_hundred_callers_make_one_request_over_twenty_expiries_in_a_row(open_world):
    async with open_world(rotation="strict", old_access_dies=True) as world, world.host() as host:
        connection = await world.connect(host)
        expiries = EXPIRIES[host.database.engine.dialect.name]
        for expiry in range(1, expiries + 1):
            await expire(world, host, connection)
            found = await together(CALLERS, lambda: host.ensure_fresh_token("ada", "sandbox"))
            assert len(refreshes(world)) == expiry
            assert len({token.access for token in found}) == 1
            assert is_good(world, found[0])

        [grant] = world.sandbox.grants.of()
        assert (grant.generation, grant.revoked) == (1 + expiries, False)
        assert [attempt.state for attempt in await journal(host, connection)] == ["applied"] * expiries
        assert [event.type for event in await host.events("ada")].count("token_refresh") == expiries


@pytest.mark.fault("F01")
async def test_two_hosts_on_one_database_make_one_request(open_world):
    async with open_world(rotation="strict") as world, world.host() as one, world.host() as other:
        connection = await world.connect(one)
        for expiry in range(1, 6):
            await expire(world, one, connection)
            async with anyio.create_task_group() as group:
                found = []

                async def ask(host, found=found):
                    found.append(await host.ensure_fresh_token("ada", "sandbox"))

                for host in (one, other) * 10:
                    group.start_soon(ask, host)
            assert len(refreshes(world)) == expiry
            assert len({token.access for token in found}) == 1

        assert not world.sandbox.grants.of()[0].revoked


@pytest.mark.fault("F01")
async def test_who_read_the_row_before_another_host_refreshed_it_does_not_refresh_it_again(open_world):
    """Between looking and claiming lies an await; the claim has to notice what happened meanwhile."""
    async with open_world(rotation="strict") as world, world.host() as one, world.host() as other:
        connection = await world.connect(one)
        await expire(world, one, connection)
        seen = await one.accounts.row(connection.id)
        fresh = await other.ensure_fresh_token("ada", "sandbox")

        claims = one.tokens._claims
        assert await claims.claim(connection.id, seen.generation) is None
        assert await one.ensure_fresh_token("ada", "sandbox") == fresh
        assert len(refreshes(world)) == 1


@pytest.mark.fault("F01")
@on_sqlite
async def test_a_sweep_and_callers_make_one_request(world):
    async with world.host() as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        async with anyio.create_task_group() as group:
            group.start_soon(host.sweeper.sweep)
            group.start_soon(host.sweeper.recover)
            group.start_soon(together, 20, lambda: host.ensure_fresh_token("ada", "sandbox"))

        assert len(refreshes(world)) == 1
        assert await host.sweeper.sweep() == 0


@on_sqlite
async def test_a_token_that_is_not_due_is_handed_out_as_it_is(world):
    async with world.host() as host:
        await world.connect(host)
        first = await host.ensure_fresh_token("ada", "sandbox")

        assert await host.ensure_fresh_token("ada", "sandbox") == first
        assert refreshes(world) == []


@on_sqlite
async def test_a_token_in_its_margin_is_refreshed_and_until_then_still_used(world):
    async with world.host() as host:
        connection = await world.connect(host)
        old = await host.ensure_fresh_token("ada", "sandbox")
        world.sandbox.faults.add("status", path="/token", status=503)
        await change(host, connection, next_refresh_at=host.clock.now())

        assert await host.ensure_fresh_token("ada", "sandbox") == old
        await change(host, connection, next_refresh_at=host.clock.now())
        assert await host.ensure_fresh_token("ada", "sandbox") != old
        assert len(refreshes(world)) == 2


async def test_a_rotated_refresh_token_is_stored_before_the_new_access_token_is_handed_out(open_world):
    async with open_world(rotation="strict") as world, world.host() as host, world.host() as other:
        connection = await world.connect(host)
        await expire(world, host, connection)
        fresh = await host.ensure_fresh_token("ada", "sandbox")

        # A host that shares nothing but the database opens the very same pair.
        assert await other.ensure_fresh_token("ada", "sandbox") == fresh
        assert fresh.refresh is not None
        [attempt] = await journal(other, connection)
        assert (attempt.state, attempt.answer) == ("applied", None)


@pytest.mark.fault("F06")
async def test_an_answer_is_in_the_journal_before_anybody_reads_it(open_world):
    async with open_world(rotation="strict") as world:
        seen = []

        async def look(fresh):
            seen.append((fresh, await journal(host, connection)))

        async with host_with(world, Interrupted(after=look)) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            handed_out = await host.ensure_fresh_token("ada", "sandbox")

        [(fresh, [attempt])] = seen
        assert fresh == handed_out
        assert attempt.state == "received"
        assert fresh.access.encode() not in attempt.answer
        assert fresh.refresh.encode() not in attempt.answer


@pytest.mark.fault("F20")
@pytest.mark.parametrize("value", [None, "", 7])
@on_sqlite
async def test_a_platform_that_names_no_new_refresh_token_keeps_the_old_one(open_world, value):
    async with open_world(rotation="none") as world, world.host() as host:
        connection = await world.connect(host)
        before = await host.ensure_fresh_token("ada", "sandbox")
        for _ in range(2):
            world.sandbox.faults.add("set_member", path="/token", name="refresh_token", value=value)
            await expire(world, host, connection)
            after = await host.ensure_fresh_token("ada", "sandbox")
            assert after.refresh == before.refresh
            assert is_good(world, after)


@pytest.mark.fault("F19")
@pytest.mark.parametrize("value", [None, 0, -1, "soon", 1e308, [], 1])
@on_sqlite
async def test_a_life_that_cannot_be_makes_no_loop_and_no_token_for_ever(world, value):
    async with world.host(RefreshPolicy()) as host:
        connection = await world.connect(host)
        world.sandbox.faults.add("expires_in", path="/token", value=value, times=None)
        await expire(world, host, connection)
        for _ in range(5):
            await host.ensure_fresh_token("ada", "sandbox")
            await host.sweeper.sweep()

        assert len(refreshes(world)) == 1
        row = await host.accounts.row(connection.id)
        assert row.token_expires_at <= host.clock.now() + timedelta(hours=1)
        assert row.next_refresh_at > host.clock.now() + timedelta(seconds=10)


@pytest.mark.fault("F09")
@on_sqlite
async def test_a_token_the_platform_refuses_is_refreshed_once_and_the_request_sent_once_more(world):
    async with world.host(RefreshPolicy()) as host:
        connection = await world.connect(host)
        world.sandbox.expire()  # here it still looks good

        [outcome] = await host.poll_connection(connection.id, "notes")
        assert outcome.problem is None
        assert len(refreshes(world)) == 1
        assert [entry.status for entry in world.sandbox.requests.of("sandbox", "/v1/notes")][:2] == [401, 200]


@on_sqlite
async def test_a_platform_that_refuses_every_token_is_not_well_and_the_user_not_troubled(world):
    async with world.host(RefreshPolicy()) as host:
        connection = await world.connect(host)
        world.sandbox.faults.add("status", path="/v1/notes", status=401, times=None)
        for _ in range(5):
            [outcome] = await host.poll_connection(connection.id, "notes")
            assert outcome.problem is not None

        assert len(refreshes(world)) == 1
        assert (await host.accounts.row(connection.id)).status == "connected"
        assert set(await statuses(host)) == {"connected"}


@on_sqlite
async def test_a_refresh_may_be_asked_for_but_not_without_end(world):
    clock = played()
    async with world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        first = await host.ensure_fresh_token("ada", "sandbox")
        second, is_new = await host.refresh_connection(connection.id)
        assert is_new
        assert second != first

        assert await host.refresh_connection(connection.id) == (second, False)
        await clock.advance(31)
        third, is_new = await host.refresh_connection(connection.id)
        assert is_new
        assert third != second
        assert len(refreshes(world)) == 2


@on_sqlite
async def test_who_asks_in_spite_of_a_cool_down_asks_only_so_often(world):
    clock = played()
    async with world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.faults.add("status", path="/token", status=404, times=None)
        for _ in range(5):
            with pytest.raises((Misconfigured, Unavailable)):
                await host.refresh_connection(connection.id)
        assert len(refreshes(world)) == 1

        world.sandbox.faults.clear()
        await clock.advance(31)
        token, is_new = await host.refresh_connection(connection.id)
        assert is_new
        assert is_good(world, token)


@pytest.mark.fault("F31")
@on_sqlite
async def test_a_clock_that_is_set_back_does_not_keep_a_refused_token_for_days(world):
    clock = played()
    async with world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await host.refresh_connection(connection.id)
        clock.jump(-30 * 86400)
        world.sandbox.expire()

        [outcome] = await host.poll_connection(connection.id, "notes")
        assert outcome.problem is None
        assert len(refreshes(world)) == 2


@pytest.mark.fault("F31")
@on_sqlite
async def test_a_failure_before_the_clock_was_set_back_does_not_hold_for_days(world):
    clock = played()
    async with world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.faults.add("status", path="/token", status=400)
        with pytest.raises(Exception, match="400"):
            await host.ensure_fresh_token("ada", "sandbox")
        clock.jump(-30 * 86400)
        await change(host, connection, token_expires_at=clock.now())

        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))


@pytest.mark.fault("F02")
@on_sqlite
async def test_nothing_is_sent_once_the_claim_has_run_too_long(world):
    clock = played()

    async def dawdle():
        await clock.advance(25)

    async with host_with(world, Interrupted(before=dawdle), policy=RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        with pytest.raises(Unavailable, match="NotSentError"):
            await host.ensure_fresh_token("ada", "sandbox")

        assert refreshes(world) == []
        [attempt] = await journal(host, connection)
        assert attempt.state == "not_sent"
        assert not (await host.accounts.row(connection.id)).is_ambiguous


@on_sqlite
async def test_a_plugin_may_send_one_request_and_no_second(world):
    class Twice(Interrupted):
        async def refresh_token(self, token, client, http):
            await http.post(self.facts.oauth.token_url, data={})
            return await self.facts.oauth.refresh(token, client, http)

    Twice.refresh_token.soulwatch_impl = Interrupted.refresh_token.soulwatch_impl
    async with host_with(world, Twice()) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        with pytest.raises(PluginError, match="may send one request"):
            await host.ensure_fresh_token("ada", "sandbox")

        assert len(refreshes(world)) == 1
        assert (await host.accounts.row(connection.id)).status == "connected"


@on_sqlite
async def test_a_plugin_that_does_not_come_to_an_end_is_not_waited_for(world):
    policy = RefreshPolicy(floor=timedelta(0), lease=timedelta(seconds=0.2))
    async with host_with(world, Interrupted(before=anyio.sleep_forever), policy=policy) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        with pytest.raises(PluginError, match=r"did not come to an end in refresh_token within 0\.2 s"):
            await host.ensure_fresh_token("ada", "sandbox")

        row = await host.accounts.row(connection.id)
        assert (row.status, row.lease_until) == ("connected", None)


@pytest.mark.fault("F03")
@on_sqlite
async def test_callers_that_wait_for_another_host_wait_together(world):
    policy = RefreshPolicy(wait=timedelta(seconds=0.3))
    async with world.host(policy) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        await change(host, connection, lease_owner="another", lease_until=host.clock.now() + timedelta(minutes=1))

        async def ask():
            with pytest.raises(Unavailable, match="Another host") as late:
                await host.ensure_fresh_token("ada", "sandbox")
            return late.value.retry_at

        with anyio.fail_after(2):  # one after the other it would take 6 s
            assert len(set(await together(20, ask))) == 1
        assert refreshes(world) == []


@on_sqlite
async def test_who_never_connected_is_told_so(world):
    async with world.host() as host:
        with pytest.raises(NotFound):
            await host.ensure_fresh_token("ada", "sandbox")


@on_sqlite
async def test_no_token_stands_in_the_database_file(world):
    """Connected, refreshed, an answer kept unread: nothing the platform ever issued can be read in the file."""

    async def break_down(fresh):
        raise RuntimeError(fresh.access)

    async with host_with(world, Interrupted(after=break_down)) as broken:
        await world.connect(broken, user="grace", person="juno")
        impatient(broken, 5)
        async with world.host(AT_ONCE) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            await host.ensure_fresh_token("ada", "sandbox")
        juno = await broken.accounts.of("grace", "sandbox")
        with pytest.raises(PluginError):
            await broken.refresh_connection(juno.id)
        issued = [row["value"] for row in world.sandbox._ledger.rows("select value from tokens")]
        issued += [row["code"] for row in world.sandbox._ledger.rows("select code from codes")]
        assert len(issued) >= 10
        for path in world.folder.iterdir():
            content = path.read_bytes()
            for secret in [*issued, "invented-sandbox-secret"]:
                assert secret.encode() not in content, path.name


@pytest.mark.parametrize("must_rotate", [False, True])
async def test_a_refresh_token_that_a_plugin_leaves_out_is_not_lost(open_world, must_rotate):
    class Forgetful(Interrupted):
        @hookimpl
        async def refresh_token(self, token, client, http):
            fresh = await self.facts.oauth.refresh(token, client, http)
            return Token(fresh.access, None, fresh.expires_at, fresh.scopes)

    connector = Forgetful()
    connector.facts = replace(connector.facts, oauth=replace(connector.facts.oauth, must_rotate=must_rotate))
    rotation = "strict" if must_rotate else "none"
    async with open_world(rotation=rotation) as world, host_with(world, connector) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        if must_rotate:
            with pytest.raises(PluginError, match="gave no refresh token"):
                await host.tokens.fresh(connection.id)
            assert [attempt.state for attempt in await journal(host, connection)] == ["received"]
        else:
            for _ in range(2):
                await expire(world, host, connection)
                assert is_good(world, await host.tokens.fresh(connection.id))
        assert host.tokens._safe.open(await host.accounts.row(connection.id)).refresh is not None


@on_sqlite
async def test_polls_that_hang_hold_up_no_refresh(open_world):
    async with open_world() as world, world.host(concurrency=2) as host:
        connection = await world.connect(host)
        world.sandbox.faults.add("hang", path="/v1/", seconds=30, times=None)
        await expire(world, host, connection)
        await host.ensure_fresh_token("ada", "sandbox")
        async with anyio.create_task_group() as group:
            for name in ("notes", "mood"):
                group.start_soon(host.poll_connection, connection.id, name)
            await anyio.sleep(0.3)
            await expire(world, host, connection)
            await change(host, connection, last_attempt_at=None)
            with anyio.fail_after(5):
                assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
            group.cancel_scope.cancel()
