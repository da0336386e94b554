"""What the sandbox remembers across restarts: one small SQLite file, written through before any answer is sent."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TABLES = """
create table if not exists meta (name text primary key, value text not null);
create table if not exists clients (
    pose text, id text, secret text, redirect_uris text not null, expires integer not null, primary key (pose, id));
create table if not exists grants (
    id text primary key, pose text not null, client text not null, person text not null, scope text not null,
    expires integer not null, made real not null, revoked real, why text, generation integer not null default 0);
create index if not exists grants_of on grants (person, pose);
create table if not exists codes (
    code text primary key, pose text not null, client text not null, redirect_uri text not null,
    challenge text not null, person text not null, scope text not null, expires real not null, granted text);
create table if not exists tokens (
    value text primary key, kind text not null, granted text not null, generation integer not null,
    expires real, used real);
create index if not exists tokens_of on tokens (granted, kind);
create table if not exists added (pose text, person text, ms integer, primary key (pose, person, ms));
"""


class Ledger:
    """The sandbox's memory. One connection, one lock: tests ask from another thread than the server's."""

    def __init__(self, state_file: Path | None) -> None:
        self._lock = threading.RLock()
        place = ":memory:" if state_file is None else str(state_file)
        self._db = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._closing = weakref.finalize(self, self._db.close)
        # FULL: an issued token has to outlive a power cut, or a restart would look like a revoked grant.
        self._db.execute("pragma synchronous = full")
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Let go of the file. The ledger cannot be used afterwards."""
        with self._lock:
            self._closing()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction; durable once the block is left without an exception."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def rows(self, question: str, *values: Any) -> list[sqlite3.Row]:
        """All rows that answer a question."""
        with self._lock:
            return self._db.execute(question, values).fetchall()

    def row(self, question: str, *values: Any) -> sqlite3.Row | None:
        """The first row that answers a question."""
        return next(iter(self.rows(question, *values)), None)

    def fact(self, name: str, first: str) -> str:
        """A fact kept for good: what it was set to the first time it was asked for, or `first`."""
        with self.change() as db:
            db.execute("insert or ignore into meta values (?, ?)", (name, first))
        found = self.row("select value from meta where name = ?", name)
        return first if found is None else str(found["value"])
