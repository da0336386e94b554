"""Refreshes that are cut off: by who asked, by a crash, by a lost answer, by another host, by a disconnect."""

import asyncio
from datetime import timedelta

import anyio
import pytest
from support.refreshing import (
    Gate,
    Interrupted,
    change,
    expire,
    held_up,
    host_with,
    is_good,
    journal,
    played,
    refreshes,
)
from support.served import on_sqlite
from support.world import WITHOUT_WAITING

from soulwatch import NeedsReauth, PluginError, SoulwatchError, Token, Unavailable
from soulwatch.host.store import attempts, connections
from soulwatch.host.timing import RefreshPolicy


class Crash(BaseException):
    """The process is gone: nothing that follows is carried out."""


async def crash(*_):
    raise Crash


async def states(host, connection):
    return [attempt.state for attempt in await journal(host, connection)]


# An answer that came and was not applied


async def break_down(fresh):
    raise RuntimeError("a plugin at fault")


async def test_an_answer_a_plugin_broke_down_over_is_read_again_without_a_second_request(open_world):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world:
        connector = Interrupted(after=break_down)
        async with host_with(world, connector, policy=RefreshPolicy(), clock=clock) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            for _ in range(3):
                with pytest.raises(PluginError):
                    await host.ensure_fresh_token("ada", "sandbox")
                assert await states(host, connection) == ["received"]
                assert await host.sweeper.recover() == 0  # reading it again at once would not help
                await clock.advance(3700)

            connector.after = None
            fresh = await host.ensure_fresh_token("ada", "sandbox")
            assert await states(host, connection) == ["applied"]
            assert len(refreshes(world)) == 1
            # Its life counts from when it came, so it is long over, and its successor the next to be asked for.
            assert fresh.expires_at < clock.now()
            assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
            assert not world.sandbox.grants.of()[0].revoked


@on_sqlite
async def test_an_answer_that_holds_no_token_is_not_read_again_for_ever(world):
    """A plugin that breaks down over a web page must not keep the platform from being asked again."""
    connector = Interrupted()

    class Careless(Interrupted):
        async def refresh_token(self, token, client, http):
            answer = await http.post(self.facts.oauth.token_url, data={"refresh_token": token.refresh})
            return Token(answer.json()["access_token"])

    Careless.refresh_token.soulwatch_impl = Interrupted.refresh_token.soulwatch_impl
    for fault in ({"kind": "html"}, {"kind": "status", "status": 503}, {"kind": "empty"}):
        async with host_with(world, Careless()) as host:
            connection = await world.connect(host, user=str(fault))
            await expire(world, host, connection)
            world.sandbox.faults.add(path="/token", **fault)
            with pytest.raises(PluginError):
                await host.tokens.fresh(connection.id)
        async with host_with(world, connector) as host:
            assert is_good(world, await host.tokens.fresh(connection.id, is_asked_for=True))
            assert await states(host, connection) == ["rejected", "applied"]


@pytest.mark.fault("F06")
@pytest.mark.parametrize("taken_up_by", ["a caller", "recovery"])
async def test_an_answer_a_crash_left_in_the_journal_is_applied_without_a_second_request(open_world, taken_up_by):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world:
        async with host_with(world, Interrupted(after=crash), clock=clock) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            with pytest.raises(Crash):
                await host.ensure_fresh_token("ada", "sandbox")
            assert await states(host, connection) == ["received"]
        await clock.advance(61)
        async with world.host(clock=clock) as host:
            if taken_up_by == "recovery":
                assert await host.sweeper.recover() == 1
            fresh = await host.ensure_fresh_token("ada", "sandbox")

            assert is_good(world, fresh)
            assert len(refreshes(world)) == 1
            assert await states(host, connection) == ["applied"]
            assert await host.sweeper.recover() == 0


@pytest.mark.fault("F06")
@on_sqlite
async def test_an_answer_to_another_token_of_the_same_generation_is_not_taken(open_world):
    """As after a backup was put back: the journal's generations may be counted from another past."""
    clock = played()
    async with open_world(rotation="grace", grace=3600, now=clock.now) as world:
        async with host_with(world, Interrupted(after=crash), clock=clock) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            with pytest.raises(Crash):
                await host.ensure_fresh_token("ada", "sandbox")
            await change(host, connection, token_fingerprint=b"of another token")
        await clock.advance(61)
        async with world.host(clock=clock) as host:
            assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
            assert await states(host, connection) == ["superseded", "applied"]
            assert len(refreshes(world)) == 2


