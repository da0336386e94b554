"""The key ring: the operator's keys, newest first. The first one wraps data keys, all of them unwrap."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from soulwatch.host.envelope import KID_BYTES, KeyUnavailable, Place, SealingKey, kid_in, kid_of
from soulwatch.host.keys import KEY_BYTES, parse_key

CHECK_BYTES = 16
FINGERPRINT_BYTES = 16


class _Member(NamedTuple):
    sealing: SealingKey
    check: bytes
    fingerprints: hmac.HMAC


class KeyRing:
    """The operator's keys, newest first; it keeps no key's bytes where Python can show them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("The key ring is empty; set ENCRYPTION_KEY (`soulwatch keygen` makes a key).")
        self._members = {kid_of(key): _member(key) for key in keys}
        if len(self._members) != len(keys):
            raise ValueError("The key ring holds the same key twice; name each key once in ENCRYPTION_KEY.")
        self._primary = next(iter(self._members.values()))

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> KeyRing:
        """A ring of keys spelt in base64, base64url or hex; raises ValueError saying which of them is wrong."""
        keys: list[bytes] = []
        for place, text in enumerate(texts, start=1):
            try:
                keys.append(parse_key(text))
            except ValueError as error:
                raise ValueError(f"Key {place} of the key ring: {error}") from None
        return cls(keys)

    def __repr__(self) -> str:
        return f"<KeyRing {' '.join(kid.hex() for kid in self._members)}>"

    @property
    def kids(self) -> tuple[bytes, ...]:
        """The ids of the keys, newest first; the first is the primary's."""
        return tuple(self._members)

    def wrap(self, data_key: bytes, place: Place) -> bytes:
        """`data_key` (32 bytes) sealed by the primary key for exactly `place`."""
        if len(data_key) != KEY_BYTES:
            raise ValueError(f"A data key is {KEY_BYTES} bytes, this one is {len(data_key)}.")
        return self._primary.sealing.seal(data_key, place)

    def unwrap(self, wrapped: bytes, place: Place) -> bytes:
        """The data key in `wrapped`; raises KeyUnavailable when no key here wrapped it, SealBroken as `open` does."""
        return self._member(kid_in(wrapped, place)).sealing.open(wrapped, place)

    def rewrap(self, wrapped: bytes, place: Place) -> bytes:
        """`wrapped` under the primary key: the very same bytes where it is already, checked in either case."""
        data_key = self.unwrap(wrapped, place)
        return wrapped if wrapped.startswith(self._primary.sealing.head) else self.wrap(data_key, place)

    def key_check(self, kid: bytes | None = None) -> bytes:
        """What the store remembers of a key here (the primary, unless `kid` names one) to know it again."""
        return (self._primary if kid is None else self._member(kid)).check

    def knows(self, check: bytes) -> bool:
        """Whether a key here made `check`; if not, the host must not start on that store."""
        return any(hmac.compare_digest(member.check, check) for member in self._members.values())

    def fingerprint(self, secret: bytes) -> bytes:
        """20 bytes to compare `secret` by without keeping it: the primary's id and a keyed hash."""
        return self._primary.sealing.kid + _hash(self._primary, secret)

    def matches(self, secret: bytes, fingerprint: bytes) -> bool:
        """Whether `fingerprint`, made by any key here, is of `secret`; raises KeyUnavailable for any other key's."""
        member = self._member(fingerprint[:KID_BYTES])
        return hmac.compare_digest(fingerprint[KID_BYTES:], _hash(member, secret))

    def _member(self, kid: bytes) -> _Member:
        try:
            return self._members[kid]
        except KeyError:
            raise KeyUnavailable(
                f"Key {kid.hex()} is not in the key ring. Put it back into ENCRYPTION_KEY, after the newest, and start"
                " again; until then what it sealed stays as it is.",
                kid=kid,
            ) from None


def key_check(key: bytes) -> bytes:
    """The key's id and 16 bytes derived from it: enough to know the key again, useless for finding it."""
    return kid_of(key) + _derived(key, b"soulwatch key check")[:CHECK_BYTES]


def _member(key: bytes) -> _Member:
    fingerprints = hmac.new(_derived(key, b"soulwatch fingerprint"), digestmod="sha256")
    return _Member(SealingKey(key), key_check(key), fingerprints)


def _derived(key: bytes, purpose: bytes) -> bytes:
    # A key of its own for each purpose, so that no value made with one says anything about another (RFC 5869).
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose).derive(key)


def _hash(member: _Member, secret: bytes) -> bytes:
    mac = member.fingerprints.copy()
    mac.update(secret)
    return mac.digest()[:FINGERPRINT_BYTES]
