"""Platforms that nobody vouches for, and platforms that are not there: real certificates, sockets and names."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
from cryptography import x509
from support.authority import HERE, Authority
from support.proxy import Proxy
from support.refreshing import expire, is_good, journal, played, refreshes, statuses
from support.served import on_sqlite
from support.stocktaking import revoked

from soulwatch import Unavailable
from soulwatch.host.timing import RefreshPolicy

pytestmark = on_sqlite
A_WHILE_S = 3700
TIMES = 3
WRONG = {
    "another host's": {"alt": x509.DNSName("elsewhere.example")},
    "one whose time is over": {"days": -1},
    "one that nobody vouches for": {"by": "a stranger"},
}


class Front:
    """Where a platform should be, behind TLS; whoever stands there instead writes down what he is told."""

    def __init__(self, target, folder):
        self.target, self.folder = target, folder
        self.authority = self._authority("the operator's own")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.place = taken.getsockname()
        self.url = f"https://127.0.0.1:{self.place[1]}"

    def _authority(self, name):
        (self.folder / name).mkdir()
        return Authority(self.folder / name)

    def open(self, alt=HERE, days=1, by=None):
        """Somebody is there, with such a certificate."""
        authority = self._authority(by) if by else self.authority
        return Proxy(self.target).running(socket.create_server(self.place), authority.context(alt, days=days))

    @asynccontextmanager
    async def plain(self, heard):
        """Somebody is there who speaks no TLS."""

        async def visited(reader, writer):
            heard.append(await reader.read(65536))
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(visited, *self.place):
            yield


@pytest.fixture
def open_fronted(open_world, tmp_path):
    """A connection whose token is due at a platform behind a front, and the host that is to refresh it."""

    @asynccontextmanager
    async def open_(oauth_url=None):
        clock = played()
        async with open_world(rotation="strict", now=clock.now) as world:
            async with world.host(clock=clock) as host:
                connection = await world.connect(host)
                await expire(world, host, connection)
            front = Front(world.url, tmp_path)
            platform = {"api_url": world.url, "oauth_url": oauth_url or front.url, "schedules": {}}
            given = {"platforms": {"sandbox": platform}, "ca_file": str(front.authority.file)}
            async with world.host(RefreshPolicy(), clock=clock, **given) as host:
                yield Due(world, host, clock, connection), front

    return open_


class Due:
    """A connection whose token is due."""

    def __init__(self, world, host, clock, connection):
        self.world, self.host, self.clock, self.connection = world, host, clock, connection

    async def cannot_be_refreshed(self):
        """However often it is tried, the connection stays as it is, and nothing is in doubt."""
        for _ in range(TIMES):
            with pytest.raises(Unavailable):
                await self.host.tokens.fresh(self.connection.id)
            row = await self.host.accounts.row(self.connection.id)
            assert (row.status, row.reason, row.is_ambiguous) == ("connected", "unavailable", False)
            await self.clock.advance(A_WHILE_S)
        assert [attempt.state for attempt in await journal(self.host, self.connection)] == ["not_sent"] * TIMES

    async def can_be_refreshed(self, host=None):
        """It succeeds with the first request, and its user was never told to do anything."""
        host = host or self.host
        assert is_good(self.world, await host.tokens.fresh(self.connection.id))
        assert len(refreshes(self.world)) == 1
        assert not revoked(self.world)
        assert set(await statuses(host)) == {"connected"}


@pytest.mark.parametrize("certificate", WRONG)
@pytest.mark.fault("F13", how="real")
async def test_a_certificate_that_is_wrong_keeps_the_token_here_and_costs_no_connection(open_fronted, certificate):
    async with open_fronted() as (due, front):
        async with front.open(**WRONG[certificate]) as stranger:
            await due.cannot_be_refreshed()
            assert stranger.heard == b""
        async with front.open() as known:
            await due.can_be_refreshed()
            assert b"refresh_token=" in known.heard


@pytest.mark.fault("F13", how="real")
async def test_who_speaks_no_tls_at_all_is_told_no_secret(open_fronted):
    async with open_fronted() as (due, front):
        heard = []
        async with front.plain(heard):
            await due.cannot_be_refreshed()
        assert len(heard) == TIMES
        assert not [said for said in heard if b"POST" in said or b"refresh_token" in said or b"invented" in said]
        async with front.open():
            await due.can_be_refreshed()


@pytest.mark.fault("F12", how="real")
async def test_where_nobody_listens_nothing_is_sent_and_nothing_in_doubt(open_fronted):
    async with open_fronted() as (due, front):
        await due.cannot_be_refreshed()
        async with front.open():
            await due.can_be_refreshed()


@pytest.mark.fault("F12", how="real")
async def test_where_there_is_no_such_name_nothing_is_sent_and_nothing_in_doubt(open_fronted):
    async with open_fronted("https://nowhere.invalid") as (due, _):
        await due.cannot_be_refreshed()
        async with due.world.host(RefreshPolicy(), clock=due.clock) as host:
            await due.can_be_refreshed(host)
