from datetime import timedelta

import anyio
import pytest
from sqlalchemy import text, update

from soulwatch import Connector, Endpoint, Page
from soulwatch.host.store.tables import polls
from soulwatch.testing.clock import PlayedClock


async def row_of(host, data_type):
    async with host.database.reading() as transaction:
        query = text("SELECT * FROM polls WHERE data_type = :name").bindparams(name=data_type)
        return (await transaction.execute(query)).one()


async def due_in(host, data_type):
    async with host.database.reading() as transaction:
        found = await transaction.execute(polls.select().where(polls.c.data_type == data_type))
        return (found.one().due_at - host.clock.now()).total_seconds()


async def poll(host, data_type, user="ada"):
    (row,) = await host.accounts.rows(user=user)
    (outcome,) = await host.poll_connection(row.id, data_type)
    return outcome


async def events_of(host, kind, user="ada"):
    return [event.data for event in await host.events(user) if event.type == kind]


async def test_each_endpoint_is_due_again_after_its_own_schedule(world):
    async with world.host() as host:
        await world.connect(host)
        await host.poll_all_platforms_for_user("ada")
        assert 0 < await due_in(host, "notes") <= 10
        assert 0 < await due_in(host, "archive") <= 86400


async def test_the_operator_can_change_a_schedule_or_switch_it_off(world):
    schedules = {"notes": "0 3 * * *", "mood": "off", "follows": "2h"}
    settings = {"sandbox": {"api_url": world.url, "oauth_url": world.url, "schedules": schedules}}
    async with world.host(platforms=settings) as host:
        await world.connect(host)
        await host.poll_all_platforms_for_user("ada")
        assert (await row_of(host, "mood")).due_at is None
        assert 0 < await due_in(host, "follows") <= 7200
        jobs = dict(await host.jobs())
        assert jobs["Sandbox polling (notes)"] == "0 3 * * *"
        assert jobs["Sandbox polling (mood)"] == "when asked"


