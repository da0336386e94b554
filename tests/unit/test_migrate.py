import sqlite3
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from soulwatch.errors import SettingsError
from soulwatch.host.store import migrate as room
from soulwatch.host.store.database import Database, wal_is_sound
from soulwatch.host.store.migrate import HEAD, VERSION_TABLE, migrate
from soulwatch.host.store.tables import metadata


@asynccontextmanager
async def opened(url):
    database = Database(url)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "soulwatch.db"


@pytest.fixture
def url(path):
    return f"sqlite+aiosqlite:///{path}"


def test_the_newest_version_is_the_scripts_own():
    config = Config()
    config.set_main_option("script_location", str(Path(room.__file__).parent / "migrations"))

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def _differ(context, inspected, column, inspected_default, default, rendered):
    """Batch mode has SQLite write the empty text in brackets, which Alembic takes for another one."""
    return False if (inspected_default, rendered) == ("('')", "") else None


async def test_migrated_tables_are_those_the_code_speaks_of(database_url):
    def differences(connection):
        options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": _differ}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)

    async with opened(database_url) as database:
        assert await migrate(database)
        async with database.reading() as transaction:
            assert await transaction.run_sync(differences) == []


async def test_a_second_start_changes_nothing(url, path):
    async with opened(url) as database:
        assert await migrate(database)
    before = path.read_bytes()

    async with opened(url) as database:
        assert not await migrate(database)
    assert path.read_bytes() == before


async def test_of_two_that_start_together_one_makes_the_tables(database_url):
    made = []

    async def start():
        async with opened(database_url) as database:
            made.append(await migrate(database))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(start)
    assert sorted(made) == [False, False, False, True]


@pytest.mark.parametrize("name", ["platform_connections", "user_platform_data", "events", "polls", "api_keys"])
async def test_tables_that_are_not_ours_are_refused_and_left_as_they_are(url, path, name):
    with closing(sqlite3.connect(path)) as foreign, foreign:
        foreign.execute(f"create table {name} (whose text)")
        foreign.execute(f"insert into {name} values ('somebody else''s')")
    before = path.read_bytes()

    async with opened(url) as database:
        with pytest.raises(
            SettingsError, match=f"already has tables named {name} that soulwatch did not make"
        ) as refused:
            await migrate(database)
    assert "Set DATABASE_URL to another database" in str(refused.value)
    assert path.read_bytes() == before


async def test_tables_of_other_names_are_nobodys_business(url, path):
    with closing(sqlite3.connect(path)) as foreign, foreign:
        foreign.execute("create table customers (name text)")

    async with opened(url) as database:
        assert await migrate(database)
        async with database.reading() as transaction:
            names = await transaction.run_sync(lambda sync: inspect(sync).get_table_names())
    assert set(names) == {"customers", VERSION_TABLE, *metadata.tables}


async def test_a_database_of_a_newer_soulwatch_is_refused_and_left_as_it_is(url, path):
    async with opened(url) as database:
        await migrate(database)
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute(f"update {VERSION_TABLE} set version_num = '9999'")
    before = path.read_bytes()

    async with opened(url) as database:
        with pytest.raises(SettingsError, match="made by a newer soulwatch"):
            await migrate(database)
    assert path.read_bytes() == before


async def test_a_migration_that_is_cut_off_leaves_nothing_behind(url):
    class Cut(Exception):
        pass

    def until_cut(connection):
        room._upgrade(connection)
        raise Cut

    async with opened(url) as database:
        with pytest.raises(Cut):
            async with database.writing() as transaction:
                await transaction.run_sync(until_cut)
        async with database.reading() as transaction:
            assert await transaction.run_sync(lambda sync: inspect(sync).get_table_names()) == []
        assert await migrate(database)


@pytest.mark.parametrize("content", [b"this is no database\n" * 100, None])
async def test_what_is_no_database_is_named(tmp_path, content):
    path = tmp_path / "notes.txt"
    path.mkdir() if content is None else path.write_bytes(content)

    async with opened(f"sqlite+aiosqlite:///{path}") as database:
        with pytest.raises(SettingsError, match=r"notes\.txt cannot be opened: .* DATABASE_URL") as refused:
            await database.check()
    assert "Traceback" not in str(refused.value)
    if content is not None:
        assert path.read_bytes() == content


async def test_a_server_that_is_not_there_is_named_without_its_password():
    async with opened("postgresql+asyncpg://soulwatch:hush-hush@127.0.0.1:1/soulwatch") as database:
        with pytest.raises(SettingsError, match="cannot be opened") as refused:
            await database.check()

    assert "hush-hush" not in str(refused.value)


@pytest.mark.fault("F44")
async def test_sqlite_is_opened_so_that_what_is_acknowledged_is_on_disk(url):
    async with opened(url) as database:
        await migrate(database)
        async with database.reading() as transaction:
            asked = ("synchronous", "foreign_keys", "auto_vacuum", "busy_timeout", "journal_mode")
            found = {name: (await transaction.execute(text(f"PRAGMA {name}"))).scalar() for name in asked}

    journal = "wal" if wal_is_sound() else "truncate"
    assert found == {
        "synchronous": 2,
        "foreign_keys": 1,
        "auto_vacuum": 2,
        "busy_timeout": 30_000,
        "journal_mode": journal,
    }


@pytest.mark.fault("F43")
@pytest.mark.parametrize(
    ("version", "is_sound"),
    [
        ((3, 6, 23), True),
        ((3, 7, 0), False),
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_a_log_that_could_be_corrupted_is_not_written(version, is_sound):
    assert wal_is_sound(version) is is_sound
