"""One engine, two kinds of transaction: reading and writing. Neither is ever open across a call to a platform."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from weakref import WeakSet

import anyio
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import PoolResetState

from soulwatch.errors import SettingsError
from soulwatch.host.causes import cause_of
from soulwatch.host.store.silence import TRANSACTION_S, Watch, driver_of, ended_after

BUSY_TIMEOUT_S = 30
IDS_A_QUERY = 500
"""Well below every database's limit of parameters in one statement."""
THREAD_ENDS_S = 0.05
CONNECT_WITHIN_S = 10
# Resetting a WAL with two or more connections could corrupt it (fixed in 3.51.3 and in these two older lines).
WAL_IS_SOUND_FROM = (3, 51, 3)
WAL_IS_SOUND_IN = ((3, 44, 6), (3, 50, 7))


def wal_is_sound(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite can be trusted with a write-ahead log and several connections."""
    return version >= WAL_IS_SOUND_FROM or version in WAL_IS_SOUND_IN or version < (3, 7, 0)


class TidyConnection(sqlite3.Connection):
    """Closes its cursors before itself.

    A query that was cut off, with rows left to give, would keep its lock on the file, and every writer waiting, until
    the last reference to its cursor is gone: and the traceback of what cut it off may hold one.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """A cursor that is remembered as long as somebody has it."""
        cursor = super().cursor(*args, **kwargs)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        """Close all of it; a second time is no error."""
        for cursor in list(self._cursors):
            with suppress(sqlite3.ProgrammingError):
                cursor.close()
        super().close()


class Database:
    """The database at `url`, a SQLAlchemy address with an async driver."""

    def __init__(self, url: str, schema: str | None = None) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.schema = schema
        options: dict[str, Any] = {"pool_size": 10, "max_overflow": 10, "connect_args": {"timeout": CONNECT_WITHIN_S}}
        if self.is_sqlite:
            connect = {"timeout": BUSY_TIMEOUT_S, "factory": TidyConnection}
            options = {"connect_args": connect, "pool_reset_on_return": None}  # _reset_sqlite does it
        self.engine: AsyncEngine = create_async_engine(
            parsed, json_serializer=_as_text, json_deserializer=_as_text, hide_parameters=True, **options
        )
        if schema:
            self.engine = self.engine.execution_options(schema_translate_map={None: schema})
        self._to_write = self.engine.execution_options(soulwatch_writes=True)
        self._writer = anyio.Lock()
        self._watch = Watch()
        if not self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", self._watch.remember)
        if self.is_sqlite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self.engine.sync_engine, "begin", _begin_sqlite)
            event.listen(self.engine.sync_engine, "reset", _reset_sqlite)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        # Cancelling inside a database call can hang the pool; a transaction is short, so it is let finish.
        with anyio.CancelScope(shield=True):
            async with self._connected(self.engine, TRANSACTION_S) as connection:
                yield connection

    @asynccontextmanager
    async def writing(self, within_s: float = TRANSACTION_S) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write, committed at the end of the block, rolled back when it raises.

        On PostgreSQL its connection is cut off where it takes longer than `within_s`.
        """
        async with AsyncExitStack() as stack:
            if self.is_sqlite:
                # One writer at a time anyway: queueing here is fair, SQLite's busy loop is not.
                await stack.enter_async_context(self._writer)
            with anyio.CancelScope(shield=True):
                async with self._connected(self._to_write, within_s) as connection, connection.begin():
                    yield connection

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine, within_s: float) -> AsyncIterator[AsyncConnection]:
        if self.is_sqlite:
            async with engine.connect() as connection:
                yield connection
            return
        connection = await self._watch.answering(engine)
        try:
            with ended_after(within_s, await driver_of(connection)):
                yield connection
        finally:
            await connection.close()

    def make_private(self) -> None:
        """Make a SQLite file that is not there yet, for its owner alone; its journals get the same rights."""
        path = self.engine.url.database
        if self.is_sqlite and path and path != ":memory:":
            with suppress(OSError):  # whatever is wrong with the place, `check` says it better
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))

    async def check(self) -> None:
        """Raise SettingsError where the database cannot be opened."""
        try:
            async with self.reading() as connection:
                await connection.exec_driver_sql("SELECT 1")
        except (DBAPIError, sqlite3.Error, OSError) as broken:
            # aiosqlite's thread still has a word for the event loop, which whoever refuses to start closes at once.
            await anyio.sleep(THREAD_ENDS_S)
            place = self.engine.url.render_as_string(hide_password=True)
            cause = cause_of(broken, self.engine.url)
            remedy = (cause and cause.remedy) or "Check DATABASE_URL"
            raise SettingsError(
                f"The database {place} cannot be opened: {getattr(broken, 'orig', broken)}. {remedy}."
            ) from None

    async def close(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True):
            await self.engine.dispose()


def upsert(
    connection: AsyncConnection,
    table: Table,
    values: dict[str, Any],
    key: tuple[str, ...],
    update: dict[str, Any] | None = None,
) -> Any:
    """An INSERT that updates, where a row with the same `key` exists, what is in `update`; nothing without it."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(values)
    if update is None:
        return statement.on_conflict_do_nothing(index_elements=key)
    return statement.on_conflict_do_update(index_elements=key, set_=update)


def _as_text(value: Any) -> Any:
    return value


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    try:
        _set_up(connection)
    except BaseException:
        connection.close()  # the pool does not know it yet, and its thread would outlive the event loop
        raise


def _set_up(connection: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin_sqlite alone
    cursor = connection.cursor()
    cursor.execute("PRAGMA auto_vacuum")
    if cursor.fetchone() == (0,):
        # Only where it is not so yet: it would be written again, and a host that refuses to start must write nothing.
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    cursor.execute(f"PRAGMA journal_mode={'WAL' if wal_is_sound() else 'TRUNCATE'}")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: SyncConnection) -> None:
    # A writer that begins by reading could find, too late, that somebody else wrote meanwhile.
    begin = "BEGIN IMMEDIATE" if connection.get_execution_options().get("soulwatch_writes") else "BEGIN"
    adapted: Any = connection.connection.dbapi_connection
    try:
        # By the driver's own shortcut: a cursor of SQLAlchemy's goes to the thread and back three times.
        adapted.run_async(lambda driver: driver.execute(begin))
    except sqlite3.Error as broken:
        raise OperationalError(begin, None, broken) from broken
    except BaseException:
        connection.invalidate()  # who is cancelled here cannot know whether it has begun
        raise


def _reset_sqlite(connection: Any, _record: Any, state: PoolResetState) -> None:
    # A COMMIT that failed leaves its transaction open; after all others a rollback is a way to the thread for nothing.
    if not state.terminate_only and connection.driver_connection.in_transaction:
        connection.rollback()
