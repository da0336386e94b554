"""What is heard: every event of one's own user, in order and once, whatever happens in between."""

import json
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from support.listening import close_code, heard, hears_nothing, said_to, send
from support.served import PROTOCOL, free_port, on_sqlite, running, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from soulwatch.host.app import create_app
from soulwatch.host.store import events
from soulwatch.testing.clock import PlayedClock
from soulwatch.values import Event


async def test_events_of_a_poll_come_in_order_and_once(served, world):
    sockets = [await served.listening("ada") for _ in range(2)]
    other = await served.listening("bo")
    await world.connect(served.host)
    await served.host.poll_all_platforms_for_user("ada")
    stored = await served.host.events("ada")

    told = [await heard(one, len(stored)) for one in sockets]

    assert told[0] == told[1]
    assert [event["seq"] for event in told[0]] == [event.seq for event in stored] == list(range(1, len(stored) + 1))
    assert {event["type"] for event in told[0]} >= {
        "connection_status",
        "new_data",
        "platform_sync",
        "extraction_progress",
    }
    assert all([await hears_nothing(one) for one in (*sockets, other)])


async def test_who_comes_back_reads_what_was_missed(served):
    await send(served, 5)
    back = await served.listening("ada", "?after=2")
    new = await served.listening("ada")
    assert [event["seq"] for event in await heard(back, 3)] == [3, 4, 5]
    await send(served, 1)
    assert [(await said_to(one))["seq"] for one in (back, new)] == [6, 6]


async def test_who_was_away_for_long_reads_more_than_a_queue_holds(served):
    async with served.host.database.writing() as transaction:
        await events.append(transaction, [Event("note", "ada")] * 600, datetime.now(UTC))
    back = await served.listening("ada", "?after=0")

    assert [event["seq"] for event in await heard(back, 600)] == list(range(1, 601))


async def test_what_is_lost_is_not_passed_over_in_silence(served):
    now = datetime.now(UTC)
    async with served.host.database.writing() as transaction:
        await events.append(transaction, [Event("note", "ada")] * 4, now - timedelta(days=9))
        await events.append(transaction, [Event("note", "ada")] * 2, now)
        await events.prune(transaction, now - timedelta(days=7))
    cases = {"?after=2": True, "?after=3": True, "?after=4": False, "?after=6": False, "?after=7": True, "": False}
    for query, is_lost in cases.items():
        back = await served.stack.enter_async_context(served.socket(await served.ticket(), query))
        assert await said_to(back) == {"type": "ready", "user": "ada", "last": 6}
        if is_lost:
            assert await said_to(back) == {"type": "resync", "last": 6}, query
            assert await hears_nothing(back)
    assert [event["seq"] for event in await heard(await served.listening("ada", "?after=4"), 2)] == [5, 6]


async def test_who_comes_back_after_everything_was_forgotten_is_told_so(served):
    await send(served, 3)
    async with served.host.database.writing() as transaction:
        await events.prune(transaction, datetime.now(UTC) + timedelta(days=1))
    back = await served.stack.enter_async_context(served.socket(await served.ticket(), "?after=1"))

    assert [message["type"] for message in await heard(back, 2)] == ["ready", "resync"]
    await send(served, 1)
    assert (await said_to(back))["seq"] == 4


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "", "9" * 30, "٣", "null"])
@on_sqlite
async def test_a_number_that_is_none_counts_as_not_said(served, after):
    await send(served, 1)
    opened = await served.listening("ada", f"?after={after}")

    await send(served, 1)
    assert (await said_to(opened))["seq"] == 2


@on_sqlite
async def test_a_ping_is_answered(served):
    opened = await served.listening()
    await opened.send('{"type": "ping"}')
    assert await said_to(opened) == {"type": "pong"}
    await (await opened.ping())


@on_sqlite
async def test_nothing_a_client_says_changes_whose_events_it_hears(served):
    opened = await served.listening("ada")
    other = await served.ticket("bo")
    for message in (
        '{"type": "auth", "user": "bo"}',
        json.dumps({"type": "auth", "ticket": other, "after": 0}),
        '{"type": "subscribe", "user": "bo", "userId": "bo"}',
        '{"userId": "bo"}',
        "bo",
        "[" * 16_000,
        b"\xff\xfe\xfd",
        b"",
    ):
        await opened.send(message)
    await send(served, 1, user="bo")
    await send(served, 1, user="ada")

    assert (await said_to(opened))["user"] == "ada"
    assert await hears_nothing(opened)
    async with served.socket(other):
        pass  # and the other ticket is not used up


