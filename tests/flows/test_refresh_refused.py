"""What a platform may answer instead of a token, and whom it is allowed to trouble."""

import socket
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest
from support.refreshing import expire, impatient, is_good, journal, played, refreshes, statuses
from support.served import on_sqlite

from soulwatch import Misconfigured, NeedsReauth, RateLimited, SoulwatchError, Unavailable, UnexpectedAnswer
from soulwatch.host.timing import RefreshPolicy

NOT_WELL = {
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503},
    "504": {"kind": "status", "status": 504},
    "503 that asks to wait": {"kind": "status", "status": 503, "retry_after": 120},
    "503 that asks to have waited": {"kind": "status", "status": 503, "retry_after": -120},
    "503 that asks to wait for ever": {"kind": "status", "status": 503, "retry_after": 10**12},
    "408": {"kind": "status", "status": 408},
    "425": {"kind": "status", "status": 425},
    "429": {"kind": "limited"},
    "429 in words": {"kind": "status", "status": 429, "retry_after": "soon"},
    "400 without a code": {"kind": "status", "status": 400},
    "401 without a code": {"kind": "status", "status": 401},
    "403": {"kind": "status", "status": 403},
    "404": {"kind": "status", "status": 404},
    "410": {"kind": "status", "status": 410},
    "a redirect": {"kind": "redirect"},
    "a web page": {"kind": "html"},
    "half a JSON text": {"kind": "malformed"},
    "not a byte": {"kind": "empty"},
    "no access token": {"kind": "set_member", "name": "access_token", "value": None},
    "a number for an access token": {"kind": "set_member", "name": "access_token", "value": 7},
    "an error nobody knows": {"kind": "set_member", "name": "error", "value": "out_of_cheese"},
    "a server error in HTTP 200": {"kind": "set_member", "name": "error", "value": "server_error"},
    "an error of no known form": {"kind": "set_member", "name": "error", "value": {"code": 190}},
    "invalid_client": {"kind": "invalid_client"},
    "invalid_request": {"kind": "set_member", "name": "error", "value": "invalid_request"},
    "invalid_scope": {"kind": "set_member", "name": "error", "value": "invalid_scope"},
    "more than can be": {"kind": "huge", "mib": 1},
    "a bomb": {"kind": "gzip_bomb", "mib": 4},
    "nothing within the time": {"kind": "hang", "seconds": 5},
    "a drip": {"kind": "drip", "after_bytes": 1, "seconds": 0.05},
    "a connection that breaks at once": {"kind": "drop"},
    "a connection that breaks within the answer": {"kind": "cut"},
    "a connection that breaks before the answer": {"kind": "lose_answer"},
}
SHOWS = {
    name: pytest.mark.fault(fault)
    for fault, names in {
        "F10": ("500", "502", "503", "504"),
        "F11": ("503 that asks to wait", "503 that asks to have waited", "503 that asks to wait for ever"),
        "F15": ("404", "410"),
        "F16": ("a web page",),
        "F18": ("a server error in HTTP 200", "an error of no known form", "an error nobody knows"),
        "F24": ("a drip",),
        "F25": ("more than can be", "a bomb"),
        "F26": ("a redirect",),
    }.items()
    for name in names
}
"""The row of the fault table that a case is about; some are about none."""


