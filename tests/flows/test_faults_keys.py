"""A key that is gone in the middle of a run, and a change of keys that is interrupted at any step."""

from contextlib import suppress

import anyio
import pytest
from support.refreshing import expire, is_good, played, refreshes, statuses
from support.served import on_sqlite
from support.stepping import Gone, Steps
from support.world import WITHOUT_WAITING

from soulwatch import SettingsError
from soulwatch.host import rekeying
from soulwatch.host.host import Host
from soulwatch.host.settings import load_settings
from soulwatch.host.vault import KeyUnavailable, generate_key

pytestmark = on_sqlite
USERS = ("ada", "bea", "cid")
DATA_KEYS_ARE_FORGOTTEN_S = 601


@pytest.mark.fault("F61")
async def test_without_a_key_in_the_middle_of_a_run_nothing_is_sent_nobody_troubled_and_the_reason_told(
    open_world, caplog
):
    old, new = generate_key(), generate_key()
    clock = played()
    usual = {"policy": WITHOUT_WAITING, "clock": clock}
    async with (
        open_world(rotation="strict", token_life=7200, now=clock.now) as world,
        world.host(**usual, encryption_key=old) as host,
    ):
        connection = await world.connect(host)
        async with world.host(**usual, encryption_key=f"{new},{old}") as other:
            await rekeying.rotate(other.database, other.vault)
        await clock.advance(DATA_KEYS_ARE_FORGOTTEN_S)
        await expire(world, host, connection)
        for _ in range(3):
            with pytest.raises(KeyUnavailable):
                await host.tokens.fresh(connection.id)
            [outcome] = await host.poll_connection(connection.id, "notes")
            assert "key" in outcome.problem
            await host.sweeper.sweep()
            await clock.advance(3601)
        assert caplog.text.count("some tokens are not refreshed here: Key") == 1
        before = await host.accounts.row(connection.id)
        assert before.next_refresh_at <= clock.now()  # another host, which has the key, finds it due
        assert refreshes(world) == []
        assert set(await statuses(host)) == {"connected"}

        async with world.host(**usual, encryption_key=new) as mended:
            assert await mended.sweeper.sweep() == 1
            row = await mended.accounts.row(connection.id)
            assert (row.status, row.generation) == ("connected", before.generation + 1)
            assert is_good(world, await mended.tokens.fresh(connection.id))
            [outcome] = await mended.poll_connection(connection.id, "notes")
            assert outcome.problem is None


async def rotation_dies(host, step, meanwhile):
    """Begin to change the key, and die at this step after something else has happened. False where it ends first."""
    steps = Steps(host)

    async def die():
        if steps.taken[-1] != "before its commit":  # there it has the database to itself
            await meanwhile()
        await steps.die()

    steps.do_at(step, die)
    try:
        await rekeying.rotate(host.database, host.vault)
    except Gone:
        return True
    return False


async def new_key_alone_refuses_or_opens_all(world, new, connections):
    with suppress(SettingsError):
        async with world.host(encryption_key=new) as host:
            for connection in connections:
                await host.tokens.fresh(connection.id)


@pytest.mark.fault("F62")
async def test_a_change_of_keys_that_dies_at_any_step_among_refreshes_is_taken_up_again(open_world, monkeypatch):
    monkeypatch.setattr(rekeying, "AT_A_TIME", 1)
    old, step, died = generate_key(), 0, True
    async with open_world(rotation="strict") as world:
        async with world.host(encryption_key=old) as host:
            connections = [await world.connect(host, user=user) for user in USERS]
        while died:
            new = generate_key()
            async with (
                world.host(encryption_key=f"{new},{old}") as rotating,
                world.host(encryption_key=f"{new},{old}") as host,
            ):

                async def refresh(host=host):
                    for connection in connections:
                        await host.tokens.fresh(connection.id, is_asked_for=True)

                died = await rotation_dies(rotating, step, refresh)
                await new_key_alone_refuses_or_opens_all(world, new, connections)
                before = [await host.tokens.fresh(connection.id) for connection in connections]
                await rekeying.rotate(host.database, host.vault)
            async with world.host(encryption_key=new) as host:
                assert [await host.tokens.fresh(connection.id) for connection in connections] == before, step
                assert all(is_good(world, token) for token in before), step
                for connection in connections:
                    assert is_good(world, await host.tokens.fresh(connection.id, is_asked_for=True)), step
            old, step = new, step + 1

        assert step > 10
        assert not any(grant.revoked for grant in world.sandbox.grants.of())


async def test_of_two_hosts_that_make_a_key_each_at_the_first_start_one_refuses(open_world, tmp_path):
    started, refused = [], []
    async with open_world() as world:

        async def start(folder):
            settings = load_settings(
                overrides=world.given() | {"data_dir": str(tmp_path / folder)}, env={}, cwd=tmp_path
            )
            try:
                started.append(await Host.open(settings))
            except SettingsError as wrong:
                refused.append(str(wrong))

        async with anyio.create_task_group() as group:
            for folder in ("one", "two"):
                group.start_soon(start, folder)
        for host in started:
            await host.close()
    assert (len(started), len(refused)) == (1, 1)
    assert "not the key this database was sealed with" in refused[0]
