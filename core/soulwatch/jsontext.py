"""Reading JSON answers: what is looked at is decoded, what is only stored stays the text it came as.

With the host installed msgspec does the work; a connector on its own needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

try:
    import msgspec
except ImportError:  # a connector's own environment: the kit alone
    msgspec = None  # type: ignore[assignment]


def decode(body: bytes) -> Any:
    """The value of a JSON text. Raises ValueError."""
    if msgspec is None:
        return json.loads(body, parse_constant=_refuse)
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as broken:
        raise ValueError(str(broken)) from None


def texts(body: bytes, path: str, values: list[Any]) -> list[bytes]:
    """The JSON text of each of `values`, which `decode(body)` gave for the list at `path`."""
    if msgspec is None:
        return [json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() for value in values]
    rest: Any = body
    for name in filter(None, path.split(".")):
        rest = msgspec.json.decode(rest, type=dict[str, msgspec.Raw])[name]
    return [bytes(raw) for raw in msgspec.json.decode(rest, type=list[msgspec.Raw])]


def digest(value: Any, leaving_out: tuple[str, ...] = ()) -> bytes:
    """16 bytes that are equal for equal values, whatever the order of keys or the white space.

    `leaving_out` names top-level fields that change without meaning anything.
    """
    if leaving_out and isinstance(value, dict):
        value = {name: part for name, part in value.items() if name not in leaving_out}
    if msgspec is None:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    else:
        text = msgspec.json.encode(value, order="sorted")
    return hashlib.blake2b(text, digest_size=16).digest()


def dig(value: Any, path: str) -> Any:
    """What stands at a dotted path in a decoded value, or None. The empty path is the value itself."""
    for name in filter(None, path.split(".")):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _refuse(constant: str) -> Any:
    message = f"{constant} is not JSON"
    raise ValueError(message)
