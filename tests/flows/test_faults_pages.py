"""Readings of many pages, while tokens are replaced, pages fail, and lists do not end."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from support.refreshing import refreshes, statuses
from support.served import on_sqlite
from support.stepping import Steps

from soulwatch import Connector
from soulwatch_sandbox import sandbox

pytestmark = on_sqlite
ITEMS = 250
READ = "SELECT COUNT(*), COUNT(DISTINCT item_key) FROM user_platform_data"
PLACE = "SELECT is_whole, cursor FROM polls WHERE data_type = 'archive'"


async def ask(host, query):
    async with host.database.reading() as transaction:
        return tuple((await transaction.execute(text(query))).one())


@pytest.mark.fault("F09")
async def test_a_poll_goes_on_with_the_token_of_a_refresh_that_happened_meanwhile(open_world):
    habits = {"rotation": "strict", "old_access_dies": True}
    async with open_world(**habits) as world, world.host() as host, world.host() as other:
        connection = await world.connect(host)

        async def refresh():
            await other.refresh_connection(connection.id)

        Steps(host).do_first_at("before GET /sandbox/v1/archive", refresh)
        [outcome] = await host.poll_connection(connection.id, "archive")

        assert (outcome.problem, outcome.new) == (None, ITEMS)
        assert len(refreshes(world)) == 1
        answered = [entry.status for entry in world.sandbox.requests.of("sandbox", "/v1/archive")]
        assert answered == [401, 200, 200, 200]
        assert set(await statuses(host)) == {"connected"}


BROKEN = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 410},
    {"kind": "html"},
    {"kind": "malformed"},
    {"kind": "not_a_list"},
    {"kind": "cut"},
    {"kind": "lose_answer"},
    {"kind": "redirect"},
    {"kind": "huge", "mib": 9},
    {"kind": "next_loop"},
    {"kind": "set_member", "name": "next_page", "value": {"odd": True}},
]


@pytest.mark.fault("F28", "F30")
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: " ".join(map(str, fault.values())))
async def test_a_page_that_fails_in_the_middle_is_read_again_and_none_is_passed_over(open_world, fault):
    async with open_world(archive_size=ITEMS) as world, world.host() as host:
        connection = await world.connect(host)
        world.sandbox.faults.add(path="/v1/archive", skip=1, times=4, **fault)
        [outcome] = await host.poll_connection(connection.id, "archive")
        assert outcome.problem
        kept, distinct = await ask(host, READ)
        assert 100 <= kept == distinct < ITEMS
        assert await ask(host, PLACE) == (0, None)
        world.sandbox.faults.clear()
        if fault.get("status") == 429:
            await make_due(host)
        [outcome] = await host.poll_connection(connection.id, "archive")

        assert (outcome.problem, outcome.new) == (None, ITEMS - kept)
        assert await ask(host, READ) == (ITEMS, ITEMS)


async def make_due(host):
    async with host.database.writing() as transaction:
        await transaction.execute(text("UPDATE polls SET due_at = NULL"))


@pytest.mark.fault("F28")
async def test_of_a_list_without_end_what_was_read_is_kept_and_its_place_is_not_moved(world):
    async with world.host() as host:
        connection = await world.connect(host)
        endless = [replace(one, max_pages=2) if one.name == "archive" else one for one in sandbox.endpoints]
        host.plugins.register(Connector(sandbox.facts, endless), "sandbox")
        for _ in range(2):
            [outcome] = await host.poll_connection(connection.id, "archive")
            assert "paging does not end" in outcome.problem
            assert await ask(host, READ) == (200, 200)
            assert await ask(host, PLACE) == (0, None)
        host.plugins.register(sandbox, "sandbox")
        [outcome] = await host.poll_connection(connection.id, "archive")

        assert (outcome.problem, outcome.new) == (None, ITEMS - 200)
