"""The sealed envelope: a secret encrypted under one key so that it opens only in the place it was written for.

    0x52 | version 1 | algorithm 1 (AES-256-GCM) | key id (4) | nonce (12) | ciphertext | tag (16)

The place is authenticated, not stored: a value copied to another row, column or user does not open there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from soulwatch.errors import SoulwatchError
from soulwatch.host.keys import KEY_BYTES

KID_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16
FORMAT = bytes((0x52, 1, 1))
HEAD_BYTES = len(FORMAT) + KID_BYTES
BODY_AT = HEAD_BYTES + NONCE_BYTES
EMPTY_ENVELOPE_BYTES = BODY_AT + TAG_BYTES

_REMEDY = "Restore it from a backup, or let its user connect again."


class KeyUnavailable(SoulwatchError):
    """The key that sealed this is not in the key ring; put it back into ENCRYPTION_KEY, after the newest."""

    def __init__(self, message: str | None = None, *, kid: bytes = b"") -> None:
        super().__init__(message)
        self.kid = kid
        """The id of the missing key, which tells nothing about the key."""


class SealBroken(SoulwatchError):
    """A sealed value was changed or moved; restore it from a backup, or let its user connect again."""

    def __init__(self, message: str | None = None, *, place: Place | None = None) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value lives: the only place it opens.

    `generation` counts the tokens of a connection: each refresh, and each time it is connected again. `connection`
    names whose data key seals the value, where that is not the row itself: for an attempt in the journal, say.
    """

    table: str
    column: str
    row: str
    user: str
    platform: str
    generation: int
    connection: str = ""
    bound: bytes = field(init=False, repr=False, compare=False)
    """What authenticates this place: each field after its length. The key's id follows it."""

    def __post_init__(self) -> None:
        table = _few("soulwatch", "1", self.table, self.column)
        platform = _few(self.platform, str(self.generation))
        object.__setattr__(self, "bound", table + _bound(self.row) + _bound(self.user) + platform)

    def __str__(self) -> str:
        return f"{self.table}.{self.column} of row {self.row} ({self.platform})"

    def of_data_key(self) -> Place:
        """Where the data key of this place's connection lives; it outlasts the grants, so generation 0."""
        return Place("sealed_data_keys", "sealed_key", self.connection or self.row, self.user, self.platform, 0)


class SealingKey:
    """One AES-256-GCM key, known by its id. Once built it holds the key's bytes nowhere that Python can show."""

    __slots__ = ("_bound", "_decrypt", "_encrypt", "head", "kid")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"A key is {KEY_BYTES} bytes, this one is {len(key)}; `soulwatch keygen` makes one.")
        aead = AESGCM(key)
        self._encrypt, self._decrypt = aead.encrypt, aead.decrypt
        self.kid = kid_of(key)
        self.head = FORMAT + self.kid
        self._bound = KID_BYTES.to_bytes(4, "big") + self.kid

    def __repr__(self) -> str:
        return f"<SealingKey {self.kid.hex()}>"

    def seal(self, secret: bytes, place: Place) -> bytes:
        """An envelope of `secret` that opens in `place` alone; 35 bytes longer than the secret."""
        # Straight from the kernel and not from the Clock: one nonce used twice gives the key's authentication away.
        nonce = urandom(NONCE_BYTES)
        return b"".join((self.head, nonce, self._encrypt(nonce, secret, place.bound + self._bound)))

    def open(self, sealed: bytes, place: Place) -> bytes:
        """The secret in `sealed`; raises SealBroken when a bit of it, its place or its key is another."""
        if sealed[:HEAD_BYTES] != self.head or len(sealed) < EMPTY_ENVELOPE_BYTES:
            kid_in(sealed, place)
            raise SealBroken(f"{place} was sealed with another key than its connection's. {_REMEDY}", place=place)
        try:
            return self._decrypt(sealed[HEAD_BYTES:BODY_AT], sealed[BODY_AT:], place.bound + self._bound)
        except InvalidTag:
            raise SealBroken(
                f"{place} does not open: it was changed, or written for another place. {_REMEDY}", place=place
            ) from None


def kid_of(key: bytes) -> bytes:
    """The id of a key: 4 bytes that name it and tell nothing of use about it."""
    return hashlib.sha256(b"soulwatch kid" + key).digest()[:KID_BYTES]


def kid_in(sealed: bytes, place: Place) -> bytes:
    """The id of the key that an envelope names; raises SealBroken when it is no envelope of this version."""
    if len(sealed) < EMPTY_ENVELOPE_BYTES or not sealed.startswith(FORMAT):
        raise SealBroken(
            f"{place} holds no envelope that this version reads: it was damaged, or written by a newer soulwatch."
            " Upgrade, or restore it from a backup.",
            place=place,
        )
    return sealed[len(FORMAT) : HEAD_BYTES]


def _bound(text: str) -> bytes:
    # Ids come from platforms' JSON, where a lone surrogate is legal.
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(4, "big") + encoded


@lru_cache(maxsize=1024)
def _few(*texts: str) -> bytes:
    # Tables, platforms and generations are few, and a Place is made for every value sealed or opened.
    return b"".join(map(_bound, texts))
