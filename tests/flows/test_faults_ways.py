"""Platforms that answer slowly, without end or with a signpost elsewhere: to the token endpoint and to the API."""

import tracemalloc
from functools import partial

import pytest
from support.bare import Server, answer, chunked
from support.refreshing import change, impatient, is_good, journal, statuses
from support.served import on_sqlite

from soulwatch import Misconfigured, Unavailable, UnexpectedAnswer

pytestmark = on_sqlite
MIB = 1024 * 1024
LOSES_PATIENCE_S = 4
DRIPS = {
    "its head": [b"HTTP/1.1 200 OK\r\n", *[b"x-slow: 1\r\n"] * 600],
    "its body": [b"HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\n", *[b"a"] * 600],
}


def at(server, world):
    """Settings under which the sandbox is at another address."""
    platforms = world.settings().model_dump()["platforms"]
    return {"platforms": {**platforms, "sandbox": {"oauth_url": server.url, "api_url": server.url}}}


@pytest.mark.fault("F24")
@pytest.mark.parametrize("pieces", DRIPS.values(), ids=DRIPS.keys())
async def test_a_token_endpoint_that_drips_is_given_up_and_other_platforms_are_not_kept_waiting(world, pieces):
    async with world.host() as host:
        slow, other = await world.connect(host), await world.connect(host, "spotify")
    async with (
        Server(*pieces, pause=0.1) as dripping,
        world.host(**at(dripping, world)) as host,
    ):
        impatient(host, LOSES_PATIENCE_S)
        for connection in (slow, other):
            await change(host, connection, next_refresh_at=host.clock.now())
        await host.sweeper.sweep()

        [given_up], [renewed] = await journal(host, slow), await journal(host, other)
        assert len(dripping.asked) == 1
        assert (given_up.state, renewed.state) == ("unknown", "applied")
        assert renewed.finished_at < given_up.finished_at
        assert (await host.accounts.row(slow.id)).status == "connected"
    async with world.host() as host:
        assert is_good(world, await host.tokens.fresh(slow.id, is_asked_for=True))


@pytest.mark.fault("F24")
async def test_one_answer_that_drips_keeps_no_other_connection_of_its_platform_waiting(world):
    async with world.host() as host:
        impatient(host, LOSES_PATIENCE_S)
        connections = [await world.connect(host, user=f"user {number}") for number in range(8)]
        world.sandbox.faults.add("drip", path="/token", after_bytes=1, seconds=0.1)
        for connection in connections:
            await change(host, connection, next_refresh_at=host.clock.now())
        await host.sweeper.sweep()

        ended = sorted(
            [attempt for one in connections for attempt in await journal(host, one)], key=lambda a: a.finished_at
        )
        assert [attempt.state for attempt in ended] == ["applied"] * 7 + ["unknown"]


TOO_MUCH = {
    "a hundred thousand headers": [b"HTTP/1.1 200 OK\r\n", *[b"x-a: " + b"1" * 100 + b"\r\n"] * 100_000],
    "one header without end": [b"HTTP/1.1 200 OK\r\nx-a: ", *[b"1" * 65536] * 3000],
    "a body without end": [*chunked([b" " * 65536])][:-1] + [f"{65536:x}\r\n".encode() + b" " * 65536 + b"\r\n"] * 3000,
    "a length of two gigabytes": [b"HTTP/1.1 200 OK\r\ncontent-length: 2000000000\r\n\r\n", *[b" " * 65536] * 3000],
}


@pytest.mark.fault("F25")
@pytest.mark.parametrize("pieces", TOO_MUCH.values(), ids=TOO_MUCH.keys())
async def test_more_than_can_be_is_cut_off_at_the_token_endpoint_and_at_the_api(world, pieces):
    async with world.host() as host:
        connection = await world.connect(host)
    async with Server(*pieces) as server:
        async with world.host(**at(server, world)) as host:
            assert await at_most(partial(host.poll_connection, connection.id, "archive")) < 32 * MIB
            assert await at_most(partial(refused, host, connection)) < 32 * MIB
            assert await host.data(user="ada") == []
        assert len(server.asked) == 2
    async with world.host() as host:
        assert {outcome.problem for outcome in await host.poll_connection(connection.id)} == {None}
        assert is_good(world, await host.tokens.fresh(connection.id, is_asked_for=True))
        assert set(await statuses(host)) == {"connected"}


async def refused(host, connection):
    with pytest.raises((Unavailable, UnexpectedAnswer)):
        await host.tokens.fresh(connection.id, is_asked_for=True)


async def at_most(work):
    """The most bytes that are held while `work` is done."""
    tracemalloc.start()
    try:
        await work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


REDIRECTS = ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
TO = {
    "another host": "{sink}/steal",
    "another host, by no scheme": "//{sink_host}/steal",
    "the network inside": "http://169.254.169.254/latest/meta-data",
    "no encryption": "http://sandbox.invalid/token",
    "itself": "{here}/sandbox/token",
}


@pytest.mark.fault("F26")
@pytest.mark.parametrize("to", TO.values(), ids=TO.keys())
async def test_no_redirect_is_followed_with_a_token_a_secret_or_a_code(world, to):
    async with world.host() as host:
        connection = await world.connect(host)
    async with Server(answer()) as sink:
        for status in REDIRECTS:
            async with Server() as server:
                place = to.format(sink=sink.url, sink_host=sink.url.partition("//")[2], here=server.url)
                server.pieces = (answer(status=status, location=place),)
                settings = at(server, world)
                async with world.host(**settings) as host:
                    with pytest.raises(Misconfigured):
                        await host.tokens.fresh(connection.id, is_asked_for=True)
                    [outcome] = await host.poll_connection(connection.id, "notes")
                    assert outcome.problem is not None
                assert len(server.asked) == 2, server.asked
                assert all("authorization: " in request.lower() for request in server.asked)
        async with Server(answer(status=REDIRECTS[3], location=f"{sink.url}/steal")) as server:
            async with world.host(**at(server, world)) as host:
                assert not await host.accounts.disconnect(connection.id)
            assert len(server.asked) == 1
        assert sink.asked == []
