"""A backup made while the host works, by the commands of the how-to page, and what is there after a disaster."""

import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from support.refreshing import is_good, refreshes, statuses
from support.stocktaking import ask, make_due, until

from soulwatch import NeedsReauth, SettingsError, SoulwatchError
from soulwatch.host import rekeying
from soulwatch.host.safe import TokenSafe
from soulwatch.host.vault import generate_key

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "back-up-and-restore.md").read_text("utf-8")
BLOCKS = [re.sub(r"(?m)^   ", "", block) for block in re.findall(r"(?s)```sh\n(.*?)```", PAGE)]
USERS = ("ada", "bea", "cid")
KEEPS, REPLACES = "spotify", "sandbox"
"""What these platforms do with a refresh token that was used."""
TRACKS = "recently_played"
LATER = 3
"""So many tracks are heard after the backup."""


def block(*words):
    """The one block of the page that has all of these words."""
    [found] = [one for one in BLOCKS if all(word in one for word in words)]
    return found


class Shell:
    """Where an operator types the commands of the page."""

    def __init__(self, world, server):
        self.is_sqlite = world.database_url.startswith("sqlite")
        self.world = world
        self.folder = world.folder
        self.key = world.folder / "encryption.key"
        names = {
            "DATA": world.folder,
            "KEY": self.key,
            "BACKUPS": world.folder / "backups",
            "SAFE": world.folder / "safe",
        }
        for name in ("BACKUPS", "SAFE"):
            names[name].mkdir()
        path = [os.environ["PATH"]]
        if server is not None:
            names |= {"PGHOST": server.folder, "PGUSER": "postgres"}
            names["DATABASE"] = make_url(world.database_url).database
            path.insert(0, str(server.bin))
        self.variables = {name: str(value) for name, value in names.items()}
        self.variables |= {"PYTHON": sys.executable, "PATH": os.pathsep.join(path)}

    def type(self, command):
        """Carry it out; what it said."""
        shell = ["sh", "-eu", "-c", f"umask 077\n{command}"]
        done = subprocess.run(
            shell, env=self.variables, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}{done.stdout}{done.stderr}"
        return done.stdout

    async def back_up(self):
        """The database, as the page says."""
        command = block("VACUUM INTO") if self.is_sqlite else block("pg_dump")
        await anyio.to_thread.run_sync(self.type, command)

    def lose_the_database(self):
        if self.is_sqlite:
            (self.folder / "soulwatch.db").unlink()
            (self.folder / "soulwatch.db-journal").write_bytes(b"what was left of a change")
        else:
            self.type('dropdb "$DATABASE"')

    def restore(self):
        self.type(block("rm -f", "-journal") if self.is_sqlite else block("pg_restore"))

    def contents(self):
        """All that the database holds."""
        if self.is_sqlite:
            return (self.folder / "soulwatch.db").read_bytes()
        dump = self.type('pg_dump --inserts "$DATABASE"')
        return [line for line in dump.splitlines() if not line.startswith("\\")]  # some versions add a random word


@pytest.fixture
def shell(request, database_url):
    """Opens a shell for a world."""
    server = None if database_url.startswith("sqlite") else request.getfixturevalue("postgres")
    return lambda world: Shell(world, server)


async def rows_of(host, platform):
    return await host.accounts.rows(platform=platform)


def opened(host, rows):
    """Their tokens, as they are stored."""
    return [TokenSafe(host.vault).open(row) for row in rows]


async def applied(host):
    return await ask(host, "SELECT COUNT(*) FROM refresh_attempts WHERE state = 'applied'")


async def have_been(host, count):
    return await applied(host) >= count


@asynccontextmanager
async def refreshing_without_a_pause(host):
    """The host works, and wherever nobody is at a token it is due at once."""

    async def again_and_again():
        while True:
            await make_due(host)
            await anyio.sleep(0.05)

    async with host.working(), anyio.create_task_group() as group:
        group.start_soon(again_and_again)
        yield
        group.cancel_scope.cancel()


async def refreshed_anew(host, row):
    """A new token, once whoever was at it at the time of the backup has let go."""
    with anyio.fail_after(60):
        while True:
            try:
                return (await host.refresh_connection(row.id))[0]
            except NeedsReauth:
                raise
            except SoulwatchError:
                await anyio.sleep(0.2)


async def new_tracks(host):
    rows = await rows_of(host, KEEPS)
    outcomes = [outcome for row in rows for outcome in await host.poll_connection(row.id, TRACKS)]
    assert [outcome.problem for outcome in outcomes] == [None] * len(rows)
    return sum(outcome.new for outcome in outcomes)


async def tracks_of(host):
    query = f"SELECT connection_id, item_key FROM user_platform_data WHERE data_type = '{TRACKS}' ORDER BY 1, 2"
    async with host.database.reading() as transaction:
        return (await transaction.execute(text(query))).all()