@pytest.mark.fault("F03", "F06")
@on_sqlite
async def test_while_the_claim_of_a_host_that_died_lasts_nobody_sends(world):
    clock = played()
    policy = RefreshPolicy(floor=timedelta(0), wait=timedelta(0))
    async with host_with(world, Interrupted(before=crash), policy=policy, clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        with pytest.raises(Crash):
            await host.ensure_fresh_token("ada", "sandbox")

        assert await host.sweeper.recover() == 0
        assert await host.sweeper.sweep() == 0
        with pytest.raises(Unavailable, match="Another host") as busy:
            await host.ensure_fresh_token("ada", "sandbox")
        assert busy.value.retry_at == clock.now() + timedelta(seconds=60)
        assert await host.sweeper.next_due() == busy.value.retry_at


@pytest.mark.fault("F05", "F06")
@on_sqlite
async def test_a_refresh_that_nobody_knows_the_end_of_is_tried_again_and_its_doubt_remembered(open_world):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world:
        async with host_with(world, Interrupted(before=crash), clock=clock) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            with pytest.raises(Crash):
                await host.ensure_fresh_token("ada", "sandbox")
        world.sandbox.revoke_user("mira")  # as if the request had got through and was used up
        await clock.advance(61)
        async with world.host(WITHOUT_WAITING, clock=clock) as host:
            assert await host.sweeper.recover() == 1
            assert await states(host, connection) == ["unknown", "rejected"]
            assert (await host.accounts.row(connection.id)).is_ambiguous
            await clock.advance(61)
            with pytest.raises(NeedsReauth):
                await host.ensure_fresh_token("ada", "sandbox")
            assert (await host.accounts.row(connection.id)).reason == "ambiguous_rotation"


@on_sqlite
async def test_one_answer_that_cannot_be_opened_stops_neither_its_connection_nor_any_other(world):
    clock = played()
    async with host_with(world, Interrupted(after=crash), clock=clock) as host:
        damaged = await world.connect(host)
        other = await world.connect(host, user="grace", person="juno")
        for one in (damaged, other):
            await expire(world, host, one)
            with pytest.raises(Crash):
                await host.tokens.fresh(one.id)
        async with host.database.writing() as transaction:
            [attempt] = await attempts.open_of(transaction, damaged.id, 10)
            await attempts.receive(transaction, attempt.id, attempt.answer[:-1] + bytes([attempt.answer[-1] ^ 1]))
    await clock.advance(61)
    async with world.host(clock=clock) as host:
        assert await host.sweeper.recover() == 2
        assert await states(host, other) == ["applied"]
        # The sandbox takes a used token for a minute: what was lost is asked for again.
        assert (await states(host, damaged))[0] == "unknown"
        assert (await host.accounts.row(damaged.id)).status == "connected"


# An answer that never came


@pytest.mark.fault("F05")
@pytest.mark.parametrize("fault", ["lose_answer", "cut"])
async def test_an_answer_that_was_lost_is_asked_for_again_while_the_platform_still_gives_it(open_world, fault):
    clock = played()
    habits = {"rotation": "grace", "grace": 10, "now": clock.now}
    async with open_world(**habits) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.faults.add(fault, path="/token", times=2)
        waits = []
        for _ in range(2):
            with pytest.raises(Unavailable):
                await host.ensure_fresh_token("ada", "sandbox")
            row = await host.accounts.row(connection.id)
            assert row.is_ambiguous
            waits.append((row.next_refresh_at - clock.now()).total_seconds())
            await clock.advance(waits[-1])

        assert waits == [1, 3]
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        row = await host.accounts.row(connection.id)
        assert (row.is_ambiguous, row.status) == (False, "connected")
        assert not world.sandbox.grants.of()[0].revoked
        assert await states(host, connection) == ["unknown", "unknown", "applied"]


@pytest.mark.fault("F05")
@on_sqlite
async def test_where_the_lost_answer_was_the_only_one_the_user_is_told_what_it_was(open_world):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.faults.add("lose_answer", path="/token")
        for _ in range(2):
            with pytest.raises(Unavailable):
                await host.ensure_fresh_token("ada", "sandbox")
            await clock.advance(61)
        with pytest.raises(NeedsReauth):
            await host.ensure_fresh_token("ada", "sandbox")

        assert (await host.accounts.row(connection.id)).reason == "ambiguous_rotation"


# Who asked is gone


async def by_asyncio(call, gate):
    task = asyncio.ensure_future(call())
    await gate.reached.wait()
    gate.open_soon()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_anyio(call, gate):
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await gate.reached.wait()
            gate.open_soon()
            scope.cancel()
    assert scope.cancelled_caught


@pytest.mark.parametrize("cancel", [by_asyncio, by_anyio])
async def test_who_is_cancelled_while_a_request_is_under_way_costs_nobody_the_grant(open_world, cancel):
    async with open_world(rotation="strict", old_access_dies=True) as world, world.host() as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        await cancel(lambda: host.ensure_fresh_token("ada", "sandbox"), held_up(host))

        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        assert len(refreshes(world)) == 1
        assert await states(host, connection) == ["applied"]
        assert (await host.accounts.row(connection.id)).lease_until is None


@pytest.mark.parametrize("cancel", [by_asyncio, by_anyio])
async def test_who_is_cancelled_while_a_plugin_reads_the_answer_leaves_it_in_the_journal(open_world, cancel):
    async with open_world(rotation="strict") as world:
        connector = Interrupted()
        async with host_with(world, connector) as host:
            connection = await world.connect(host)
            await expire(world, host, connection)
            for _ in range(2):  # the second time it is the journal's answer that is read
                connector.after = gate = Gate()
                gate.open_soon = lambda: None
                await cancel(lambda: host.ensure_fresh_token("ada", "sandbox"), gate)
                assert await states(host, connection) == ["received"]
                assert (await host.accounts.row(connection.id)).lease_until is None

            connector.after = None
            assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
            assert len(refreshes(world)) == 1


@pytest.mark.parametrize("cancel", [by_asyncio, by_anyio])
@on_sqlite
async def test_who_is_cancelled_before_anything_is_sent_leaves_nothing_behind(world, cancel):
    gate = Gate()
    gate.open_soon = lambda: None
    connector = Interrupted(before=gate)
    async with host_with(world, connector) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        with anyio.fail_after(2):
            await cancel(lambda: host.ensure_fresh_token("ada", "sandbox"), gate)

        assert refreshes(world) == []
        assert await states(host, connection) == ["not_sent"]
        row = await host.accounts.row(connection.id)
        assert (row.lease_until, row.is_ambiguous) == (None, False)
        connector.before = None
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))


