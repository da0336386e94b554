import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soulwatch.errors import SettingsError
from soulwatch.host.vault import (
    KeyRing,
    KeyUnavailable,
    Place,
    generate_key,
    key_check,
    parse_key,
    read_or_make_key_file,
)

KEY = bytes(range(200, 232))
OLD_KEY = bytes(range(32))
PLACE = Place("sealed_data_keys", "sealed_key", "c-1", "u-1", "github", 0)

SPELLINGS = {
    "base64": lambda key: base64.b64encode(key).decode(),
    "base64 unpadded": lambda key: base64.b64encode(key).decode().rstrip("="),
    "base64url": lambda key: base64.urlsafe_b64encode(key).decode(),
    "base64url unpadded": lambda key: base64.urlsafe_b64encode(key).decode().rstrip("="),
    "hex": lambda key: key.hex(),
    "HEX": lambda key: key.hex().upper(),
    "hex with space around": lambda key: f"  {key.hex()}\n",
}
WRONG = {
    "empty": ("", "0 bytes long"),
    "a password": ("correct horse battery staple", "neither base64 nor hex"),
    "not ASCII": ("ключ" * 8, "neither base64 nor hex"),
    "base64 with stray signs": ("!!!!" + base64.b64encode(KEY).decode(), "neither base64 nor hex"),
    "hex of an AES-128 key": ("0f" * 16, "16 bytes long"),
    "base64 of an AES-128 key": (base64.b64encode(b"k" * 16).decode(), "16 bytes long"),
    "base64 of 33 bytes": (base64.b64encode(b"k" * 33).decode(), "33 bytes long"),
    "hex with a digit pair too many": ("0f" * 33, "33 bytes long"),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@settings(deadline=None)
@given(key=st.binary(min_size=32, max_size=32))
def test_a_key_may_be_spelt_in_many_ways(spell, key):
    assert parse_key(spell(key)) == key


@pytest.mark.parametrize(("text", "complaint"), WRONG.values(), ids=WRONG)
def test_a_wrong_key_is_refused_with_a_remedy_and_not_repeated(text, complaint):
    with pytest.raises(ValueError, match=complaint) as refused:
        parse_key(text)

    assert "soulwatch keygen" in str(refused.value)
    assert not text or text not in str(refused.value)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_key_or_a_clear_refusal(text):
    try:
        assert len(parse_key(text)) == 32
    except ValueError as error:
        assert str(error).startswith("The key is ")  # noqa: PT017  - either outcome is right


def test_a_generated_key_is_a_key_and_never_the_same():
    keys = {parse_key(generate_key()) for _ in range(100)}

    assert len(keys) == 100


def test_a_ring_is_made_of_texts_newest_first():
    ring = KeyRing.from_texts([KEY.hex(), base64.b64encode(OLD_KEY).decode()])

    assert ring.kids == (key_check(KEY)[:4], key_check(OLD_KEY)[:4])


def test_a_ring_says_which_of_its_keys_is_wrong():
    with pytest.raises(ValueError, match="Key 2 of the key ring: The key is 16 bytes long"):
        KeyRing.from_texts([KEY.hex(), "00" * 16])


def test_a_ring_needs_a_key():
    with pytest.raises(ValueError, match="set ENCRYPTION_KEY"):
        KeyRing([])


def test_a_ring_refuses_the_same_key_twice():
    with pytest.raises(ValueError, match="the same key twice"):
        KeyRing.from_texts([KEY.hex(), base64.b64encode(KEY).decode()])


def test_a_ring_refuses_a_key_of_another_size():
    with pytest.raises(ValueError, match="A key is 32 bytes, this one is 31"):
        KeyRing([KEY[:31]])


def test_only_a_data_key_is_wrapped():
    with pytest.raises(ValueError, match="A data key is 32 bytes, this one is 5"):
        KeyRing([KEY]).wrap(b"token", PLACE)


def test_a_ring_shows_the_ids_of_its_keys_alone():
    ring = KeyRing([KEY, OLD_KEY])

    assert repr(ring) == f"<KeyRing {key_check(KEY)[:4].hex()} {key_check(OLD_KEY)[:4].hex()}>"


def test_the_store_knows_a_key_again_by_its_check_value():
    assert KeyRing([KEY]).key_check() == key_check(KEY)
    assert KeyRing([KEY, OLD_KEY]).key_check(key_check(OLD_KEY)[:4]) == key_check(OLD_KEY)
    assert KeyRing([KEY, OLD_KEY]).knows(key_check(OLD_KEY))
    assert not KeyRing([KEY]).knows(key_check(OLD_KEY))


def test_a_check_value_of_the_right_id_and_wrong_rest_is_not_known():
    assert not KeyRing([KEY]).knows(key_check(KEY)[:4] + bytes(16))


def test_a_key_that_is_missing_has_no_check_value():
    with pytest.raises(KeyUnavailable):
        KeyRing([KEY]).key_check(b"none")


def test_a_key_file_is_made_once_and_read_ever_after(tmp_path):
    path = tmp_path / "data" / "soulwatch" / "key"
    key, made = read_or_make_key_file(path)

    assert made
    assert len(key) == 32
    assert read_or_make_key_file(path) == (key, False)


def test_a_key_file_is_its_owners_alone_whatever_the_umask(tmp_path):
    path = tmp_path / "data" / "key"
    before = os.umask(0)
    try:
        read_or_make_key_file(path)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_making_a_key_file_leaves_nothing_else_behind(tmp_path):
    read_or_make_key_file(tmp_path / "key")

    assert [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("attempt", range(20))
def test_hosts_that_start_at_once_agree_on_one_key(tmp_path, attempt):
    hosts = 8
    together = Barrier(hosts)

    def start(_):
        together.wait()
        return read_or_make_key_file(tmp_path / "key")

    with ThreadPoolExecutor(hosts) as pool:
        answers = list(pool.map(start, range(hosts)))

    assert len({key for key, _ in answers}) == 1
    assert [made for _, made in answers].count(True) == 1


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o666])
def test_a_key_file_open_to_others_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    path.write_text(KEY.hex())
    path.chmod(mode)

    with pytest.raises(SettingsError, match=f"chmod 600 {path}") as refused:
        read_or_make_key_file(path)
    assert KEY.hex() not in str(refused.value)


def test_a_read_only_key_file_is_fine(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY.hex())
    path.chmod(0o400)

    assert read_or_make_key_file(path) == (KEY, False)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00", KEY[:16].hex().encode(), f"{KEY.hex()} 00".encode()])
def test_a_key_file_without_exactly_one_key_is_never_replaced(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(SettingsError, match="Restore it from a backup"):
        read_or_make_key_file(path)
    assert path.read_bytes() == content


def test_a_key_file_that_cannot_be_used_says_what_else_to_do(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "key")

    for path in (tmp_path, tmp_path / "file" / "key", tmp_path / "dangling"):
        with pytest.raises(SettingsError, match="or set ENCRYPTION_KEY instead"):
            read_or_make_key_file(path)
