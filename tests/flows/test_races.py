"""Two hosts that write about one connection at the same moment, on a database that lets both go on until they meet."""

from contextlib import suppress
from datetime import timedelta

import anyio
import pytest
from support.refreshing import change, expire, held_up, is_good, refreshes
from support.world import AT_ONCE

from soulwatch import RateLimited, SoulwatchError
from soulwatch.host.store import attempts, connections, polls

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


class Meeting:
    """Holds up one function of a module until a test lets it go on."""

    def __init__(self, monkeypatch, module, name, *, before):
        self.reached, self.open = anyio.Event(), anyio.Event()
        real = getattr(module, name)

        async def held(*args, **named):
            if before:
                await self.wait()
            found = await real(*args, **named)
            if not before:
                await self.wait()
            return found

        monkeypatch.setattr(module, name, held)

    async def wait(self):
        self.reached.set()
        await self.open.wait()


@pytest.mark.fault("F03", "F08")
async def test_an_answer_that_comes_in_while_another_claims_is_found_and_not_overwritten(open_world, monkeypatch):
    async with open_world(rotation="strict") as world, world.host(AT_ONCE) as first, world.host(AT_ONCE) as second:
        connection = await world.connect(first)
        await expire(world, first, connection)
        answered = held_up(first)
        async with anyio.create_task_group() as group:
            group.start_soon(tried, first, connection)
            await answered.reached.wait()
            await change(first, connection, lease_until=first.clock.now() - timedelta(seconds=1))
            claiming = Meeting(monkeypatch, attempts, "open_of", before=False)
            group.start_soon(tried, second, connection)
            await claiming.reached.wait()
            answered.open.set()
            await anyio.sleep(0.3)  # the answer is stored by now, or waits for the claim to end
            claiming.open.set()
        assert is_good(world, await second.tokens.fresh(connection.id))
        assert len(refreshes(world)) == 1


async def tried(host, connection):
    with suppress(SoulwatchError):
        await host.tokens.fresh(connection.id)


@pytest.mark.fault("F63")
@pytest.mark.parametrize("is_first", ["apply", "disconnect"])
async def test_a_disconnect_and_a_refresh_do_not_wait_for_each_other_in_a_circle(open_world, monkeypatch, is_first):
    async with open_world(rotation="strict") as world, world.host(AT_ONCE) as first, world.host(AT_ONCE) as second:
        connection = await world.connect(first)
        await expire(world, first, connection)
        where = (attempts, "close") if is_first == "apply" else (connections, "disconnect")
        confirmed = []
        answered = held_up(first)

        async def disconnect():
            confirmed.append(await second.accounts.disconnect(connection.id))

        async with anyio.create_task_group() as group:
            group.start_soon(tried, first, connection)
            await answered.reached.wait()
            meeting = Meeting(monkeypatch, *where, before=True)
            if is_first == "apply":
                answered.open.set()
                await meeting.reached.wait()
                group.start_soon(disconnect)
            else:
                group.start_soon(disconnect)
                await meeting.reached.wait()
                answered.open.set()
            await anyio.sleep(0.3)
            meeting.open.set()
        assert confirmed == [True]
        assert (await first.accounts.row(connection.id)).status == "disconnected"
        assert [grant.revoked for grant in world.sandbox.grants.of()] == [True]


@pytest.mark.fault("F63")
async def test_what_is_revoked_is_what_a_refresh_has_just_brought(open_world, monkeypatch):
    async with open_world(rotation="strict") as world, world.host(AT_ONCE) as first, world.host(AT_ONCE) as second:
        connection = await world.connect(first)
        await expire(world, first, connection)
        revoked = []

        async def revoke(_platform, token):
            revoked.append(token.refresh)
            return True

        monkeypatch.setattr(second.platforms, "revoke", revoke)
        applying = Meeting(monkeypatch, attempts, "close", before=True)
        async with anyio.create_task_group() as group:
            brought = []

            async def refresh():
                brought.append((await first.tokens.fresh(connection.id)).refresh)

            group.start_soon(refresh)
            await applying.reached.wait()
            group.start_soon(second.accounts.disconnect, connection.id)
            await anyio.sleep(0.3)
            applying.open.set()
        assert revoked == brought


@pytest.mark.fault("F24")
async def test_two_polls_that_meet_the_limit_of_our_client_together_both_wait(open_world, monkeypatch):
    async with open_world() as world, world.host() as host:
        claimed = []
        for user, person in (("ada", "mira"), ("bea", "oskar")):
            connection = await world.connect(host, user=user, person=person)
            claimed.append((connection, await host.poller.claim_now(connection.id, "notes")))
        until = host.clock.now() + timedelta(minutes=9)
        limit = RateLimited("Enough.", whole="client", retry_at=until)
        put_off = Meeting(monkeypatch, polls, "put_off_platform", before=True)
        async with anyio.create_task_group() as group:
            for connection, poll in claimed:
                group.start_soon(host.poller._postponing.put_off, poll, connection, None, limit)
            await put_off.reached.wait()
            await anyio.sleep(0.3)
            put_off.open.set()
        async with host.database.reading() as transaction:
            rows = await polls.of_connections(transaction, [connection.id for connection, _ in claimed])
        assert {row.due_at for row in rows} == {until}
        assert {row.lease_until for row in rows} == {None}