async def test_starts_are_spread_over_the_interval_and_stay_where_they_are(world):
    clock = PlayedClock()
    async with world.host(clock=clock) as host:
        facts = host.platforms.facts("sandbox")
        connections = [await world.connect(host, user=f"u{number}") for number in range(6)]
        endpoint = (await host.plan.endpoints(connections[0]))["archive"]
        due = [await host.plan.next_due(one, endpoint) for one in connections]
        assert len({(at - clock.now()) // timedelta(hours=1) for at in due}) > 2
        await clock.advance(3600)
        again = [await host.plan.next_due(one, endpoint) for one in connections]
        assert sum(one == other for one, other in zip(due, again, strict=True)) >= 4
        assert facts.name == "sandbox"


@pytest.mark.parametrize(("retry_after", "least", "most"), [("120", 115, 120), (None, 10, 30)])
async def test_a_limit_is_waited_out_and_told_once(world, retry_after, least, most):
    async with world.host() as host:
        await world.connect(host)
        world.sandbox.faults.add("status", path="/v1/notes", status=429, retry_after=retry_after, times=2)
        for _ in range(2):
            outcome = await poll(host, "notes")
            assert "Too many requests" in outcome.problem
        assert (await row_of(host, "notes")).reason == "rate_limited"
        assert least <= await due_in(host, "notes") <= most * (1 if retry_after else 2)
        told = [data for data in await events_of(host, "connection_status") if data.get("dataType") == "notes"]
        assert [data["reason"] for data in told] == ["rate_limited"]
        (connection,) = await host.accounts.rows(user="ada")
        assert connection.status == "connected"


async def test_a_daily_quota_pauses_every_connection_of_the_client(world):
    async with world.host() as host:
        await world.connect(host, "spotify", user="ada", person="mira")
        await world.connect(host, "spotify", user="bea", person="oskar")
        world.sandbox.faults.add("quota", pose="spotify", path="/v1/me/player/recently-played", retry_after=48925)
        outcome = await poll(host, "recently_played", user="ada")
        assert outcome.problem
        assert await host.poller.claim_due(50) == []
        async with host.database.reading() as transaction:
            due = (await transaction.execute(polls.select().where(polls.c.platform == "spotify"))).all()
        assert len(due) == 4
        assert all((row.due_at - host.clock.now()).total_seconds() > 48000 for row in due)


@pytest.mark.parametrize("status", [500, 503, 408])
async def test_a_platform_that_is_not_well_is_asked_again_soon_and_told_when_well(world, status):
    async with world.host() as host:
        await world.connect(host)
        world.sandbox.faults.add("status", path="/v1/notes", status=status)
        assert (await poll(host, "notes")).problem
        assert (await row_of(host, "notes")).reason == "unavailable"
        assert 0 < await due_in(host, "notes") < 61
        assert (await poll(host, "notes")).problem is None
        told = [data for data in await events_of(host, "connection_status") if data.get("dataType") == "notes"]
        assert [data["reason"] for data in told] == ["unavailable", None]


async def test_after_a_long_outage_a_poll_is_due_as_its_schedule_says_and_not_later(world):
    platforms = world.given()["platforms"]
    platforms["sandbox"]["schedules"] = {"notes": "5m"}
    async with world.host(platforms=platforms) as host:
        await world.connect(host)
        world.sandbox.faults.add("status", path="/v1/notes", status=503, times=None)
        for _ in range(12):
            assert (await poll(host, "notes")).problem
            assert 0 < await due_in(host, "notes") <= 300


@pytest.mark.parametrize(
    "kind", [pytest.param("html", marks=pytest.mark.fault("F16")), "malformed", "not_a_list", "cut"]
)
async def test_an_answer_that_cannot_be_read_moves_no_cursor_and_stops_nothing_else(world, kind):
    async with world.host() as host:
        await world.connect(host)
        await poll(host, "notes")
        before = await row_of(host, "notes")
        world.sandbox.add_item()
        world.sandbox.faults.add(kind, path="/v1/notes", times=None)
        outcomes = {outcome.data_type: outcome for outcome in await host.poll_all_platforms_for_user("ada")}
        assert outcomes["archive"].problem is None
        assert (await row_of(host, "notes")).cursor == before.cursor
        world.sandbox.faults.clear()
        assert (await poll(host, "notes")).new >= 1
        total = "SELECT COUNT(*), COUNT(DISTINCT item_key) FROM user_platform_data WHERE data_type = 'notes'"
        async with host.database.reading() as transaction:
            count, distinct = (await transaction.execute(text(total))).one()
        assert count == distinct


@pytest.mark.fault("F28")
@pytest.mark.parametrize("kind", ["next_loop", "next_aba"])
async def test_pages_that_go_in_circles_are_left_and_what_was_read_is_kept(world, kind):
    async with world.host() as host:
        await world.connect(host)
        world.sandbox.faults.add(kind, path="/v1/archive", times=None)
        outcome = await poll(host, "archive")
        assert "paging does not end" in outcome.problem
        kept = await host.data(user="ada", data_type="archive", limit=1000)
        assert 0 < len(kept) == len({row.item_key for row in kept}) < 250
        assert not (await row_of(host, "archive")).is_whole
        world.sandbox.faults.clear()
        assert (await poll(host, "archive")).new == 250 - len(kept)


async def test_a_platform_that_is_switched_off_is_neither_polled_nor_refreshed(world):
    settings = {"sandbox": {"api_url": world.url, "oauth_url": world.url, "enabled": False}}
    async with world.host() as host:
        await world.connect(host)
        assert len(await host.poller.claim_due(1)) == 1
    async with world.host(platforms=settings) as host:
        assert await host.poller.claim_due(50) == []
        assert await host.sweeper.sweep() == 0


@pytest.mark.fault("F28")
async def test_a_place_the_platform_forgot_is_read_from_the_beginning_once(world):
    async with world.host() as host:
        await world.connect(host)
        first = await poll(host, "notes")
        world.sandbox.faults.add("status", path="/v1/notes", status=410)
        outcome = await poll(host, "notes")
        assert (outcome.problem, outcome.new) == (None, 0)
        assert first.new > 0
        world.sandbox.faults.add("status", path="/v1/notes", status=410, times=2)
        assert (await poll(host, "notes")).problem


async def test_an_unchanged_list_writes_nothing(world):
    async with world.host() as host:
        await world.connect(host)
        await poll(host, "follows")
        rows = "SELECT COUNT(*), MAX(id) FROM user_platform_data"
        async with host.database.reading() as transaction:
            before = (await transaction.execute(text(rows))).one()
        assert (await poll(host, "follows")).new == 0
        async with host.database.reading() as transaction:
            assert (await transaction.execute(text(rows))).one() == before


async def test_a_changed_item_is_a_new_row_and_the_old_one_stays_as_history(world):
    async with world.host() as host:
        await world.connect(host)
        await poll(host, "follows")
        async with host.database.writing() as transaction:
            await transaction.execute(text("UPDATE user_platform_data SET content_hash = :none").bindparams(none=b""))
        outcome = await poll(host, "follows")
        async with host.database.reading() as transaction:
            counted = await transaction.execute(
                text("SELECT COUNT(*), COUNT(superseded_at), COUNT(DISTINCT item_key) FROM user_platform_data")
            )
            total, superseded, keys = counted.one()
        assert (superseded, total) == (outcome.new, 2 * outcome.new)
        assert keys == outcome.new
        assert len(await host.data(user="ada", data_type="follows", limit=1000)) == outcome.new


async def test_a_poll_of_several_pages_tells_its_progress(world):
    async with world.host() as host:
        await world.connect(host)
        await poll(host, "archive")
        told = await events_of(host, "extraction_progress")
        assert told[-1] == {"dataType": "archive", "done": 250, "total": told[-1]["total"]}
        assert sum(data["count"] for data in await events_of(host, "new_data")) == 250
        (sync,) = await events_of(host, "platform_sync")
        assert (sync["dataType"], sync["count"]) == ("archive", 250)


async def test_who_lost_a_claim_writes_nothing_more(world):
    async with world.host() as host:
        connection = await world.connect(host)
        claimed = await host.poller.claim_now(connection.id, "notes")
        async with host.database.writing() as transaction:
            await transaction.execute(update(polls).values(fence=polls.c.fence + 1))
        outcome = await host.poller.poll(claimed)
        assert outcome.problem
        assert await host.data(user="ada") == []
        assert await events_of(host, "new_data") == []


async def test_what_is_being_polled_is_not_polled_a_second_time(world):
    async with world.host() as host, world.host() as other:
        connection = await world.connect(host)
        assert await host.poller.claim_now(connection.id, "notes") is not None
        assert await other.poller.claim_now(connection.id, "notes") is None
        due = [*await other.poller.claim_due(50), *await host.poller.claim_due(50)]
        assert sorted(row.data_type for row in due) == ["archive", "follows", "mood"]


async def test_a_plugin_at_fault_is_named_and_harms_only_its_own_platform(world):
    class Broken(Endpoint):
        async def pages(self, api, cursor):
            if self.name == "notes":
                raise ZeroDivisionError
            yield "no page" if self.name == "mood" else Page()

    async with world.host() as host:
        await world.connect(host)
        sandbox = host.plugins["sandbox"].facts
        endpoints = [
            Broken(name, f"https://sandbox.invalid/{name}", schedule="1h") for name in ("notes", "mood", "follows")
        ]
        host.plugins.register(Connector(sandbox, endpoints), "sandbox")
        outcomes = {one.data_type: one.problem for one in await host.poll_all_platforms_for_user("ada")}
        assert "ZeroDivisionError" in outcomes["notes"]
        assert "sandbox gave str from pages()" in outcomes["mood"]
        assert outcomes["follows"] is None
        assert "no longer polls archive" in outcomes["archive"]


async def test_a_connection_whose_plugin_is_gone_keeps_its_token_and_goes_on_when_it_is_back(world):
    async with world.host() as host:
        await world.connect(host)
    async with world.host(plugins={"deny": ["sandbox"]}) as host:
        outcomes = await host.poll_all_platforms_for_user("ada")
        assert all("no plugin 'sandbox'" in outcome.problem for outcome in outcomes)
    async with world.host() as host:
        assert {outcome.problem for outcome in await host.poll_all_platforms_for_user("ada")} == {None}


@pytest.mark.fault("F63")
async def test_a_connection_disconnected_during_its_poll_gets_nothing_more(world):
    async with world.host() as host:
        connection = await world.connect(host)
        world.sandbox.faults.add("hang", path="/v1/archive", seconds=0.5, times=None)

        async with anyio.create_task_group() as group:
            group.start_soon(host.poll_connection, connection.id, "archive")
            await anyio.sleep(0.7)
            await host.accounts.disconnect(connection.id)
        row = await host.accounts.row(connection.id)
        assert (row.status, row.access_token, row.refresh_token) == ("disconnected", None, None)
        assert await host.poller.claim_due(50) == []
