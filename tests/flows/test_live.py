"""Who may listen: tickets, where they are shown, and from which page."""

import json
from datetime import UTC, datetime

import anyio
import pytest
from support.listening import close_code, heard, said_to, send
from support.served import PROTOCOL, on_sqlite
from websockets.exceptions import InvalidStatus

from soulwatch.host.web import live
from soulwatch.testing.clock import PlayedClock


async def is_refused(opening) -> bool:
    with pytest.raises(InvalidStatus) as refused:
        await opening
    return refused.value.response.status_code == 403


async def test_a_ticket_as_a_sub_protocol_opens_the_socket(served):
    async with served.socket(await served.ticket()) as opened:
        assert opened.subprotocol == PROTOCOL
        assert await said_to(opened) == {"type": "ready", "user": "ada", "last": 0}
        await send(served, 1)
        told = await said_to(opened)
    assert {name: told[name] for name in ("type", "seq", "user", "number")} == {
        "type": "note",
        "seq": 1,
        "user": "ada",
        "number": 0,
    }
    assert told["at"].endswith("Z")


async def test_a_ticket_as_the_first_message_opens_it_too(served):
    await send(served, 3)
    async with served.socket(None) as opened:
        await opened.send(json.dumps({"type": "auth", "ticket": await served.ticket(), "after": 1}))
        assert await said_to(opened) == {"type": "ready", "user": "ada", "last": 3}
        assert [event["seq"] for event in await heard(opened, 2)] == [2, 3]


@on_sqlite
async def test_an_applications_ticket_and_the_pages_own_open_it(served):
    application, browser = await served.application(), await served.operator()
    for caller, origin in ((application, None), (browser, served.url)):
        headers = {} if origin is None else {"Origin": origin}
        given = (await caller.post("/api/ws-tickets", json={"user": "ada"}, headers=headers)).json()
        async with served.socket(given["ticket"], origin=origin) as opened:
            assert (await said_to(opened))["user"] == "ada"


@on_sqlite
async def test_what_is_no_ticket_is_refused_before_the_handshake(served):
    used = await served.ticket()
    async with served.socket(used):
        pass
    _, key = await served.host.access.new_key("front end")
    for wrong in (used, "x" * 43, key, used[:-1], "None"):
        assert await is_refused(served.socket(wrong)), wrong
    assert await is_refused(served.socket("", subprotocols=[PROTOCOL, "ticket."]))


@on_sqlite
@pytest.mark.parametrize(
    "message",
    [
        '{"type": "auth", "ticket": "wrong"}',
        '{"type": "auth"}',
        '{"type": "auth", "ticket": 7}',
        '{"type": "ping"}',
        '{"type": "auth", "user": "ada"}',
        "[]",
        "nope",
        "[" * 16_000,
        b"\xff\xfe",
        b"",
    ],
)
async def test_a_first_message_that_proves_nothing_ends_it(served, message):
    opened = await served.stack.enter_async_context(served.socket(None))
    await opened.send(message)

    assert await close_code(opened) == 4401


@on_sqlite
async def test_who_says_nothing_is_not_waited_for(served, monkeypatch):
    monkeypatch.setattr(live, "SAY_WHO_WITHIN_S", 0.05)  # five real seconds otherwise: the event loop's own time
    opened = await served.stack.enter_async_context(served.socket(None))

    assert await close_code(opened) == 4401


@on_sqlite
async def test_a_ticket_in_the_address_is_none(served):
    ticket = await served.ticket()
    opened = await served.stack.enter_async_context(served.socket(None, f"?ticket={ticket}&user=ada"))
    await opened.send('{"type": "ping"}')

    assert await close_code(opened) == 4401


async def test_a_ticket_is_used_once_even_by_two_at_once(served):
    ticket = await served.ticket()
    opened = []

    async def enter():
        try:
            opened.append(await served.stack.enter_async_context(served.socket(ticket)))
        except InvalidStatus as refused:
            opened.append(refused.response.status_code)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(enter)
    assert opened.count(403) == 3


async def test_a_ticket_is_good_for_thirty_seconds(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        in_time, too_late, first_message = [await served.ticket() for _ in range(3)]
        await clock.advance(29)
        async with served.socket(in_time):
            pass
        await clock.advance(1)
        assert await is_refused(served.socket(too_late))
        opened = await served.stack.enter_async_context(served.socket(None))
        await opened.send(json.dumps({"type": "auth", "ticket": first_message}))
        assert await close_code(opened) == 4401


@on_sqlite
async def test_a_page_of_another_origin_does_not_get_in(serve):
    async with serve(cors_origins="https://app.example") as served:
        for origin in ("https://evil.example", "https://app.example.evil.example", "http://127.0.0.1", "null"):
            assert await is_refused(served.socket(await served.ticket(), origin=origin)), origin
            assert await is_refused(served.socket(None, origin=origin)), origin
        for origin in ("https://app.example", served.url, None):
            async with served.socket(await served.ticket(), origin=origin) as opened:
                assert (await said_to(opened))["type"] == "ready"


@on_sqlite
async def test_a_ticket_that_the_page_obtained_is_good_for_that_page_alone(serve):
    async with serve(cors_origins="https://app.example") as served:
        browser = await served.operator()

        async def ticket():
            given = await browser.post("/api/ws-tickets", json={"user": "ada"}, headers={"Origin": served.url})
            return given.json()["ticket"]

        assert await is_refused(served.socket(await ticket(), origin="https://app.example"))
        assert await is_refused(served.socket(await ticket()))
        opened = await served.stack.enter_async_context(served.socket(None, origin="https://app.example"))
        await opened.send(json.dumps({"type": "auth", "ticket": await ticket()}))
        assert await close_code(opened) == 4401
