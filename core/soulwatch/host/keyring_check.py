"""The keys a database was sealed with, checked before anything else: a wrong key refuses to start."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sqlalchemy import inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.errors import SettingsError
from soulwatch.host.clock import Clock
from soulwatch.host.settings import Settings
from soulwatch.host.store.database import Database, upsert
from soulwatch.host.store.tables import key_checks
from soulwatch.host.vault import KeyRing, read_or_make_key_file

logger = logging.getLogger("soulwatch.keys")

KEY_FILE = "encryption.key"


async def open_ring(settings: Settings, database: Database) -> KeyRing:
    """The key ring, known to fit the database. Raises SettingsError, and nothing was changed then."""
    known = await _known(database)
    ring = _ring(settings, may_make=not known)
    _check(ring, known, settings)
    return ring


def _check(ring: KeyRing, known: Sequence[bytes], settings: Settings) -> None:
    missing = [check for check in known if not ring.knows(check)]
    if missing and len(missing) == len(known):
        raise SettingsError(
            "ENCRYPTION_KEY is not the key this database was sealed with; nothing was changed. Set the key it was made "
            f"with{_or_restore(settings)}, or DATABASE_URL to another database."
        )
    if missing:
        raise SettingsError(
            "An older key that still seals part of this database is missing from ENCRYPTION_KEY; nothing was changed. "
            "Put it back behind the newest one, run `soulwatch keys rotate`, and take it out then."
        )


def _or_restore(settings: Settings) -> str:
    """Where the key comes from a file, that may be what was lost."""
    return "" if settings.encryption_key else f" (or restore {settings.data_dir / KEY_FILE})"


async def remember(ring: KeyRing, database: Database, clock: Clock, settings: Settings) -> None:
    """Note that the primary key is in use with this database; most starts find it noted and write nothing.

    Raises SettingsError where another host, started at the same moment, was the first to note another key.
    """
    if ring.key_check() in await _known(database):
        return
    row = {"kid": ring.kids[0], "value": ring.key_check(), "created_at": clock.now()}
    async with database.writing() as transaction:
        if not database.is_sqlite:
            await transaction.execute(text(f"LOCK TABLE {key_checks.name} IN SHARE ROW EXCLUSIVE MODE"))
        _check(ring, await _noted(transaction), settings)
        await transaction.execute(upsert(transaction, key_checks, row, ("kid",)))


async def _known(database: Database) -> list[bytes]:
    async with database.reading() as transaction:
        has_table = await transaction.run_sync(lambda sync: inspect(sync).has_table(key_checks.name))
        return await _noted(transaction) if has_table else []


async def _noted(transaction: AsyncConnection) -> list[bytes]:
    return [bytes(value) for value in (await transaction.execute(select(key_checks.c.value))).scalars()]


def _ring(settings: Settings, *, may_make: bool) -> KeyRing:
    if settings.encryption_key:
        return KeyRing.from_texts(key.get_secret_value() for key in settings.encryption_key)
    path = settings.data_dir / KEY_FILE
    if not may_make and not path.exists():
        raise SettingsError(
            f"The key of this database is missing: neither ENCRYPTION_KEY is set nor is there a file {path}. Restore "
            "it from a backup; without it the tokens cannot be opened and every account has to be connected again."
        )
    key, is_new = read_or_make_key_file(path)
    if is_new:
        logger.warning(
            "no ENCRYPTION_KEY is set: a key was made in %s. Back it up: without it every connection is lost.", path
        )
    return KeyRing([key])
