"""A database that fails is told once, with the remedy, and once that it is over."""

import errno
import logging
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoneIsFree

from soulwatch.host.causes import cause_of
from soulwatch.host.store.database import Database
from soulwatch.host.store.migrate import migrate
from soulwatch.host.trouble import LOOKS_EVERY_S, Trouble
from soulwatch.testing.clock import PlayedClock

FULL = OperationalError("UPDATE ...", {}, Exception("database or disk is full"))
LOCKED = OperationalError("UPDATE ...", {}, Exception("database is locked"))
SQLITE = make_url("sqlite+aiosqlite:////var/lib/soulwatch/soulwatch.db")
POSTGRES = make_url("postgresql+asyncpg://sw:secret@db.example/soulwatch")
SLICE_S = 5


@pytest.fixture
async def kept(tmp_path, monkeypatch):
    """A database's trouble, its clock, and how to fill and free the disk."""
    database, clock = (
        Database(f"sqlite+aiosqlite:///{tmp_path}/soulwatch.db"),
        PlayedClock(datetime(2026, 5, 1, tzinfo=UTC)),
    )
    await migrate(database)
    writing = database.writing

    def full():
        raise FULL

    def fill(is_full=True):
        monkeypatch.setattr(database, "writing", full if is_full else writing)

    yield Trouble(database, clock), clock, fill
    await database.close()


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "soulwatch.database")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "soulwatch.database"]


async def pass_(clock, trouble, seconds):
    for _ in range(seconds // SLICE_S):
        await clock.advance(SLICE_S)
        await trouble.look()


@pytest.mark.fault("F41")
async def test_it_is_told_when_it_begins_and_when_it_is_over_and_not_between(kept, said):
    trouble, clock, fill = kept
    fill()
    for _ in range(100):
        assert trouble.met(FULL)
    await pass_(clock, trouble, 300)
    (begun,) = said()
    assert begun.startswith("The database cannot be written: database or disk is full. Make room on the disk of /")
    assert begun.endswith("soulwatch.db; it goes on by itself.")
    assert trouble.now == "The database cannot be written: no room is left."
    fill(is_full=False)
    await pass_(clock, trouble, 30)
    assert said() == [begun, "The database can be written again: everything goes on."]
    assert trouble.now is None


@pytest.mark.fault("F41")
async def test_a_host_with_nothing_to_do_notices_by_itself_and_asks_the_disk_seldom(kept, said):
    trouble, clock, fill = kept
    await pass_(clock, trouble, 120)
    assert said() == []
    fill()
    await pass_(clock, trouble, int(LOOKS_EVERY_S))
    assert len(said()) == 1


async def test_where_little_can_be_written_and_much_cannot_it_is_not_called_over(kept, said):
    trouble, clock, _ = kept
    for _ in range(10):
        trouble.met(FULL)
        await pass_(clock, trouble, SLICE_S)
    assert len(said()) == 1
    assert trouble.now


async def test_each_cause_is_told_once(kept, said):
    trouble, _, _ = kept
    for _ in range(3):
        trouble.met(FULL)
        trouble.met(LOCKED)
    assert len(said()) == 2
    assert "another program" in trouble.now


async def test_the_probe_leaves_nothing_behind(kept):
    trouble, _, _ = kept
    await trouble._write()
    async with trouble._database.reading() as transaction:
        assert (await transaction.exec_driver_sql("SELECT count(*) FROM client_breakers")).scalar() == 0


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (FULL, "no room"),
        (ExceptionGroup("several", [FULL, LOCKED]), "no room"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no room"),
        (OperationalError("", {}, Exception("attempt to write a readonly database")), "only be read"),
        (OperationalError("", {}, Exception("disk I/O error")), "disk fails"),
        (OperationalError("", {}, Exception("database disk image is malformed")), "damaged"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "no file can be opened"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "cannot be used"),
        (NoneIsFree("QueuePool limit reached"), "cannot be used"),
        (DBAPIError("", {}, Exception("<class 'X'>: could not extend file: No space left on device")), "no room"),
    ],
)
def test_what_is_wrong_is_told_by_its_cause(broken, what):
    assert what in cause_of(broken, SQLITE).what


@pytest.mark.parametrize(
    "broken", [ValueError(), DataError("", {}, Exception("too long")), ExceptionGroup("", [FULL, KeyError()])]
)
def test_a_mistake_of_ours_is_no_trouble_of_the_database(broken):
    assert cause_of(broken, SQLITE) is None


def test_a_table_that_is_missing_is_a_mistake_of_ours():
    with closing(sqlite3.connect(":memory:")) as database, pytest.raises(sqlite3.OperationalError) as missing:
        database.execute("SELECT * FROM elsewhere")
    assert cause_of(missing.value, SQLITE) is None
    assert cause_of(OperationalError("", {}, missing.value), SQLITE) is None


def test_no_password_is_told():
    assert "secret" not in cause_of(FULL, POSTGRES).remedy
    assert "db.example" in cause_of(FULL, POSTGRES).remedy
