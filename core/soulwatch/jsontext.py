"""Reading JSON answers: what is looked at is decoded, what is only stored stays the text it came as.

With the host installed msgspec does the work; a connector on its own needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

try:
    import msgspec
except ImportError:  # a connector's own environment: the kit alone
    msgspec = None  # type: ignore[assignment]


def decode(body: bytes) -> Any:
    """The value of a JSON text. Raises ValueError.

    Half a character, which is what remains where a writer cut a text within an emoji, becomes a question mark.
    """
    try:
        if msgspec is None:
            return _loads(_mended(body))
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return msgspec.json.decode(_mended(body))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as broken:
        raise ValueError(str(broken)) from None


def text(body: bytes, value: Any) -> bytes:
    """The JSON text of `value`, which `decode(body)` gave: as it came, or mended where it had to be."""
    if msgspec is None:
        return _dumped(value)
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError:
        return _dumped(value)
    return body


def texts(body: bytes, path: str, values: list[Any]) -> list[bytes]:
    """The JSON text of each of `values`, which `decode(body)` gave for the list at `path`."""
    if msgspec is None:
        return [_dumped(value) for value in values]
    rest: Any = body
    try:
        for name in filter(None, path.split(".")):
            rest = msgspec.json.decode(rest, type=dict[str, msgspec.Raw])[name]
        return [bytes(raw) for raw in msgspec.json.decode(rest, type=list[msgspec.Raw])]
    except msgspec.DecodeError:
        return [_dumped(value) for value in values]


def digest(value: Any, leaving_out: tuple[str, ...] = ()) -> bytes:
    """16 bytes that are equal for equal values, whatever the order of keys or the white space.

    `leaving_out` names top-level fields that change without meaning anything.
    """
    if leaving_out and isinstance(value, dict):
        value = {name: part for name, part in value.items() if name not in leaving_out}
    if msgspec is None:
        written = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    else:
        written = msgspec.json.encode(value, order="sorted")
    return hashlib.blake2b(written, digest_size=16).digest()


def dig(value: Any, path: str) -> Any:
    """What stands at a dotted path in a decoded value, or None. The empty path is the value itself."""
    for name in filter(None, path.split(".")):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _mended(body: bytes) -> bytes:
    """The same JSON without what a strict reader refuses: a byte order mark, halves of characters."""
    return _dumped(_loads(body))


def _loads(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse, parse_float=_finite)


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _refuse(constant: str) -> Any:
    message = f"{constant} is no number"
    raise ValueError(message)
