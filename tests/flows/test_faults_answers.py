"""What a token endpoint may answer for an hour, and what hosts send meanwhile, by a clock of the test's own."""

from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import httpx
import pytest
from sqlalchemy import text
from support.refreshing import expire, impatient, is_good, played, refreshes, statuses
from support.served import on_sqlite
from support.world import WITHOUT_WAITING

from soulwatch import Account, Token, Unavailable
from soulwatch.host.breaker import DOWN_FROM
from soulwatch.host.settling import PROMPT_TRIES

pytestmark = on_sqlite
LOOKS_EVERY_S = 15
OFTEN_S = 2


async def let_pass(host, clock, seconds, every_s=LOOKS_EVERY_S):
    """The background's looks, one after the other."""
    for _ in range(seconds // every_s):
        await host.sweeper.sweep()
        await host.sweeper.recover()
        await clock.advance(every_s)


def gaps(world):
    """The seconds between one refresh and the next."""
    at = [entry.at for entry in refreshes(world)]
    return [(later - earlier).total_seconds() for earlier, later in pairwise(at)]


async def an_hour_of(world, host, clock, **fault):
    """A token that ends while the platform is not well; how often it was asked."""
    await clock.advance(600)
    world.sandbox.requests.clear()
    world.sandbox.faults.add(path="/token", times=None, **fault)
    await let_pass(host, clock, 3600)
    world.sandbox.faults.clear()
    return len(refreshes(world))


@pytest.mark.fault("F10")
@pytest.mark.parametrize("status", [500, 504])
async def test_an_hour_of_outage_costs_few_requests_and_troubles_nobody(open_world, status):
    clock = played()
    async with open_world(rotation="none", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        asked = await an_hour_of(world, host, clock, kind="status", status=status)
        assert 5 <= asked <= 90
        assert (await host.accounts.row(connection.id)).reason == "unavailable"
        await let_pass(host, clock, 3600)

        assert (await host.accounts.row(connection.id)).reason is None
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        assert set(await statuses(host)) == {"connected"}


@pytest.mark.fault("F10")
@pytest.mark.parametrize("users", [1, 5])
async def test_within_a_minute_after_an_outage_all_is_well_again(open_world, users):
    clock = played()
    async with open_world(rotation="none", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        await give(world, host, [f"user {number}" for number in range(users)])
        asked = await an_hour_of(world, host, clock, kind="status", status=503)
        # Each promptly a few times, since a 503 may have used the token up; then one a minute for all. Who is alone
        # waits three quarters of a minute on average.
        assert asked <= (60 + users * (1 + PROMPT_TRIES) if users >= DOWN_FROM else 80)
        # A minute, and the next look of the background, which looks every two seconds.
        await let_pass(host, clock, 60 + OFTEN_S, OFTEN_S)

        assert {row.reason for row in await host.accounts.rows()} == {None}


LATER = "later"
EARLIER = "earlier"
WAITS = {
    LATER: 600,
    EARLIER: 0,
    "-120": 0,
    "1" + "0" * 12: 3600,
    "9" * 400: 0,
    "soon": 0,
    "": 0,
}


@pytest.mark.fault("F11")
@pytest.mark.parametrize(("said", "least_s"), WAITS.items(), ids=lambda value: str(value)[:20])
async def test_a_web_page_that_asks_to_wait_is_waited_for_as_long_as_makes_sense(open_world, said, least_s):
    clock = played()
    async with open_world(rotation="none", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        dates = {LATER: clock.now() + timedelta(seconds=600), EARLIER: clock.now() - timedelta(days=400)}
        said = format_datetime(dates[said], usegmt=True) if said in dates else said
        way = host.platforms.token_way("sandbox")
        page = httpx.Response(503, headers={"Retry-After": said}, html="<h1>Back soon</h1>")
        impatient(host, 5, httpx.MockTransport(lambda _request: page))
        with pytest.raises(Unavailable):
            await host.ensure_fresh_token("ada", "sandbox")
        host.platforms._ways["sandbox", "tokens"] = way

        row = await host.accounts.row(connection.id)
        waits = (row.next_refresh_at - clock.now()).total_seconds()
        assert least_s - 1 <= waits <= max(least_s, 60)
        await clock.advance(waits)
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        assert set(await statuses(host)) == {"connected"}


async def give(world, host, users):
    """Connections with real grants, made without a consent page."""
    facts = host.platforms.facts("sandbox")
    for user in users:
        issued = world.sandbox.grant("sandbox", "mira")
        token = Token(issued.access, issued.refresh, host.clock.now() + timedelta(seconds=900))
        await host.accounts.store(user, facts, Account(f"account of {user}", user), token)


@pytest.mark.fault("F16")
async def test_behind_a_captive_portal_tokens_stay_and_no_page_gets_among_the_records(open_world):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        await host.poll_connection(connection.id)
        before = await everything(host)
        world.sandbox.faults.add("html", times=None)
        await clock.advance(400)
        for _ in range(12):
            outcomes = await host.poll_connection(connection.id)
            assert all(outcome.problem for outcome in outcomes)
            await let_pass(host, clock, 60)
        assert await everything(host) == before
        world.sandbox.faults.clear()
        await let_pass(host, clock, 3600, 30)
        outcomes = await host.poll_connection(connection.id)

        assert {outcome.problem for outcome in outcomes} == {None}
        assert set(await statuses(host)) == {"connected"}


async def everything(host):
    """Records, and how far the polls have got."""
    async with host.database.reading() as transaction:
        records = (
            await transaction.execute(text("SELECT item_key, raw_data FROM user_platform_data ORDER BY id"))
        ).all()
        cursors = (
            await transaction.execute(text("SELECT data_type, cursor, etag FROM polls ORDER BY data_type"))
        ).all()
    return records, cursors


LIVES = [None, "3600", 3600.5, 0, -1, 1e308, float("nan"), [3600], True]


@pytest.mark.fault("F19")
@pytest.mark.parametrize("life", LIVES, ids=str)
async def test_whatever_life_a_token_is_said_to_have_it_is_renewed_in_time_and_never_twice_in_half_a_minute(
    open_world, life
):
    clock = played()
    async with open_world(rotation="strict", now=clock.now) as world, world.host(WITHOUT_WAITING, clock=clock) as host:
        connection = await world.connect(host)
        world.sandbox.faults.add("expires_in", path="/token", value=life, times=None)
        await expire(world, host, connection)
        for _ in range(5):
            await host.ensure_fresh_token("ada", "sandbox")
            await let_pass(host, clock, 60)
        await let_pass(host, clock, 2 * 3600, 120)

        assert 2 <= len(refreshes(world)) <= 4
        assert min(gaps(world)) >= 30
        row = await host.accounts.row(connection.id)
        assert clock.now() < row.token_expires_at <= clock.now() + timedelta(hours=1, seconds=1)
        assert clock.now() - timedelta(seconds=120) < row.next_refresh_at < row.token_expires_at


@pytest.mark.fault("F20")
@pytest.mark.parametrize("rotation", ["none", "strict"])
async def test_the_refresh_token_that_comes_back_the_same_goes_on_working(open_world, rotation):
    async with open_world(rotation="none") as world, world.host() as host:
        connection = await world.connect(host)
        before = await host.ensure_fresh_token("ada", "sandbox")
        if rotation == "strict":
            world.sandbox.faults.add(
                "set_member", path="/token", name="refresh_token", value=before.refresh, times=None
            )
        for _ in range(3):
            await expire(world, host, connection)
            after = await host.ensure_fresh_token("ada", "sandbox")
            assert after.refresh == before.refresh
            assert is_good(world, after)


ALL = ["notes", "mood", "follows", "archive"]
SCOPES = {
    "fewer": (["notes", "mood"], {"notes", "mood"}),
    "more": ([*ALL, "letters"], {*ALL, "letters"}),
    "in another order": (ALL[::-1], set(ALL)),
    "not named": (None, set(ALL)),
    "named twice": (ALL + ALL, set(ALL)),
    "none at all": ([], set(ALL)),
}


@pytest.mark.fault("F21")
@pytest.mark.parametrize(("said", "kept"), SCOPES.values(), ids=SCOPES.keys())
async def test_the_scopes_of_a_new_token_are_kept_fewer_are_told_and_what_was_read_before_stays(open_world, said, kept):
    async with open_world(rotation="strict") as world, world.host() as host:
        connection = await world.connect(host)
        await host.poll_connection(connection.id)
        before = await everything(host)
        world.sandbox.faults.add(
            "set_member", path="/token", name="scope", value=None if said is None else " ".join(said)
        )
        await expire(world, host, connection)
        token = await host.ensure_fresh_token("ada", "sandbox")

        told = {event.data.get("reason") for event in await host.events("ada") if event.type == "connection_status"}
        assert told == ({None, "scope_missing"} if kept < set(ALL) else {None})
        assert set(token.scopes) == kept
        assert set((await host.accounts.row(connection.id)).scopes.split()) == kept
        assert await everything(host) == before
        assert (await host.accounts.row(connection.id)).status == "connected"
