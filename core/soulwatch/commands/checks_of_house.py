"""One installation: its folder, key, database, plugins and addresses. Nothing is changed by looking."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from soulwatch.commands.checks_of_addresses import examine_addresses
from soulwatch.commands.checks_of_clients import examine_clients
from soulwatch.commands.checks_of_files import examine_files
from soulwatch.commands.findings import Finding, fail, ok, warn
from soulwatch.errors import SoulwatchError
from soulwatch.host.clock import SystemClock
from soulwatch.host.keyring_check import KEY_FILE, open_ring
from soulwatch.host.platforms import Platforms
from soulwatch.host.plugins import Plugins
from soulwatch.host.store import tables
from soulwatch.host.store.database import Database
from soulwatch.host.store.migrate import HEAD, VERSION_TABLE

if TYPE_CHECKING:
    from soulwatch.host.settings import Settings

NO_ROOM = 64 * 1024
LITTLE_ROOM = 100 * 1024 * 1024
CLOCK_MAY_DIFFER = timedelta(minutes=2)


async def examine_house(settings: Settings) -> list[Finding]:
    """Each finding, in turn."""
    plugins = Plugins()
    plugins.discover(allow=settings.plugins.allow, deny=settings.plugins.deny)
    platforms = Platforms(plugins, settings)
    found = [examine_folder(settings.data_dir), examine_key_file(settings), *examine_files(settings)]
    found += [one async for one in examine_database(settings, platforms)]
    found += examine_plugins(plugins, platforms)
    found += await examine_addresses(settings)
    return found


def examine_folder(folder: Path) -> Finding:
    """The data directory: there or to be made, writable, with room left."""
    there = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return fail("Data directory", f"{there} cannot be written", "Set SOULWATCH_DATA_DIR to a folder of this user.")
    free = shutil.disk_usage(there).free
    if free < NO_ROOM:
        return fail("Data directory", f"{folder} has no room left", "Make room: until then no token can be refreshed.")
    if free < LITTLE_ROOM:
        return warn("Data directory", f"{folder} has less than 100 MB left", "Make room: a full disk stops everything.")
    return ok("Data directory", str(folder) if there == folder else f"{folder} (made at the first start)")


def examine_key_file(settings: Settings) -> Finding:
    """Where the key comes from, and whether anybody else may read it."""
    if settings.encryption_key:
        return ok("Encryption key", f"from {settings.sources['encryption_key']}")
    path = settings.data_dir / KEY_FILE
    if not path.exists():
        return ok("Encryption key", "none yet; the first start makes a key file")
    mode = stat.S_IMODE(path.stat().st_mode)
    if os.name == "posix" and mode & 0o077:
        return fail("Encryption key", f"others may read {path} (mode {mode:04o})", f"chmod 600 {path}")
    return warn(
        "Encryption key",
        f"in {path} (mode {mode:04o}), beside the data it protects",
        "Back it up, and in production give the key as ENCRYPTION_KEY or ENCRYPTION_KEY_FILE from elsewhere.",
    )


async def examine_database(settings: Settings, platforms: Platforms) -> AsyncIterator[Finding]:
    """Whether it opens, its tables are up to date, its key fits and no time in it is yet to come."""
    database = Database(settings.database_url)
    try:
        if database.is_sqlite and not Path(database.engine.url.database or "").exists():  # noqa: ASYNC240  - once
            yield ok("Database", f"none yet at {database.engine.url.database}; the first start makes it")
            return
        await database.check()
        async with database.reading() as transaction:
            version = await transaction.run_sync(_version)
        yield _up_to_date(database, version)
        if version is not None:
            await open_ring(settings, database)
            yield ok("Database key", "fits what is sealed")
            yield await _examine_times(database)
        if version == HEAD:
            for finding in await examine_clients(settings, database, platforms):
                yield finding
    except SoulwatchError as wrong:
        yield fail("Database", "it cannot be used", str(wrong))
    except (SQLAlchemyError, OSError) as broken:
        what = str(getattr(broken, "orig", None) or broken)
        yield fail("Database", what, "Check DATABASE_URL; restore a backup if the file is damaged.")
    finally:
        await database.close()


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608
    return found


def _up_to_date(database: Database, version: str | None) -> Finding:
    place = database.engine.url.render_as_string(hide_password=True)
    if version == HEAD:
        return ok("Database", f"{place}, tables at version {version}")
    if version is None:
        return ok("Database", f"{place}, no tables yet; the first start makes them")
    if version > HEAD:
        return fail("Database", f"its tables are of a newer soulwatch ({version})", "Install that version again.")
    return warn("Database", f"tables at version {version} of {HEAD}", "The next start brings them up to date.")


async def _examine_times(database: Database) -> Finding:
    async with database.reading() as transaction:
        newest = [
            (await transaction.execute(select(func.max(column)))).scalar()
            for column in (tables.events.c.at, tables.connections.c.updated_at, tables.connections.c.last_sync)
        ]
    latest = max((at for at in newest if at is not None), default=None)
    if latest is not None and latest > SystemClock().now() + CLOCK_MAY_DIFFER:
        return fail(
            "Clock and database",
            f"something happened at {latest:%Y-%m-%d %H:%M} UTC, which is yet to come",
            "The clock was or is wrong: set it, or let NTP do it. Nothing is due before the time that was noted.",
        )
    return ok("Clock and database", "no time in it is yet to come")


def examine_plugins(plugins: Plugins, platforms: Platforms) -> Iterator[Finding]:
    """Every plugin, and for a platform whether its client is set."""
    for plugin in plugins:
        title = f"Plugin {plugin.name}"
        if plugin.platform is None or platforms.has_client(plugin.platform):
            yield ok(title, f"{plugin.distribution} {plugin.version}")
        elif platforms.is_enabled(plugin.name):
            name = plugin.platform.client_name.upper().replace("-", "_")
            yield warn(
                title,
                f"{plugin.distribution} {plugin.version}, does nothing without an OAuth client",
                f"Set {name}_CLIENT_ID and {name}_CLIENT_SECRET; the plugin's README says how to get them.",
            )
        else:
            yield ok(title, f"{plugin.distribution} {plugin.version}, switched off")
    for problem in plugins.problems:
        yield warn(f"Plugin {problem.plugin}", f"not in use: {problem.why}", f"See to {problem.distribution}.")
    if not list(plugins):
        yield warn("Plugins", "none is in use", "Install one, for example: pip install soulwatch-spotify")