@on_sqlite
async def test_who_waits_behind_a_caller_that_is_cancelled_gets_the_token(open_world):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        gate = held_up(host)
        async with anyio.create_task_group() as group:
            group.start_soon(by_asyncio, lambda: host.ensure_fresh_token("ada", "sandbox"), gate)
            await gate.reached.wait()
            token = await host.ensure_fresh_token("ada", "sandbox")

        assert is_good(world, token)
        assert len(refreshes(world)) == 1


# Another host was quicker


@pytest.mark.fault("F02")
@pytest.mark.parametrize("rotation", ["none", "grace"])
async def test_a_host_that_was_taken_for_dead_and_comes_late_changes_nothing(open_world, rotation):
    """Its claim ran out while it waited. Where the refresh token stays the same, only the generation tells."""
    clock = played()
    habits = {"rotation": rotation, "grace": 3600, "now": clock.now}
    async with open_world(**habits) as world, world.host(clock=clock) as slow, world.host(clock=clock) as quick:
        connection = await world.connect(slow)
        await expire(world, slow, connection)
        gate = held_up(slow)
        late = asyncio.ensure_future(slow.tokens.fresh(connection.id))
        await gate.reached.wait()
        await clock.advance(61)
        fresh = await quick.ensure_fresh_token("ada", "sandbox")
        gate.open.set()
        with pytest.raises(Unavailable, match="changed while"):
            await late

        assert await slow.ensure_fresh_token("ada", "sandbox") == fresh
        assert await states(quick, connection) == ["superseded", "applied"]
        for host in (slow, quick):
            assert await host.sweeper.recover() == 0
            await expire(world, host, connection)
            assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))


@on_sqlite
async def test_an_answer_of_an_earlier_generation_is_not_taken_for_one_of_this(open_world):
    """Left by a host that came late and then died, at a platform whose refresh token stays the same."""
    clock = played()
    async with (
        open_world(rotation="none", now=clock.now) as world,
        host_with(world, Interrupted(after=crash), clock=clock) as slow,
        world.host(clock=clock) as quick,
    ):
        connection = await world.connect(slow)
        await expire(world, slow, connection)
        gate = held_up(slow)
        late = asyncio.ensure_future(slow.tokens.fresh(connection.id))
        await gate.reached.wait()
        await clock.advance(61)
        fresh = await quick.ensure_fresh_token("ada", "sandbox")
        gate.open.set()
        with pytest.raises(Crash):
            await late
        assert await states(quick, connection) == ["received", "applied"]

        assert await quick.sweeper.recover() == 1
        assert (await states(quick, connection))[:2] == ["superseded", "applied"]
        assert not (await quick.accounts.row(connection.id)).is_ambiguous
        assert is_good(world, await quick.ensure_fresh_token("ada", "sandbox"))
        assert is_good(world, fresh)


