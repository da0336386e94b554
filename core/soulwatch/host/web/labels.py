"""What to call an item whose platform nobody here knows: the fields of its raw data that read like a title.

It is a guess for people's eyes alone; nothing is stored or decided by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TITLES = ("title", "full_name", "display_name", "name", "summary", "subject", "headline", "label")
TEXTS = ("text", "description", "bio", "snippet", "body", "message", "content", "caption")
KINDS = ("type", "kind", "event", "action")
PEOPLE = frozenset({"actor", "owner", "author", "user", "sender", "creator", "org", "from"})
"""They say who, not what."""
UNTOLD = frozenset({"links", "_links", "images", "external_urls", "external_ids", "context", "actions", "headers"})
DEPTH = 3
LONGEST_TITLE = 120
LONGEST_DETAIL = 180
FIELDS_TOLD = 4


@dataclass(frozen=True, slots=True)
class Label:
    """An item in one line, and a second one where there is more to say."""

    title: str
    detail: str = ""


def label_of(raw: Any, key: str = "") -> Label:
    """The label of an item's raw data; its key where the data have nothing that reads like a title."""
    if not isinstance(raw, Mapping):
        return Label(_cut(raw, LONGEST_TITLE) if isinstance(raw, str | int | float) else key)
    title, at = next(_named(raw, TITLES), (None, raw))
    text, _ = next(_named(raw, TEXTS), (None, raw))
    kind = next((raw[name] for name in KINDS if isinstance(raw.get(name), str)), None)
    if title is None and text is None:
        told = _fields(raw)
        return Label(_cut(told, LONGEST_TITLE) if told else key)
    details = [kind if kind != title else None, _makers(at), text if title is not None else None]
    detail = " · ".join(part for part in map(_plain, details) if part)
    return Label(_cut(title or text, LONGEST_TITLE), _cut(detail, LONGEST_DETAIL))


def _named(raw: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Texts under these names, with the object each is in: the outermost first."""
    level: list[Mapping[str, Any]] = [raw]
    for _ in range(DEPTH):
        for one in level:
            yield from ((one[name], one) for name in names if isinstance(one.get(name), str) and one[name].strip())
        level = [
            value
            for one in level
            for name, value in one.items()
            if isinstance(value, Mapping) and name not in PEOPLE and name not in UNTOLD
        ]


def _makers(raw: Mapping[str, Any]) -> str:
    """Names of the artists, or of whoever else made it, where there is a list of them."""
    for name in ("artists", "authors", "creators", "attendees"):
        makers = raw.get(name)
        if isinstance(makers, list):
            return ", ".join(str(one["name"]) for one in makers if isinstance(one, Mapping) and one.get("name"))
    return ""


def _fields(raw: Mapping[str, Any]) -> str:
    told = [
        f"{name.replace('_', ' ')}: {value}"
        for name, value in raw.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
    ]
    return " · ".join(told[:FIELDS_TOLD])


def _plain(text: Any) -> str:
    return " ".join(text.split()) if isinstance(text, str) else ""


def _cut(said: Any, longest: int) -> str:
    text = _plain(str(said))
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"
