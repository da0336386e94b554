"""Secrets that were let loose on purpose, and every spelling in which one may turn up where it must not."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote, quote_plus

SHORTEST = 10
"""Shorter than that it could turn up by chance."""


@cache
def spellings(secret: bytes) -> frozenset[bytes]:
    """As it is, quoted as in an address, in hex, and in base64 wherever in a longer text it may begin."""
    text = secret.decode("latin-1")
    found = {secret, quote(text, safe="").encode(), quote_plus(text).encode(), secret.hex().encode()}
    found.add(secret.hex().upper().encode())
    for offset in range(3):
        # The letters at its ends are made of its neighbours, too.
        first = (8 * offset + 5) // 6
        last = 8 * (offset + len(secret)) // 6
        encoded = base64.b64encode(b"\0" * offset + secret)[first:last]
        found |= {encoded, encoded.replace(b"+", b"-").replace(b"/", b"_")}
    return frozenset(found)


@dataclass
class Canaries:
    """The secrets of one run, by what they are."""

    kinds: dict[bytes, str] = field(default_factory=dict)

    def add(self, kind: str, *secrets: str | bytes) -> None:
        """Remember secrets to be looked for."""
        for secret in secrets:
            known = secret.encode() if isinstance(secret, str) else secret
            assert len(known) >= SHORTEST, f"this {kind} is too short to be looked for"
            self.kinds.setdefault(known, kind)

    def of(self, kind: str) -> list[bytes]:
        """Those of one kind."""
        return [secret for secret, its_kind in self.kinds.items() if its_kind == kind]

    def found_in(self, text: bytes, meant: Collection[str] = ()) -> Iterator[str]:
        """What of them stands in a text and is not `meant` to, with what stands around it."""
        for secret, kind in self.kinds.items():
            for spelling in spellings(secret):
                at = -1 if kind in meant else text.find(spelling)
                if at >= 0:
                    yield f"{kind}: {text[max(0, at - 80) : at + len(spelling) + 20]!r}"

    def found_in_files(self, folder: Path, without: Collection[str] = ()) -> list[str]:
        """What of them stands in any file below a folder, save files of the names `without`."""
        files = [path for path in folder.rglob("*") if path.is_file() and path.name not in without]
        return [f"{path.name}: {leak}" for path in files for leak in self.found_in(path.read_bytes())]
