from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from soulwatch.host.store import tables
from soulwatch.host.store.migrate import VERSION_TABLE

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "database.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"(?ms)^## `(\w+)`\n(.*?)(?=^## |\Z)", PAGE))
STATEMENTS = re.findall(r"(?s)```sql\n(.*?)```", PAGE)


@pytest.mark.parametrize("name", SECTIONS)
def test_each_column_of_a_table_is_told_and_nothing_else_is(name):
    told = [
        column for row in re.findall(r"(?m)^\| (`.+?`) \|", SECTIONS[name]) for column in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(told) == sorted(column.name for column in tables.metadata.tables[name].columns)


def test_the_tables_that_people_query_are_told_in_full():
    assert list(SECTIONS) == ["platform_connections", "user_platform_data", "polls", "events"]


async def test_every_other_table_is_named(served):
    async with served.host.database.reading() as transaction:
        there = await transaction.run_sync(lambda sync: inspect(sync).get_table_names())
    others = re.findall(r"(?m)^\| `(\w+)` \|", PAGE.partition("## The other tables")[2])
    assert VERSION_TABLE in others
    assert sorted([*SECTIONS, *others]) == sorted(there)


@pytest.mark.parametrize("statement", STATEMENTS, ids=["connections", "rows", "items"])
async def test_the_statement_runs_and_finds_what_is_there(statement, served):
    async with served.host.database.reading() as transaction:
        found = (await transaction.execute(text(statement.replace("'...'", "'ada'")))).all()
    assert "sandbox" in {row.platform for row in found}


async def test_the_columns_that_are_said_to_be_unused_are_null(served):
    unused = "SELECT COUNT(last_seen_at) + COUNT(deleted_at) FROM user_platform_data"
    async with served.host.database.reading() as transaction:
        assert (await transaction.execute(text(unused))).scalar() == 0


async def test_json_and_times_are_as_the_page_says_on_sqlite(served):
    title = "json_extract(raw_data, '$.title') AS title"
    query = f"SELECT {title}, extracted_at FROM user_platform_data WHERE data_type = 'notes'"
    async with served.host.database.reading() as transaction:
        row = (await transaction.execute(text(query))).first()
    assert row.title
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row.extracted_at)
