import base64
import hashlib

import pytest

from soulwatch.errors import SettingsError
from soulwatch.host.host import Host
from soulwatch.host.settings import load_settings

KEY, OLDER, WRONG = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))


def contents(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture
def start(tmp_path):
    """Opens and closes a host on one database, under the key of a test."""

    async def start_(**settings):
        given = {"data_dir": str(tmp_path), **settings}
        host = await Host.open(load_settings(overrides=given, env={}, cwd=tmp_path))
        await host.close()

    return start_


@pytest.mark.fault("F61")
async def test_a_wrong_key_refuses_to_start_and_changes_nothing(start, tmp_path):
    await start(encryption_key=KEY)
    before = contents(tmp_path)

    with pytest.raises(SettingsError, match="is not the key this database was sealed with; nothing was changed"):
        await start(encryption_key=WRONG)
    assert contents(tmp_path) == before
    await start(encryption_key=KEY)


async def test_a_key_file_is_only_spoken_of_where_the_key_came_from_one(start, tmp_path):
    await start(encryption_key=KEY)
    with pytest.raises(SettingsError) as refused:
        await start(encryption_key=WRONG)
    assert "encryption.key" not in str(refused.value)
    (tmp_path / "encryption.key").write_text(WRONG)
    (tmp_path / "encryption.key").chmod(0o600)
    with pytest.raises(SettingsError, match=r"\(or restore .*/encryption\.key\)"):
        await start()


@pytest.mark.fault("F61")
async def test_a_missing_key_refuses_to_start_and_makes_no_other(start, tmp_path):
    await start(encryption_key=KEY)
    before = contents(tmp_path)

    with pytest.raises(SettingsError, match="The key of this database is missing"):
        await start()
    assert contents(tmp_path) == before


@pytest.mark.fault("F61")
async def test_a_key_that_was_made_is_found_again_and_missed_when_it_is_gone(start, tmp_path):
    await start()
    await start()
    (tmp_path / "encryption.key").unlink()
    before = contents(tmp_path)

    with pytest.raises(SettingsError, match="Restore it from a backup"):
        await start()
    assert contents(tmp_path) == before


async def test_a_newer_key_may_go_before_the_one_in_use(start):
    await start(encryption_key=OLDER)
    await start(encryption_key=f"{KEY},{OLDER}")

    with pytest.raises(SettingsError, match="An older key that still seals part of this database is missing"):
        await start(encryption_key=KEY)


async def test_the_refusal_holds_no_key(start):
    await start(encryption_key=KEY)
    with pytest.raises(SettingsError) as refused:
        await start(encryption_key=WRONG)

    assert WRONG not in str(refused.value)
    assert KEY not in str(refused.value)
