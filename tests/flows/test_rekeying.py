import pytest
from sqlalchemy import Update, update
from sqlalchemy.ext.asyncio import AsyncConnection
from support.served import on_postgres

from soulwatch import SettingsError
from soulwatch.host import rekeying
from soulwatch.host.store.tables import data_keys
from soulwatch.host.vault import KeyRing, Place, Vault, generate_key

OLD, NEW = generate_key(), generate_key()


async def tokens_of(host, user):
    return [await host.tokens.fresh(row.id) for row in await host.accounts.rows(user=user)]


async def test_after_a_rotation_the_new_key_alone_opens_every_token(world):
    async with world.host(encryption_key=OLD) as host:
        for user in ("ada", "bea"):
            await world.connect(host, user=user)
        before = await tokens_of(host, "ada")
    async with world.host(encryption_key=f"{NEW},{OLD}") as host:
        assert await rekeying.rotate(host.database, host.vault) == rekeying.Rotated(moved=2)
        assert await rekeying.rotate(host.database, host.vault) == rekeying.Rotated()
    async with world.host(encryption_key=NEW) as host:
        assert await tokens_of(host, "ada") == before


@pytest.mark.fault("F62")
async def test_a_rotation_that_was_cut_off_goes_on_where_it_was(world, monkeypatch):
    monkeypatch.setattr(rekeying, "AT_A_TIME", 1)
    async with world.host(encryption_key=OLD) as host:
        for user in ("ada", "bea", "cid"):
            await world.connect(host, user=user)
    async with world.host(encryption_key=f"{NEW},{OLD}") as host:
        seen = []

        def cut_off(done):
            seen.append(done)
            if len(seen) == 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await rekeying.rotate(host.database, host.vault, cut_off)
        # Both keys are still needed, and both still open everything.
        assert len(await tokens_of(host, "cid")) == 1
        with pytest.raises(SettingsError, match="keys rotate"):
            async with world.host(encryption_key=NEW):
                pass
        await rekeying.rotate(host.database, host.vault)
    async with world.host(encryption_key=NEW) as host:
        assert len(await tokens_of(host, "bea")) == 1


@pytest.mark.fault("F62", "F63")
@on_postgres
async def test_an_account_that_is_connected_again_while_its_key_is_moved_keeps_its_new_one(world, monkeypatch):
    async with world.host(encryption_key=OLD) as host:
        await world.connect(host)
    both = f"{NEW},{OLD}"
    async with world.host(encryption_key=both) as rotating, world.host(encryption_key=both) as connecting:
        execute, again = AsyncConnection.execute, []

        async def execute_late(transaction, statement, *more, **options):
            if isinstance(statement, Update) and statement.table is data_keys and not again:
                again.append(await world.connect(connecting))
            return await execute(transaction, statement, *more, **options)

        monkeypatch.setattr(AsyncConnection, "execute", execute_late)
        await rekeying.rotate(rotating.database, rotating.vault)
        assert again
        [expected] = await tokens_of(connecting, "ada")
    async with world.host(encryption_key=NEW) as host:
        assert await tokens_of(host, "ada") == [expected]


@pytest.mark.fault("F61")
async def test_without_an_older_key_that_is_in_use_it_does_not_start(world):
    async with world.host(encryption_key=OLD) as host:
        await world.connect(host)
    with pytest.raises(SettingsError, match="not the key"):
        async with world.host(encryption_key=NEW):
            pass
    async with world.host(encryption_key=OLD) as host:
        assert len(await tokens_of(host, "ada")) == 1


async def test_a_damaged_data_key_keeps_no_other_from_being_moved(world):
    async with world.host(encryption_key=OLD) as host:
        for user in ("ada", "bea"):
            await world.connect(host, user=user)
        (damaged,) = await host.accounts.rows(user="ada")
        before = await tokens_of(host, "bea")
        await change_key(host, damaged, damaged.sealed_key[:-1] + bytes([damaged.sealed_key[-1] ^ 1]))
    async with world.host(encryption_key=f"{NEW},{OLD}") as host:
        assert await rekeying.rotate(host.database, host.vault) == rekeying.Rotated(moved=1, damaged=1)
    async with world.host(encryption_key=NEW) as host:
        assert await tokens_of(host, "bea") == before


async def test_a_data_key_of_a_key_that_is_missing_is_told_and_its_check_stays(world):
    third = generate_key()
    async with world.host(encryption_key=OLD) as host:
        await world.connect(host, user="ada")
        (ada,) = await host.accounts.rows(user="ada")
    async with world.host(encryption_key=f"{NEW},{OLD}") as host:
        place = Place("platform_connections", "sealed_key", ada.id, "ada", "sandbox", 0)
        await change_key(host, ada, Vault(KeyRing.from_texts([third])).new_data_key(place))
        assert await rekeying.rotate(host.database, host.vault) == rekeying.Rotated(without_key=1)
    with pytest.raises(SettingsError, match="An older key"):
        async with world.host(encryption_key=NEW):
            pass


async def change_key(host, row, sealed_key):
    async with host.database.writing() as transaction:
        its = data_keys.c.connection_id == row.id
        await transaction.execute(update(data_keys).where(its).values(sealed_key=sealed_key))