@pytest.mark.fault("F02")
@on_sqlite
async def test_of_two_answers_in_the_journal_that_to_the_later_request_is_taken(open_world):
    """The platform let the earlier of the two tokens die when it gave the later one."""
    clock = played()
    async with (
        open_world(rotation="grace", grace=3600, old_access_dies=True, now=clock.now) as world,
        world.host(clock=clock) as slow,
        host_with(world, Interrupted(after=crash), clock=clock) as quick,
    ):
        connection = await world.connect(slow)
        await expire(world, slow, connection)
        gate = held_up(slow)
        late = asyncio.ensure_future(slow.tokens.fresh(connection.id))
        await gate.reached.wait()
        await clock.advance(61)
        with pytest.raises(Crash):
            await quick.ensure_fresh_token("ada", "sandbox")
        gate.open.set()
        with pytest.raises(Unavailable):
            await late
        assert await states(slow, connection) == ["received", "received"]

        await clock.advance(61)
        assert is_good(world, await slow.ensure_fresh_token("ada", "sandbox"))
        assert len(refreshes(world)) == 2
        assert await states(slow, connection) == ["received", "applied"]
        assert await slow.sweeper.recover() == 1
        assert (await states(slow, connection))[0] == "superseded"


@pytest.mark.fault("F04")
@on_sqlite
async def test_the_answer_of_a_host_that_comes_late_is_taken_where_its_successor_was_refused(open_world):
    clock = played()
    patient = {"policy": WITHOUT_WAITING, "clock": clock}
    async with (
        open_world(rotation="strict", now=clock.now) as world,
        world.host(**patient) as slow,
        world.host(**patient) as quick,
    ):
        connection = await world.connect(slow)
        await expire(world, slow, connection)
        gate = held_up(slow)
        late = asyncio.ensure_future(slow.tokens.fresh(connection.id))
        await gate.reached.wait()
        await clock.advance(61)
        world.sandbox.faults.add("invalid_grant", path="/token")
        with pytest.raises(Unavailable):
            await quick.ensure_fresh_token("ada", "sandbox")
        gate.open.set()
        with pytest.raises(Unavailable):
            await late

        assert await quick.sweeper.recover() == 1
        assert is_good(world, await quick.ensure_fresh_token("ada", "sandbox"))
        assert len(refreshes(world)) == 2
        row = await quick.accounts.row(connection.id)
        assert (row.status, row.doubted_at) == ("connected", None)


# Disconnected meanwhile


async def leftovers(host, connection):
    async with host.database.reading() as transaction:
        row = await connections.get(transaction, connection.id)
    return row.access_token, row.refresh_token, row.sealed_key, row.lease_until, await journal(host, connection)


@pytest.mark.fault("F63")
@pytest.mark.parametrize("is_revoked_first", [True, False])
async def test_a_disconnect_during_a_refresh_is_final_and_what_it_brought_is_revoked(open_world, is_revoked_first):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        gate = held_up(host)
        if not is_revoked_first:
            world.sandbox.faults.add("status", path="/revoke", status=400)
        sealed_key = (await host.accounts.row(connection.id)).sealed_key
        refresh = asyncio.ensure_future(host.tokens.fresh(connection.id))
        await gate.reached.wait()
        assert await host.accounts.disconnect(connection.id) is is_revoked_first
        gate.open.set()
        with pytest.raises(SoulwatchError):
            await refresh

        assert await leftovers(host, connection) == (None, None, None, None, [])
        assert (await host.accounts.row(connection.id)).status == "disconnected"
        [grant] = world.sandbox.grants.of()
        assert grant.generation == 2
        assert grant.why == "revoked by its client"
        with pytest.raises(NeedsReauth):
            await host.ensure_fresh_token("ada", "sandbox")
        assert [event.type for event in await host.events("ada")].count("token_refresh") == 0
        assert sealed_key not in host.vault._held


@pytest.mark.fault("F63")
async def test_an_account_that_is_connected_again_during_a_refresh_keeps_its_new_grant(open_world):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        gate = held_up(host)
        refresh = asyncio.ensure_future(host.tokens.fresh(connection.id))
        await gate.reached.wait()
        again = await world.connect(host)
        gate.open.set()
        with pytest.raises(Unavailable):
            await refresh

        assert again.id == connection.id
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        # What it brought is let go, and not revoked: some platforms would end the new grant with the old one.
        assert [grant.revoked for grant in world.sandbox.grants.of()] == [False, False]
        assert await states(host, connection) == ["superseded"]
        assert await host.sweeper.recover() == 0


@pytest.mark.fault("F63")
@on_sqlite
async def test_a_refusal_that_comes_after_the_account_was_connected_again_troubles_nobody(world):
    async with world.host() as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        await change(host, connection, doubted_at=host.clock.now() - timedelta(hours=1))
        world.sandbox.revoke_user("mira")
        gate = held_up(host)
        refresh = asyncio.ensure_future(host.tokens.fresh(connection.id))
        await gate.reached.wait()
        await world.connect(host)
        gate.open.set()
        with pytest.raises(Unavailable, match="changed while"):
            await refresh

        assert (await host.accounts.row(connection.id)).status == "connected"
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
