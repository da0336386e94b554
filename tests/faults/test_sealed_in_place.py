import pytest
from sqlalchemy import update
from support.refreshing import change, refreshes, statuses
from support.served import on_sqlite

from soulwatch.host.store.tables import data_keys
from soulwatch.host.vault import SealBroken

OF_TOKENS = ("access_token", "refresh_token")


async def sealed_columns(host, connection):
    row = await host.accounts.row(connection.id)
    return {name: getattr(row, name) for name in OF_TOKENS}


async def of_another_user_with_their_key(host, ada):
    (bea,) = await host.accounts.rows(user="bea")
    async with host.database.writing() as transaction:
        is_hers = data_keys.c.connection_id == ada.id
        await transaction.execute(update(data_keys).where(is_hers).values(sealed_key=bea.sealed_key))
    return await sealed_columns(host, bea)


async def of_another_account_of_the_same_user(host, ada):
    (other,) = [row for row in await host.accounts.rows(user="ada") if row.id != ada.id]
    return await sealed_columns(host, other)


async def of_the_token_before(host, ada):
    before = await sealed_columns(host, ada)
    await host.refresh_connection(ada.id)
    return before


async def of_each_other(host, ada):
    return dict(zip(OF_TOKENS, reversed((await sealed_columns(host, ada)).values()), strict=True))


async def with_one_bit_flipped(host, ada):
    access = bytearray((await sealed_columns(host, ada))["access_token"])
    access[-1] ^= 1
    return {"access_token": bytes(access)}


@on_sqlite
@pytest.mark.parametrize(
    "columns",
    [
        of_another_user_with_their_key,
        of_another_account_of_the_same_user,
        of_the_token_before,
        of_each_other,
        with_one_bit_flipped,
    ],
    ids=lambda columns: columns.__name__.replace("_", " "),
)
async def test_tokens_written_where_they_were_not_sealed_for_are_given_to_nobody(open_world, columns):
    async with open_world() as world, world.host() as host:
        ada = await world.connect(host)
        await world.connect(host, person="oskar")
        await world.connect(host, user="bea")
        await change(host, ada, **await columns(host, ada))
        asked = len(refreshes(world))
        with pytest.raises(SealBroken, match="Restore it from a backup"):
            await host.tokens.fresh(ada.id)
        with pytest.raises(SealBroken):
            await host.refresh_connection(ada.id)
        assert len(refreshes(world)) == asked
        assert (await host.accounts.row(ada.id)).reason == "misconfigured"
        assert (await statuses(host))[-1] == "connected"
        assert await host.ensure_fresh_token("bea", "sandbox")
