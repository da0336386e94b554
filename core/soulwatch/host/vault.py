"""Sealing and opening what must not be read in the database: tokens, verifiers, raw token answers.

Each connection has its own random data key, stored only as wrapped by the key ring; forgetting it shreds the rest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

from soulwatch.host.envelope import KeyUnavailable, Place, SealBroken, SealingKey
from soulwatch.host.keyring import KeyRing, key_check
from soulwatch.host.keys import KEY_BYTES, generate_key, parse_key, read_or_make_key_file

__all__ = [
    "KeyRing",
    "KeyUnavailable",
    "Place",
    "SealBroken",
    "Vault",
    "generate_key",
    "key_check",
    "parse_key",
    "read_or_make_key_file",
]

DATA_KEYS_AT_HAND = 10_000
KEEP_SECONDS = 600.0


class _Held(NamedTuple):
    key: SealingKey
    owner: tuple[str, str, str]
    until: float


class Vault:
    """Seals text for a place and opens it there again, under the connection's data key.

    A data key is handed in as the store keeps it: wrapped. Unwrapped ones stay at hand, at most `at_hand` of them and
    each for `keep_seconds` by `monotonic`. Safe to share between threads.
    """

    def __init__(
        self,
        ring: KeyRing,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        at_hand: int = DATA_KEYS_AT_HAND,
        keep_seconds: float = KEEP_SECONDS,
    ) -> None:
        self.ring = ring
        self._monotonic = monotonic
        self._at_hand = at_hand
        self._keep_seconds = keep_seconds
        self._held: dict[bytes, _Held] = {}
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<Vault {self.ring!r}, {self.held} data keys at hand>"

    @property
    def held(self) -> int:
        """How many unwrapped data keys are in memory."""
        return len(self._held)

    def new_data_key(self, place: Place) -> bytes:
        """A new data key for the connection of `place`, wrapped for the store to keep (67 bytes)."""
        data_key = os.urandom(KEY_BYTES)
        wrapped = self.ring.wrap(data_key, place.of_data_key())
        self._hold(wrapped, data_key, place)
        return wrapped

    def seal(self, wrapped: bytes, plaintext: str, place: Place) -> bytes:
        """An envelope of `plaintext` that only `place` and this data key open.

        Bytes of unknown encoding go in as `raw.decode("utf-8", "surrogateescape")` and come back the same way.
        Raises KeyUnavailable or SealBroken when the data key does not unwrap.
        """
        return self._key(wrapped, place).seal(plaintext.encode("utf-8", "surrogatepass"), place)

    def open(self, wrapped: bytes, sealed: bytes, place: Place) -> str:
        """The text in `sealed`; raises KeyUnavailable (mend the settings) or SealBroken (changed or moved)."""
        return self._key(wrapped, place).open(sealed, place).decode("utf-8", "surrogatepass")

    def rewrap(self, wrapped: bytes, place: Place) -> bytes:
        """`wrapped` under the newest key, or unchanged where it is already. Sealed values stay as they are."""
        return self.ring.rewrap(wrapped, place.of_data_key())

    def forget(self, wrapped: bytes) -> None:
        """Drop a data key from memory: its connection is gone."""
        with self._lock:
            self._held.pop(wrapped, None)

    def fingerprint(self, token: str) -> bytes:
        """20 bytes to compare a token by without keeping it: the primary key's id, then HMAC-SHA256 cut to 16 bytes.

        It changes when the primary key changes: ask `matches` about a token, and take two different stored values for
        different tokens only where both begin with the same id.
        """
        return self.ring.fingerprint(token.encode("utf-8", "surrogatepass"))

    def matches(self, token: str, fingerprint: bytes) -> bool:
        """Whether `fingerprint` is of `token`, whichever key of the ring made it; raises KeyUnavailable otherwise."""
        return self.ring.matches(token.encode("utf-8", "surrogatepass"), fingerprint)

    def _key(self, wrapped: bytes, place: Place) -> SealingKey:
        held = self._held.get(wrapped)
        # What is at hand answers for its own connection alone, or a swapped data key would pass while it is there.
        if held is not None:
            key, owner, until = held
            if owner == (place.connection or place.row, place.user, place.platform) and self._monotonic() < until:
                return key
        return self._hold(wrapped, self.ring.unwrap(wrapped, place.of_data_key()), place)

    def _hold(self, wrapped: bytes, data_key: bytes, place: Place) -> SealingKey:
        now = self._monotonic()
        owner = (place.connection or place.row, place.user, place.platform)
        held = _Held(SealingKey(data_key), owner, now + self._keep_seconds)
        with self._lock:
            self._held.pop(wrapped, None)
            self._make_room(now)
            self._held[wrapped] = held
        return held.key

    def _make_room(self, now: float) -> None:
        # All are kept equally long, so the dictionary's order is the order of their ends.
        while self._held:
            oldest = next(iter(self._held))
            if len(self._held) < self._at_hand and now < self._held[oldest].until:
                break
            del self._held[oldest]
