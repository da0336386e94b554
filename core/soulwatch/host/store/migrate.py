"""Bringing the tables up to date at start: under one transaction, refusing tables that are not ours."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, text

from soulwatch.errors import SettingsError
from soulwatch.host.store.database import Database
from soulwatch.host.store.tables import metadata

VERSION_TABLE = "soulwatch_version"
LOCK = int.from_bytes(b"soulwatc")
"""PostgreSQL's advisory lock under which tables are made."""
LONGEST_S = 3600.0
HEAD = "0001"
"""The newest migration; a test holds it equal to what the scripts say."""


async def migrate(database: Database) -> bool:
    """Run the migrations that are missing; whether there were any. Raises SettingsError for foreign tables."""
    async with database.reading() as connection:
        if await connection.run_sync(_version) == HEAD:
            return False
    async with database.writing(within_s=LONGEST_S) as connection:
        if not database.is_sqlite:
            # SQLite lets in one writer at a time; PostgreSQL would let two hosts make the same tables.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        return await connection.run_sync(_upgrade)


def _version(connection: Connection) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
        return found
    taken = sorted(tables & set(metadata.tables))
    if taken:
        raise SettingsError(
            f"The database already has tables named {' and '.join(taken)} that soulwatch did not make; nothing was "
            "changed. Set DATABASE_URL to another database (or, on PostgreSQL, to another schema with "
            "?options=-csearch_path%3Dsoulwatch)."
        )
    return None


def _upgrade(connection: Connection) -> bool:
    version = _version(connection)
    if version == HEAD:
        return False  # another process was quicker
    if version is not None and version > HEAD:
        raise SettingsError(
            f"The database was made by a newer soulwatch (its tables are of version {version}, this one knows {HEAD}); "
            "nothing was changed. Install the newer soulwatch again, or set DATABASE_URL to another database."
        )
    # Alembic is imported here: most starts have nothing to migrate, and it takes long to load.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return True
