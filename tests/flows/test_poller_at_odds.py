"""Plugins and platforms that misbehave while pages are read: what they harm is their own platform, for a while."""

import asyncio
from datetime import datetime, timedelta

import anyio
import pytest

from soulwatch import (
    Account,
    Connector,
    Cursor,
    Endpoint,
    Identity,
    Item,
    NeedsReauth,
    OAuth2,
    Page,
    Platform,
    RateLimited,
    Token,
)
from soulwatch.host.store.tables import polls

ONE = Item("1", b'{"id": 1}', b"1")


class Odd(Endpoint):
    """Reads what a test says."""

    async def pages(self, api, cursor):
        async for page in SAYS[self.name](cursor):
            yield page


SAYS = {}


async def well(cursor):
    yield Page((ONE,), cursor=Cursor("end"), is_last=True)


def connector(name, *endpoints, concurrency=4):
    api = f"https://{name}.invalid"
    facts = Platform(
        name,
        name.title(),
        OAuth2(f"{api}/authorize", f"{api}/token"),
        (f"{name}.invalid",),
        Identity(f"{api}/me"),
        concurrency=concurrency,
    )
    return Connector(facts, [Odd(one, f"{api}/{one}", schedule=timedelta(hours=1)) for one in endpoints])


async def connected(host, *connectors, users=("ada",)):
    for one in connectors:
        host.plugins.register(one, one.facts.name)
        for user in users:
            await host.accounts.store(user, one.facts, Account(user, user), Token("made up"))


async def row_of(host, data_type):
    async with host.database.reading() as transaction:
        return (await transaction.execute(polls.select().where(polls.c.data_type == data_type))).one()


@pytest.fixture
async def host(world):
    async with world.host(lease="1s") as opened:
        yield opened


@pytest.mark.parametrize("retry_at", [datetime(2030, 1, 1), "soon", 5.0])  # noqa: DTZ001  - naive is the point
async def test_a_wait_that_is_no_time_stops_nothing(host, retry_at):
    async def limited(cursor):
        raise RateLimited("Not now.", retry_at=retry_at, whole="client")
        yield

    SAYS.update(first=limited, second=well)
    await connected(host, connector("odd", "first"), connector("good", "second"))
    outcomes = {one.data_type: one for one in await host.poll_all_platforms_for_user("ada")}
    assert (outcomes["first"].problem, outcomes["second"].new) == ("Not now.", 1)
    assert (await row_of(host, "first")).due_at > host.clock.now()
    assert await host.poller.claim_due(10) == []


async def test_a_stray_cancellation_is_not_the_end_of_the_list(host):
    async def cut_off(cursor):
        yield Page((ONE,), cursor=Cursor("past it"))
        raise asyncio.CancelledError

    SAYS.update(first=cut_off)
    await connected(host, connector("odd", "first"))
    (outcome,) = await host.poll_all_platforms_for_user("ada")
    row = await row_of(host, "first")
    assert "cut off from within" in outcome.problem
    assert (row.cursor, row.is_whole) == (None, False)
    assert len(await host.data(user="ada")) == 1


async def test_a_plugin_that_exits_does_not_take_the_host_along(host):
    async def leave(cursor):
        raise SystemExit("bye")
        yield

    SAYS.update(first=leave)
    await connected(host, connector("odd", "first"))
    (outcome,) = await host.poll_all_platforms_for_user("ada")
    assert "end the whole process" in outcome.problem


async def test_a_reading_that_brings_nothing_for_a_lease_is_given_up(host):
    async def hang(cursor):
        await anyio.sleep(60)
        yield

    SAYS.update(first=hang)
    await connected(host, connector("odd", "first"))
    with anyio.fail_after(10):
        (outcome,) = await host.poll_all_platforms_for_user("ada")
    assert "nothing came within 1 s" in outcome.problem
    assert (await row_of(host, "first")).lease_until is None


async def test_a_reading_longer_than_a_lease_goes_on_as_long_as_pages_come(host):
    async def slow(cursor):
        for number in range(4):
            await anyio.sleep(0.5)
            yield Page((Item(str(number), b"{}", b"0"),), cursor=Cursor(str(number)), is_last=number == 3)

    SAYS.update(first=slow)
    await connected(host, connector("odd", "first"))
    (outcome,) = await host.poll_all_platforms_for_user("ada")
    assert (outcome.problem, outcome.new) == (None, 4)


async def test_a_platform_with_much_due_leaves_places_to_the_others(host):
    SAYS.update(first=well, second=well)
    users = [f"u{number}" for number in range(60)]
    await connected(host, connector("greedy", "first", concurrency=2), users=users)
    await connected(host, connector("modest", "second"))
    claimed = [row.platform for row in await host.poller.claim_due(50)]
    assert sorted(claimed) == ["greedy", "greedy", "modest"]


async def test_a_platform_that_reads_nothing_by_itself_is_no_error(host):
    SAYS.update(second=well)
    await connected(host, connector("silent"), connector("good", "second"))
    assert [one.data_type for one in await host.poll_all_platforms_for_user("ada")] == ["second"]


async def test_a_plugin_that_cries_reauth_is_put_off_and_not_asked_for_ever(host):
    async def cry(cursor):
        raise NeedsReauth("It is over, says the plugin.")
        yield

    SAYS.update(first=cry)
    await connected(host, connector("odd", "first"))
    await host.poll_all_platforms_for_user("ada")
    row = await row_of(host, "first")
    assert row.due_at > host.clock.now()
    assert row.error_message == "It is over, says the plugin."
    assert {one.status for one in await host.accounts.rows()} == {"connected"}


async def test_text_that_a_database_cannot_take_is_stored_all_the_same(host):
    async def odd_text(cursor):
        yield Page((Item("k\0ey \ud800", b'{"a": "\\u0000"}', b"1"),), cursor=Cursor("c\0ursor"), message="m\0essage")

    async def odd_error(cursor):
        raise RateLimited("no\0pe")
        yield

    SAYS.update(first=odd_text, second=odd_error)
    await connected(host, connector("odd", "first", "second"))
    outcomes = {one.data_type: one for one in await host.poll_all_platforms_for_user("ada")}
    assert (outcomes["first"].problem, outcomes["first"].new) == (None, 1)
    assert (await row_of(host, "second")).reason == "rate_limited"
    again = {one.data_type: one for one in await host.poll_all_platforms_for_user("ada")}
    assert again["first"].new == 0