async def test_a_backup_made_among_refreshes_brings_back_all_that_the_platforms_still_honour(open_world, shell):
    async with open_world(rotation="strict") as world:
        operator = shell(world)
        async with world.host(lease="2s") as host:
            for user in USERS:
                await world.connect(host, KEEPS, user)
                await world.connect(host, REPLACES, user)
            assert await new_tracks(host) > 0
            operator.type(block('"$SAFE/encryption.key"\n'))
            async with refreshing_without_a_pause(host):
                await until(lambda: have_been(host, 2 * len(USERS)))
                await operator.back_up()
                at_backup = await applied(host)
                await until(lambda: have_been(host, at_backup + 4 * len(USERS)))
            for row in await rows_of(host, REPLACES):
                await refreshed_anew(host, row)
            world.sandbox.add_item(KEEPS, count=LATER)
            assert await new_tracks(host) == LATER * len(USERS)
            tracks = await tracks_of(host)

        operator.lose_the_database()
        operator.key.unlink()
        operator.restore()
        operator.type(block('"$SAFE/encryption.key" "$KEY"'))

        async with world.host(lease="2s") as host:
            kept, replaced = await rows_of(host, KEEPS), await rows_of(host, REPLACES)
            assert len(kept) == len(replaced) == len(USERS)
            assert all(is_good(world, token, KEEPS) for token in opened(host, kept))
            assert all(is_good(world, token) for token in opened(host, replaced))

            assert await new_tracks(host) == LATER * len(USERS)
            assert await tracks_of(host) == tracks
            assert await new_tracks(host) == 0

            for row in kept:
                before = opened(host, [row])[0]
                fresh = await refreshed_anew(host, row)
                assert fresh != before
                assert is_good(world, fresh, KEEPS)
            for row in replaced:
                with pytest.raises(NeedsReauth):  # noqa: PT012  - the first may find its answer in the journal
                    await refreshed_anew(host, row)
                    await refreshed_anew(host, row)
            for user in USERS:
                connection = await world.connect(host, REPLACES, user)
                assert connection.id in {row.id for row in replaced}
                assert is_good(world, await refreshed_anew(host, connection))


@pytest.mark.fault("F61")
async def test_a_restored_backup_with_a_wrong_or_a_missing_key_does_not_start_and_is_not_changed(open_world, shell):
    async with open_world() as world:
        operator = shell(world)
        async with world.host() as host:
            connection = await world.connect(host)
        operator.type(block('"$SAFE/encryption.key"\n'))
        await operator.back_up()
        operator.lose_the_database()
        operator.key.unlink()
        operator.restore()

        before = operator.contents()
        with pytest.raises(SettingsError, match="Restore it from a backup"):
            async with world.host():
                pass
        assert not operator.key.exists()
        with pytest.raises(SettingsError, match="not the key this database was sealed with"):
            async with world.host(encryption_key=generate_key()):
                pass
        assert operator.contents() == before
        assert refreshes(world) == []

        operator.type(block('"$SAFE/encryption.key" "$KEY"'))
        async with world.host() as host:
            assert is_good(world, await host.tokens.fresh(connection.id, is_asked_for=True))
            assert set(await statuses(host)) == {"connected"}


async def test_a_backup_from_before_a_change_of_the_key_opens_with_the_older_key_behind_the_newer(open_world, shell):
    old, new = generate_key(), generate_key()
    async with open_world() as world:
        operator = shell(world)
        async with world.host(encryption_key=old) as host:
            await world.connect(host)
            tokens = opened(host, await rows_of(host, REPLACES))
        await operator.back_up()
        async with world.host(encryption_key=f"{new},{old}") as host:
            await rekeying.rotate(host.database, host.vault)
        operator.lose_the_database()
        operator.restore()

        with pytest.raises(SettingsError, match="not the key"):
            async with world.host(encryption_key=new):
                pass
        (operator.folder / "new.key").write_text(new)
        (operator.folder / "old.key").write_text(old)
        both = operator.type(block("old.key") + 'echo "$ENCRYPTION_KEY"').strip()
        async with world.host(encryption_key=both) as host:
            assert opened(host, await rows_of(host, REPLACES)) == tokens
            await world.connect(host, user="bea")
            assert await rekeying.rotate(host.database, host.vault) == rekeying.Rotated(moved=1)
        async with world.host(encryption_key=new) as host:
            [ada] = await host.accounts.rows(user="ada")
            assert opened(host, [ada]) == tokens
            assert is_good(world, await host.tokens.fresh(ada.id, is_asked_for=True))


async def test_a_backup_made_after_somebody_disconnected_holds_nothing_of_their_tokens(open_world, shell):
    async with open_world() as world:
        operator = shell(world)
        async with world.host() as host:
            gone, stays = await world.connect(host), await world.connect(host, user="bea")
            sealed = {row.id: (bytes(row.access_token), bytes(row.sealed_key)) for row in await rows_of(host, REPLACES)}
            await host.accounts.disconnect(gone.id)
        await operator.back_up()

        if operator.is_sqlite:
            backup = (operator.folder / "backups" / "soulwatch.db").read_bytes()
        else:
            said = operator.type('pg_restore --file=- "$BACKUPS/soulwatch.dump"')
            backup = b"".join(bytes.fromhex(one) for one in re.findall(r"\\\\x([0-9a-f]+)", said))
        assert [one in backup for one in sealed[gone.id]] == [False, False]
        assert [one in backup for one in sealed[stays.id]] == [True, True]