async def put_to_the_test(world, host, clock, connection, mend):
    """Hours of it, and then it is over: the connection is as it was, and nobody was troubled."""
    for _ in range(6):
        with pytest.raises(SoulwatchError) as refused:
            await host.ensure_fresh_token("ada", "sandbox")
        assert isinstance(refused.value, Unavailable | RateLimited | Misconfigured | UnexpectedAnswer)
        row = await host.accounts.row(connection.id)
        assert (row.status, row.lease_until) == ("connected", None)
        assert row.reason in {"unavailable", "rate_limited", "misconfigured"}
        assert row.next_refresh_at <= clock.now() + timedelta(hours=1)
        await clock.advance(3700)
    asked = len(refreshes(world))
    mend()
    token = await host.ensure_fresh_token("ada", "sandbox")

    assert is_good(world, token)
    assert len(refreshes(world)) == asked + 1
    row = await host.accounts.row(connection.id)
    assert (row.status, row.reason, row.error_message, row.fail_count) == ("connected", None, None, 0)
    assert set(await statuses(host)) == {"connected"}
    assert (await host.events("ada"))[-1].data["message"] == "Well again"
    assert "intent" not in {attempt.state for attempt in await journal(host, connection)}


@pytest.mark.parametrize(
    "fault",
    [pytest.param(one, id=name, marks=SHOWS.get(name, ())) for name, one in NOT_WELL.items()],
)
@on_sqlite
async def test_a_platform_that_is_not_well_troubles_no_user(open_world, fault):
    clock = played()
    async with open_world(rotation="none", now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        impatient(host, 0.1 if fault["kind"] in {"hang", "drip"} else 5)
        world.sandbox.faults.add(path="/token", times=None, **fault)

        await put_to_the_test(world, host, clock, connection, world.sandbox.faults.clear)


@pytest.mark.fault("F12")
@on_sqlite
async def test_a_platform_where_nobody_listens_troubles_no_user(open_world):
    clock = played()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with open_world(rotation="strict", now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        way = host.platforms.token_way("sandbox")

        async def unreached(request):
            return await way._inner.handle_async_request(httpx.Request("POST", nowhere, stream=request.stream))

        impatient(host, 5, httpx.MockTransport(unreached))
        for _ in range(3):
            with pytest.raises(Unavailable, match="ConnectError"):
                await host.ensure_fresh_token("ada", "sandbox")
            row = await host.accounts.row(connection.id)
            assert (row.status, row.is_ambiguous) == ("connected", False)
            await clock.advance(3700)

        assert {attempt.state for attempt in await journal(host, connection)} == {"not_sent"}
        host.platforms._ways["sandbox", "tokens"] = way
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
        assert len(refreshes(world)) == 1
        assert set(await statuses(host)) == {"connected"}


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        (120, 120),
        ("2.5", 30),
        (86400, 3600),
        (-5, 30),
        ("soon", 30),
        ("a date", 600),
    ],
)
@on_sqlite
async def test_a_limit_is_kept_in_every_form_it_is_said(open_world, said, wait_s):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        if said == "a date":
            said = format_datetime(clock.now() + timedelta(seconds=600), usegmt=True)
        world.sandbox.faults.add("status", path="/token", status=429, retry_after=said)
        with pytest.raises(RateLimited):
            await host.ensure_fresh_token("ada", "sandbox")

        row = await host.accounts.row(connection.id)
        waits = (row.next_refresh_at - clock.now()).total_seconds()
        assert wait_s - 1 <= waits <= wait_s
        assert not row.is_ambiguous
        with pytest.raises(Unavailable) as later:
            await host.ensure_fresh_token("ada", "sandbox")
        assert later.value.retry_at == row.next_refresh_at
        assert len(refreshes(world)) == 1
        await clock.advance(waits)
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))


