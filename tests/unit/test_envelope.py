from dataclasses import replace
from types import SimpleNamespace

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from soulwatch.host import envelope
from soulwatch.host.envelope import SealingKey, kid_of
from soulwatch.host.vault import KeyRing, KeyUnavailable, Place, SealBroken, Vault

KEY = bytes(range(32))
PLACE = Place("platform_connections", "access_token", "c-1", "zoë", "spotify", 3)
ELSEWHERE = {
    "table": replace(PLACE, table="refresh_attempts"),
    "column": replace(PLACE, column="refresh_token"),
    "row": replace(PLACE, row="c-2", connection="c-1"),
    "user": replace(PLACE, user="mallory"),
    "platform": replace(PLACE, platform="github"),
    "generation": replace(PLACE, generation=4),
    "a border between fields": replace(PLACE, table="platform_connectionsa", column="ccess_token"),
}


@pytest.fixture
def vault():
    return Vault(KeyRing([KEY]))


# The cipher itself: AES-256 cases 13 to 16 of McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B.
LONG_KEY = "feffe9928665731c6d6a8f9467308308" * 2
LONG_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
LONG_CIPHER = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)
KNOWN_ANSWERS = {
    "nothing": ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    "one block": (
        "00" * 32,
        "00" * 12,
        "",
        "00" * 16,
        "cea7403d4d606b6e074ec5d3baf39d18",
        "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    "four blocks": (
        LONG_KEY,
        "cafebabefacedbaddecaf888",
        "",
        LONG_PLAIN,
        LONG_CIPHER,
        "b094dac5d93471bdec1a502270e3cc6c",
    ),
    "bound to more than itself": (
        LONG_KEY,
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        LONG_PLAIN[:120],
        LONG_CIPHER[:120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
}


@pytest.mark.parametrize("case", KNOWN_ANSWERS.values(), ids=KNOWN_ANSWERS)
def test_the_cipher_gives_the_published_answers(case):
    key, nonce, bound, plain, cipher, tag = map(bytes.fromhex, case)

    assert AESGCM(key).encrypt(nonce, plain, bound) == cipher + tag
    assert AESGCM(key).decrypt(nonce, cipher + tag, bound) == plain


@pytest.mark.parametrize("case", KNOWN_ANSWERS.values(), ids=KNOWN_ANSWERS)
def test_the_cipher_refuses_a_published_answer_with_a_changed_tag(case):
    key, nonce, bound, _, cipher, tag = map(bytes.fromhex, case)

    for byte in range(16):
        forged = tag[:byte] + bytes([tag[byte] ^ 0x80]) + tag[byte + 1 :]
        with pytest.raises(InvalidTag):
            AESGCM(key).decrypt(nonce, cipher + forged, bound)


@pytest.mark.parametrize("case", KNOWN_ANSWERS.values(), ids=KNOWN_ANSWERS)
def test_an_envelope_holds_the_published_answer(case, monkeypatch):
    key, nonce, bound, plain, cipher, tag = map(bytes.fromhex, case)
    monkeypatch.setattr(envelope, "urandom", lambda _: nonce)
    sealing = SealingKey(key)
    sealing._bound = b""
    place = SimpleNamespace(bound=bound)
    sealed = sealing.seal(plain, place)

    assert sealed == bytes((0x52, 1, 1)) + kid_of(key) + nonce + cipher + tag
    assert sealing.open(sealed, place) == plain


# Made once by another program (Node's crypto module), so that what was ever sealed stays open to every later version.
WRAPPED_ELSEWHERE = bytes.fromhex(
    "520101f878a86d101112131415161718191a1b820065eab233c34b3d83fde9fc8b98a338bea3e2f028be59001f0783bdb6b53b215902ca"
    "bc0ac384ca6f071b0f620879"
)
SEALED_ELSEWHERE = bytes.fromhex(
    "5201018905ab7c202122232425262728292a2bd018aeb38af01a2f0a7949d73f4df5f783914db0fba0ed367da219"
)


def test_an_envelope_made_by_another_program_from_the_written_layout_opens(vault):
    assert vault.open(WRAPPED_ELSEWHERE, SEALED_ELSEWHERE, PLACE) == "BQD-åccess"


def test_with_the_same_nonce_the_same_envelope_is_made_as_by_the_other_program(vault, monkeypatch):
    monkeypatch.setattr(envelope, "urandom", lambda _: SEALED_ELSEWHERE[7:19])

    assert vault.seal(WRAPPED_ELSEWHERE, "BQD-åccess", PLACE) == SEALED_ELSEWHERE


@settings(deadline=None)
@given(st.text())
def test_what_is_sealed_opens_again(text):
    vault = Vault(KeyRing([KEY]))
    wrapped = vault.new_data_key(PLACE)

    assert vault.open(wrapped, vault.seal(wrapped, text, PLACE), PLACE) == text


@settings(deadline=None)
@given(st.binary())
def test_an_answer_in_any_encoding_survives_sealing(raw):
    vault = Vault(KeyRing([KEY]))
    wrapped = vault.new_data_key(PLACE)
    sealed = vault.seal(wrapped, raw.decode("utf-8", "surrogateescape"), PLACE)

    assert vault.open(wrapped, sealed, PLACE).encode("utf-8", "surrogateescape") == raw


words = st.text(max_size=8)
places = st.builds(Place, words, words, words, words, words, st.integers(0, 9))


@settings(deadline=None)
@given(places, places)
def test_two_places_authenticate_alike_only_when_they_are_the_same(one, other):
    assert (one.bound == other.bound) == (one == other)


def test_an_envelope_says_its_format_and_the_id_of_its_key(vault):
    wrapped = vault.new_data_key(PLACE)

    assert wrapped[:7] == bytes((0x52, 1, 1)) + vault.ring.kids[0]
    assert len(wrapped) == 67
    assert len(vault.seal(wrapped, "twelve bytes", PLACE)) == 12 + 35


def test_the_sealed_value_does_not_show_the_text(vault):
    wrapped = vault.new_data_key(PLACE)

    assert b"canary" not in vault.seal(wrapped, "canary" * 10, PLACE)


@pytest.mark.parametrize("number", range(50))
def test_a_flipped_bit_in_any_byte_of_a_sealed_value_is_found(vault, number):
    wrapped = vault.new_data_key(PLACE)
    sealed = vault.seal(wrapped, "x" * number, PLACE)

    for byte in range(len(sealed)):
        changed = bytearray(sealed)
        changed[byte] ^= 1 << (byte + number) % 8
        with pytest.raises(SealBroken):
            vault.open(wrapped, bytes(changed), PLACE)


def test_a_flipped_bit_in_any_byte_of_a_wrapped_data_key_is_found(vault):
    wrapped = vault.new_data_key(PLACE)
    sealed = vault.seal(wrapped, "token", PLACE)

    for bit in range(len(wrapped) * 8):
        changed = bytearray(wrapped)
        changed[bit // 8] ^= 1 << bit % 8
        expected = KeyUnavailable if 3 <= bit // 8 < 7 else SealBroken
        with pytest.raises(expected):
            vault.open(bytes(changed), sealed, PLACE)


def test_a_value_cut_or_extended_to_any_other_length_is_found(vault):
    wrapped = vault.new_data_key(PLACE)
    sealed = vault.seal(wrapped, "a token of some length", PLACE)

    for other in [sealed[:length] for length in range(len(sealed))] + [sealed + b"\0" * more for more in range(1, 40)]:
        with pytest.raises(SealBroken):
            vault.open(wrapped, other, PLACE)


def test_a_data_key_cut_or_extended_to_any_other_length_is_found(vault):
    wrapped = vault.new_data_key(PLACE)

    for other in [wrapped[:length] for length in range(len(wrapped))] + [
        wrapped + b"\0" * more for more in range(1, 9)
    ]:
        with pytest.raises(SealBroken):
            vault.seal(other, "token", PLACE)


@settings(deadline=None)
@given(st.binary(max_size=100), st.booleans())
def test_bytes_that_are_no_envelope_are_refused_by_name(noise, looks_right):
    vault = Vault(KeyRing([KEY]))
    wrapped = vault.new_data_key(PLACE)
    head = vault.seal(wrapped, "", PLACE)[:7] if looks_right else b""

    with pytest.raises(SealBroken):
        vault.open(wrapped, head + noise, PLACE)


@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
def test_a_value_moved_to_another_place_does_not_open_there(elsewhere):
    ring = KeyRing([KEY])
    data_key = bytes(32)
    here, there = (ring.wrap(data_key, place.of_data_key()) for place in (PLACE, elsewhere))
    vault = Vault(ring)

    with pytest.raises(SealBroken):
        vault.open(there, vault.seal(here, "token", PLACE), elsewhere)


@pytest.mark.parametrize("field", ["row", "user", "platform"])
@pytest.mark.parametrize("at_hand", [True, False], ids=["at hand", "not at hand"])
def test_a_data_key_moved_to_another_connection_does_not_unwrap_there(field, at_hand):
    vault = Vault(KeyRing([KEY]))
    wrapped = vault.new_data_key(PLACE)
    if not at_hand:
        vault.forget(wrapped)

    with pytest.raises(SealBroken):
        vault.seal(wrapped, "token", replace(PLACE, **{field: "another"}))


def test_a_value_of_another_connection_does_not_open_even_for_the_same_place(vault):
    mine, other = vault.new_data_key(PLACE), vault.new_data_key(PLACE)

    with pytest.raises(SealBroken, match="another key than its connection's"):
        vault.open(mine, vault.seal(other, "token", PLACE), PLACE)


def test_the_journal_seals_with_the_data_key_of_its_connection(vault):
    wrapped = vault.new_data_key(PLACE)
    attempt = Place("refresh_attempts", "answer", "a-7", "zoë", "spotify", 3, connection="c-1")
    vault.forget(wrapped)

    assert vault.open(wrapped, vault.seal(wrapped, "raw answer", attempt), attempt) == "raw answer"


def test_a_data_key_outlasts_the_grant(vault):
    wrapped = vault.new_data_key(PLACE)
    again = replace(PLACE, generation=PLACE.generation + 1)
    vault.forget(wrapped)

    assert vault.open(wrapped, vault.seal(wrapped, "token", again), again) == "token"


def test_no_nonce_comes_twice(vault):
    wrapped = vault.new_data_key(PLACE)
    nonces = {vault.seal(wrapped, "", PLACE)[7:19] for _ in range(100_000)}

    assert len(nonces) == 100_000


def test_every_connection_has_its_own_data_key(vault):
    ring = vault.ring
    place = PLACE.of_data_key()
    data_keys = {ring.unwrap(vault.new_data_key(PLACE), place) for _ in range(1000)}

    assert len(data_keys) == 1000


def test_a_broken_seal_names_its_place_and_a_remedy_but_not_its_user(vault):
    wrapped = vault.new_data_key(PLACE)
    with pytest.raises(SealBroken) as broken:
        vault.open(wrapped, b"", PLACE)

    assert "platform_connections.access_token of row c-1 (spotify)" in str(broken.value)
    assert "Upgrade, or restore it from a backup" in str(broken.value)
    assert "zoë" not in str(broken.value)
    assert broken.value.place == PLACE