@on_sqlite
async def test_who_says_too_much_is_let_go(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        patient, hasty, wordy = [await served.listening() for _ in range(3)]
        for _ in range(60):
            await patient.send('{"type": "ping"}')
            await hasty.send('{"type": "ping"}')
        assert [message["type"] for message in await heard(patient, 60)] == ["pong"] * 60
        await clock.advance(61)
        await patient.send('{"type": "ping"}')
        assert (await said_to(patient))["type"] == "pong"
        assert len(await heard(hasty, 60)) == 60
    async with serve(clock=PlayedClock(datetime.now(UTC))) as served:
        hasty, wordy = [await served.listening() for _ in range(2)]
        for _ in range(61):
            await hasty.send('{"type": "ping"}')
        assert await close_code(hasty) == 1008
        await wordy.send('{"type": "ping", "why": "' + "x" * 16_384 + '"}')
        assert await close_code(wordy) == 1009


def narrow_socket(served) -> socket.socket:
    """A way to the host through which little fits at once."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", served.host.settings.port))
    made.setblocking(False)
    return made


async def test_who_reads_too_slowly_is_let_go_while_others_go_on_and_comes_back_for_the_rest(served):
    slow = await served.listening("ada", sock=narrow_socket(served), max_queue=1, ping_interval=None)
    fast, other = await served.listening("ada"), await served.listening("bo")
    async with served.host.database.writing() as transaction:
        happened = [Event("note", "ada", data={"text": "x" * 15_000})] * 1000
        told = await events.append(transaction, happened, datetime.now(UTC))
    for event in told:
        await served.host.announce([event])
        assert (await said_to(fast))["seq"] == event.seq
        if served.host.broadcaster.open_sockets == 2:
            break
    assert event.seq < 1000
    await served.host.announce(told[event.seq : event.seq + 5])
    assert [one["seq"] for one in await heard(fast, 5)] == list(range(event.seq + 1, event.seq + 6))
    await send(served, 1, user="bo")
    assert (await said_to(other))["user"] == "bo"

    seqs = []
    with anyio.fail_after(20), suppress(ConnectionClosed):
        while True:
            seqs.append(json.loads(await slow.recv())["seq"])

    assert slow.close_code == 4408
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) < event.seq
    back = await served.listening("ada", f"?after={seqs[-1]}")
    assert [event["seq"] for event in await heard(back, 1000 - len(seqs))] == list(range(len(seqs) + 1, 1001))


@on_sqlite
async def test_who_leaves_is_forgotten(served):
    for leave in ("close", "abort"):
        opened = await served.listening()
        assert served.host.broadcaster.open_sockets == 1
        if leave == "close":
            await opened.close()
        else:
            opened.transport.abort()
        await until(lambda: served.host.broadcaster.open_sockets == 0)
    await send(served, 1)


async def test_events_that_another_process_stored_arrive(served, world):
    opened = await served.listening()
    async with world.host() as another:
        await another.send_to_user("ada", {"type": "note", "from": "elsewhere"})
        assert await hears_nothing(opened)
        await served.host.broadcaster.look_around()
        assert (await said_to(opened))["from"] == "elsewhere"
        await another.send_to_user("ada", {"type": "note", "from": "elsewhere"})
        await send(served, 1)
        assert [event["seq"] for event in await heard(opened, 2)] == [2, 3]
        await served.host.broadcaster.look_around()
        assert await hears_nothing(opened)


async def test_the_background_work_looks_around_by_itself_and_its_end_is_told(serve, world):
    clock = PlayedClock(datetime.now(UTC), settle=lambda: anyio.sleep(0.01))
    async with serve(clock=clock) as served, served.host.working(), world.host() as another:
        opened = await served.listening()
        await another.send_to_user("ada", {"type": "note"})
        await clock.advance(2)
        assert (await said_to(opened))["seq"] == 1
        served.host.worker.stop()
        assert await close_code(opened) == 1012


@on_sqlite
async def test_a_server_that_ends_says_so(world):
    listener = free_port()
    async with world.host(port=listener.getsockname()[1]) as host:
        app = create_app(host=host, worker=False)
        async with app.router.lifespan_context(app), running(app, listener, is_quiet=False) as server:
            url = f"ws://127.0.0.1:{host.settings.port}/ws"
            ticket = await host.access.ticket("ada", None, "the test")
            opened = await connect(url, subprotocols=[PROTOCOL, f"ticket.{ticket}"], proxy=None)
            await opened.recv()
            server.should_exit = True
            assert await close_code(opened) == 1012
        assert host.broadcaster.open_sockets == 0