async def test_a_grant_that_is_dead_and_said_so_twice_is_its_users_matter(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.revoke_user("mira")

        with pytest.raises(Unavailable) as doubted:
            await host.ensure_fresh_token("ada", "sandbox")
        assert doubted.value.retry_at == clock.now() + timedelta(seconds=60)
        assert await statuses(host) == ["connected", "connected"]
        await clock.advance(59)
        with pytest.raises(Unavailable):
            await host.ensure_fresh_token("ada", "sandbox")
        assert len(refreshes(world)) == 1

        await clock.advance(1)
        with pytest.raises(NeedsReauth):
            await host.ensure_fresh_token("ada", "sandbox")
        row = await host.accounts.row(connection.id)
        assert (row.status, row.reason, row.next_refresh_at) == ("needs_reauth", "invalid_grant", None)
        told = (await host.events("ada"))[-1]
        assert (told.type, told.platform, told.connection) == ("connection_status", "sandbox", connection.id)
        assert (told.data["status"], told.data["reason"]) == ("needs_reauth", "invalid_grant")
        assert told.data["message"].startswith("Sandbox no longer honours this connection: connect it again.")

        for _ in range(3):
            with pytest.raises(NeedsReauth, match="connect it again"):
                await host.ensure_fresh_token("ada", "sandbox")
            assert await host.sweeper.sweep() == 0
        assert len(refreshes(world)) == 2

        # Connecting again brings it back, the same connection with its history.
        again = await world.connect(host)
        assert again.id == connection.id
        assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))


@pytest.mark.fault("F23")
@on_sqlite
async def test_a_grant_that_is_called_dead_once_and_then_not_is_nobodys_matter(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        for _ in range(3):
            await expire(world, host, connection)
            world.sandbox.faults.add("invalid_grant", path="/token")
            with pytest.raises(Unavailable):
                await host.ensure_fresh_token("ada", "sandbox")
            await clock.advance(61)
            assert is_good(world, await host.ensure_fresh_token("ada", "sandbox"))
            row = await host.accounts.row(connection.id)
            assert (row.status, row.doubted_at) == ("connected", None)
            await clock.advance(600)

        assert set(await statuses(host)) == {"connected"}


@pytest.mark.fault("F23")
@on_sqlite
async def test_while_the_access_token_is_good_a_dead_grant_costs_its_user_nothing(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        good = await host.ensure_fresh_token("ada", "sandbox")
        world.sandbox.faults.add("invalid_grant", path="/token")
        await clock.advance(800)  # of 900: the margin has begun
        assert await host.ensure_fresh_token("ada", "sandbox") == good
        assert len(refreshes(world)) == 1

        await clock.advance(61)
        assert await host.ensure_fresh_token("ada", "sandbox") != good
        assert (await host.accounts.row(connection.id)).doubted_at is None


@on_sqlite
async def test_who_asks_for_a_new_token_hears_why_there_is_none(world):
    async with world.host() as host:
        connection = await world.connect(host)
        world.sandbox.faults.add("status", path="/token", status=503)

        with pytest.raises(Unavailable, match="HTTP 503"):
            await host.refresh_connection(connection.id)
        assert (await host.ensure_fresh_token("ada", "sandbox")).access


@on_sqlite
async def test_a_failure_is_told_once_and_so_is_its_end(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host)
        await expire(world, host, connection)
        world.sandbox.faults.add("status", path="/token", status=503, times=4)
        for _ in range(5):
            await host.sweeper.sweep()
            await clock.advance(3700)

        told = [event.data["reason"] for event in await host.events("ada") if event.type == "connection_status"]
        assert told == [None, "unavailable", None]


@pytest.mark.fault("F27")
@pytest.mark.parametrize("member", ["error", "error_description"])
@on_sqlite
async def test_what_is_told_of_a_refusal_holds_no_token_though_the_platform_repeats_it(world, member):
    async with world.host() as host:
        connection = await world.connect(host)
        token = await host.ensure_fresh_token("ada", "sandbox")
        await expire(world, host, connection)
        world.sandbox.faults.add("set_member", path="/token", name=member, value=f"{token.refresh} is not known here")
        world.sandbox.revoke_user("mira")
        with pytest.raises(SoulwatchError) as refused:
            await host.ensure_fresh_token("ada", "sandbox")

        row = await host.accounts.row(connection.id)
        told = [str(event.data) for event in await host.events("ada")]
        noted = [attempt.detail or "" for attempt in await journal(host, connection)]
        assert token.refresh not in "\n".join([str(refused.value), row.error_message, *told, *noted])
