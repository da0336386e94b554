"""Invention without surprise: the same seed and the same question always give the same answer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def number(*about: object) -> int:
    """A 64-bit number that belongs to `about`, the same in every process and version."""
    text = "\x1f".join(map(str, about)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def pick(options: Sequence[T], *about: object) -> T:
    """One of `options`."""
    return options[number(*about) % len(options)]


def word(length: int, *about: object) -> str:
    """`length` letters and digits, as platforms name their things."""
    digest = int.from_bytes(hashlib.blake2b("\x1f".join(map(str, about)).encode()).digest(), "big")
    letters = []
    for _ in range(length):
        digest, rest = divmod(digest, len(LETTERS))
        letters.append(LETTERS[rest])
    return "".join(letters)


def sha(*about: object) -> str:
    """Forty hexadecimal digits, as a commit has."""
    return hashlib.blake2b("\x1f".join(map(str, about)).encode(), digest_size=20).hexdigest()
