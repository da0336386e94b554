import asyncio
import os
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.exc import DBAPIError
from support.refreshing import expire, held_up, is_good, journal, refreshes
from support.world import AT_ONCE

from soulwatch.host.host import Host
from soulwatch.host.settings import load_settings
from soulwatch.host.store import silence

SOCKET = ".s.PGSQL.5432"
pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database_url", ["postgres"], indirect=True)]


class Firewall:
    """Stands before PostgreSQL; told to forget, it swallows what comes over every connection that is open then."""

    def __init__(self, server, folder):
        self.folder = folder
        self._server = f"{server}/{SOCKET}"
        self._open = []
        self._pumps = set()

    async def let_through(self, reader, writer):
        connection = {"is_forgotten": False}
        self._open.append(connection)
        answers, questions = await asyncio.open_unix_connection(self._server)
        for way in ((reader, questions), (answers, writer)):
            pump = asyncio.ensure_future(self._pump(*way, connection))
            self._pumps.add(pump)

    async def _pump(self, reader, writer, connection):
        try:
            while data := await reader.read(65536):
                if not connection["is_forgotten"]:
                    writer.write(data)
        except OSError:
            pass
        finally:
            writer.close()

    def forget(self):
        for connection in self._open:
            connection["is_forgotten"] = True

    async def close(self):
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


@asynccontextmanager
async def firewall_before(postgres, tmp_path):
    folder = tmp_path / "wall"
    folder.mkdir()
    wall = Firewall(postgres.folder, folder)
    server = await asyncio.start_unix_server(wall.let_through, folder / SOCKET)
    try:
        yield wall
    finally:
        server.close()
        await wall.close()


@asynccontextmanager
async def host_behind(wall, world, postgres, tmp_path):
    given = world.given() | {"database_url": world.database_url.replace(str(postgres.folder), os.fspath(wall.folder))}
    host = await Host.open(load_settings(overrides=given, env={}, cwd=tmp_path), policy=AT_ONCE)
    try:
        yield host
    finally:
        await host.close()


@pytest.mark.fault("F46", how="real")
async def test_an_answer_is_kept_although_the_connection_it_would_go_over_is_forgotten(
    open_world, postgres, tmp_path, monkeypatch
):
    monkeypatch.setattr(silence, "GREETING_S", 1.0)
    async with (
        open_world(rotation="strict") as world,
        firewall_before(postgres, tmp_path) as wall,
        host_behind(wall, world, postgres, tmp_path) as host,
    ):
        connection = await world.connect(host)
        await expire(world, host, connection)
        gate = held_up(host)
        refresh = asyncio.ensure_future(host.tokens.fresh(connection.id))
        await gate.reached.wait()
        wall.forget()
        gate.open.set()
        assert is_good(world, await asyncio.wait_for(refresh, 20))
        assert [attempt.state for attempt in await journal(host, connection)] == ["applied"]
        assert len(refreshes(world)) == 1


@pytest.mark.fault("F46", how="real")
async def test_a_transaction_whose_connection_is_forgotten_in_the_middle_ends(
    open_world, postgres, tmp_path, monkeypatch
):
    async with (
        open_world() as world,
        firewall_before(postgres, tmp_path) as wall,
        host_behind(wall, world, postgres, tmp_path) as host,
    ):

        async def write():
            async with host.database.writing(within_s=1.0) as transaction:
                wall.forget()
                await transaction.exec_driver_sql("SELECT 1")

        with pytest.raises(DBAPIError, match="closed"):
            await write()
        monkeypatch.setattr(silence, "GREETING_S", 1.0)
        async with host.database.reading() as transaction:
            assert (await transaction.exec_driver_sql("SELECT 1")).scalar() == 1
