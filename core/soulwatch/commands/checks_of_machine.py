"""The machine, whatever the settings: Python, SQLite, the clock."""

from __future__ import annotations

import platform
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from soulwatch.commands.findings import Finding, fail, ok, warn
from soulwatch.host.store.database import wal_is_sound

OLDEST_PYTHON = (3, 11)
BUILT = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that is right shows a time before this program was written."""


def examine_machine(*, uses_sqlite: bool) -> Iterator[Finding]:
    """Each finding, in turn."""
    yield examine_python(sys.version_info[:2])
    if uses_sqlite:
        yield examine_sqlite(sqlite3.sqlite_version_info)
    yield examine_clock(datetime.now(UTC))


def examine_python(version: tuple[int, ...]) -> Finding:
    """The Python that runs this."""
    if version < OLDEST_PYTHON:
        return fail("Python", ".".join(map(str, version)), "soulwatch needs Python 3.11 or newer.")
    return ok("Python", f"{platform.python_version()} at {sys.executable}")


def examine_sqlite(version: tuple[int, ...]) -> Finding:
    """The SQLite this Python brings, and what is done about its write-ahead log."""
    text = ".".join(map(str, version))
    if wal_is_sound(version):
        return ok("SQLite", f"{text}, used with a write-ahead log")
    return warn(
        "SQLite",
        f"{text} can corrupt a write-ahead log, so the rollback journal is used: correct, but slower under load",
        "For more speed run a Python with SQLite 3.51.3 or newer, or set DATABASE_URL to PostgreSQL.",
    )


def examine_clock(now: datetime) -> Finding:
    """Whether the machine's time can be right. Tokens, schedules and TLS all depend on it."""
    if now < BUILT:
        return fail("Clock", f"it shows {now:%Y-%m-%d}, which is past", "Set the clock, or let NTP do it.")
    return ok("Clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, local zone {time.tzname[0]}")
