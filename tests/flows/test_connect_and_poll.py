from sqlalchemy import text


async def test_a_connected_account_is_polled_and_its_items_are_stored_once(world):
    async with world.host() as host:
        connection = await world.connect(host)
        assert connection.account.name
        first = await host.poll_all_platforms_for_user("ada")
        assert [outcome.problem for outcome in first] == [None] * 4
        new = {outcome.data_type: outcome.new for outcome in first}
        assert new["archive"] == 250
        assert new["notes"] > 0
        again = await host.poll_all_platforms_for_user("ada")
        assert {outcome.data_type: outcome.new for outcome in again} == dict.fromkeys(new, 0)


async def test_the_sql_of_existing_users_runs_unchanged(world):
    async with world.host() as host:
        await world.connect(host, user="u1")
        await host.poll_all_platforms_for_user("u1")
        async with host.database.reading() as transaction:
            found = await transaction.execute(
                text(
                    "SELECT platform, status, last_sync, token_expires_at"
                    " FROM platform_connections WHERE user_id = 'u1'"
                )
            )
            (row,) = found.all()
            assert (row.platform, row.status) == ("sandbox", "connected")
            assert row.last_sync is not None
            assert row.token_expires_at is not None
            counted = await transaction.execute(
                text(
                    "SELECT platform, data_type, COUNT(*), MAX(extracted_at) FROM user_platform_data"
                    " WHERE user_id = 'u1' GROUP BY platform, data_type"
                )
            )
            assert {(row.platform, row.data_type) for row in counted} >= {("sandbox", "notes"), ("sandbox", "archive")}
