import gc
import os
import pickle
from dataclasses import replace
from types import FunctionType, ModuleType

import pytest

from soulwatch.errors import SoulwatchError
from soulwatch.host.vault import KeyRing, KeyUnavailable, Place, SealBroken, Vault, key_check

KEY = bytes(range(32))
OLD_KEY = bytes(range(32, 64))
PLACE = Place("platform_connections", "access_token", "c-1", "zoë", "spotify", 3)


class Watch:
    """A monotonic clock that stands still until told."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


class CountingRing(KeyRing):
    unwrapped = 0

    def unwrap(self, wrapped, place):
        self.unwrapped += 1
        return super().unwrap(wrapped, place)


@pytest.fixture
def vault():
    return Vault(KeyRing([KEY]))


def test_values_derived_from_a_key_are_those_another_program_derives(vault):
    assert key_check(KEY).hex() == "f878a86d29ebc0a911c2dfb6c806860d009af39c"
    assert vault.fingerprint("AQB-refresh").hex() == "f878a86d85e0e7d02cdc76554fe00e8e94dc89f3"


def test_a_wrong_key_is_not_the_users_fault():
    wrapped = Vault(KeyRing([OLD_KEY])).new_data_key(PLACE)

    with pytest.raises(KeyUnavailable, match="Put it back into ENCRYPTION_KEY") as refused:
        Vault(KeyRing([KEY])).seal(wrapped, "token", PLACE)
    assert refused.value.kid == key_check(OLD_KEY)[:4]


def test_an_old_key_still_opens_and_the_newest_seals():
    before = Vault(KeyRing([OLD_KEY]))
    wrapped = before.new_data_key(PLACE)
    sealed = before.seal(wrapped, "token", PLACE)
    after = Vault(KeyRing([KEY, OLD_KEY]))

    assert after.open(wrapped, sealed, PLACE) == "token"
    assert after.new_data_key(PLACE)[3:7] == key_check(KEY)[:4]


def test_rewrapping_moves_a_data_key_to_the_newest_key_and_leaves_values_alone():
    before = Vault(KeyRing([OLD_KEY]))
    wrapped = before.new_data_key(PLACE)
    sealed = before.seal(wrapped, "token", PLACE)
    rewrapped = Vault(KeyRing([KEY, OLD_KEY])).rewrap(wrapped, PLACE)

    assert Vault(KeyRing([KEY])).open(rewrapped, sealed, PLACE) == "token"


def test_rewrapping_twice_changes_nothing_more():
    vault = Vault(KeyRing([KEY, OLD_KEY]))
    wrapped = vault.new_data_key(PLACE)

    assert vault.rewrap(wrapped, PLACE) == wrapped


def test_rewrapping_refuses_a_broken_data_key(vault):
    wrapped = vault.new_data_key(PLACE)

    with pytest.raises(SealBroken):
        vault.rewrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), PLACE)


def test_a_data_key_is_unwrapped_once_while_it_is_at_hand():
    ring = CountingRing([KEY])
    wrapped = Vault(ring).new_data_key(PLACE)
    vault = Vault(ring)
    for _ in range(5):
        vault.open(wrapped, vault.seal(wrapped, "token", PLACE), PLACE)

    assert ring.unwrapped == 1


def test_a_data_key_is_unwrapped_again_after_ten_minutes():
    ring, watch = CountingRing([KEY]), Watch()
    vault = Vault(ring, monotonic=watch)
    wrapped = vault.new_data_key(PLACE)
    counts = []
    for seconds in (599.9, 0.1, 599.9, 0.1):
        watch.seconds += seconds
        vault.seal(wrapped, "token", PLACE)
        counts.append(ring.unwrapped)

    assert counts == [0, 1, 1, 2]


def test_data_keys_past_their_time_leave_memory_with_the_next_one():
    watch = Watch()
    vault = Vault(KeyRing([KEY]), monotonic=watch)
    for _ in range(5):
        vault.new_data_key(PLACE)
    watch.seconds += 600
    vault.new_data_key(PLACE)

    assert vault.held == 1


def test_no_more_data_keys_are_at_hand_than_allowed_and_the_oldest_goes_first():
    ring = CountingRing([KEY])
    vault = Vault(ring, at_hand=3)
    first, *_, last = [vault.new_data_key(PLACE) for _ in range(10)]
    vault.seal(last, "token", PLACE)
    assert (vault.held, ring.unwrapped) == (3, 0)

    vault.seal(first, "token", PLACE)
    assert (vault.held, ring.unwrapped) == (3, 1)


def test_a_forgotten_data_key_leaves_memory_at_once(vault):
    wrapped = vault.new_data_key(PLACE)
    vault.forget(wrapped)
    vault.forget(wrapped)

    assert vault.held == 0


def test_a_fingerprint_tells_tokens_apart_without_showing_them(vault):
    fingerprint = vault.fingerprint("AQB-refresh")

    assert vault.matches("AQB-refresh", fingerprint)
    assert not vault.matches("AQB-refresh2", fingerprint)
    assert len(fingerprint) == 20


def test_a_fingerprint_made_under_an_old_key_still_matches():
    fingerprint = Vault(KeyRing([OLD_KEY])).fingerprint("token")
    rotated = Vault(KeyRing([KEY, OLD_KEY]))

    assert rotated.fingerprint("token") != fingerprint
    assert rotated.matches("token", fingerprint)


def test_a_fingerprint_of_a_missing_key_is_no_mismatch_but_an_error(vault):
    with pytest.raises(KeyUnavailable):
        vault.matches("token", Vault(KeyRing([OLD_KEY])).fingerprint("token"))


def reachable(root):
    seen, waiting = {}, [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) not in seen and not isinstance(thing, type | ModuleType | FunctionType):
            seen[id(thing)] = thing
            waiting += gc.get_referents(thing)
    return seen.values()


def test_no_key_can_be_found_in_what_a_vault_holds():
    key = os.urandom(32)
    vault = Vault(KeyRing([key]))
    wrapped = vault.new_data_key(PLACE)
    secrets = {key, vault.ring.unwrap(wrapped, PLACE.of_data_key())}
    held = [bytes(thing) for thing in reachable(vault) if isinstance(thing, bytes | bytearray)]

    assert wrapped in held
    assert not secrets.intersection(held)


def test_nothing_shows_a_key_or_a_token():
    vault = Vault(KeyRing([KEY]))
    wrapped = vault.new_data_key(PLACE)
    sealed = vault.seal(wrapped, "canary", PLACE)
    with pytest.raises(SoulwatchError) as broken:
        vault.open(wrapped, sealed, replace(PLACE, generation=9))
    with pytest.raises(SoulwatchError) as missing:
        Vault(KeyRing([OLD_KEY])).open(wrapped, sealed, PLACE)
    shown = repr([vault, vault.ring, vars(vault), vars(vault.ring), PLACE, broken.value, missing.value])

    for secret in ("canary", KEY.hex(), repr(KEY)[2:-1], repr(KEY[:8])[2:-1]):
        assert secret not in shown


def test_a_vault_cannot_be_written_down(vault):
    with pytest.raises(TypeError):
        pickle.dumps(vault)
