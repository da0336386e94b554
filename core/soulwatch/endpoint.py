"""One list of things worth polling, as data, and how to read it page by page."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx

from soulwatch.api import Answer, Api
from soulwatch.errors import UnexpectedAnswer
from soulwatch.jsontext import dig, digest, text, texts
from soulwatch.paging import OnePage, Paging
from soulwatch.values import Cursor, Item, Page
from soulwatch.waiting import seconds

logger = logging.getLogger("soulwatch.endpoint")

Schedule = str | timedelta | None
"""A cron expression, an interval, or None for "only when asked"."""

WHOLE_BODY = None
"""As `items`: the body itself is the one item, a state that changes rather than a list that grows."""


@dataclass(frozen=True, slots=True)
class Since:
    """A cursor of the platform's own: what it says at path `at` is sent next time as parameter `param`."""

    param: str
    at: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One list of a platform; `name` is the `data_type` of what it yields.

    `items` is the path of the list in the answer (empty: the body is the list; None: the body is one item, a
    state). `key` names the fields that tell items apart, as dotted paths.
    """

    name: str
    url: str
    items: str | None = "items"
    key: tuple[str, ...] = ("id",)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    paging: Paging = field(default_factory=OnePage)
    since: Since | None = None
    schedule: Schedule = None
    scopes: tuple[str, ...] = ()
    """Scopes without which the platform refuses this endpoint."""
    volatile: tuple[str, ...] = ()
    """Top-level fields that change without meaning anything."""
    until_known: bool = False
    """Whether the list is newest first, so that a page without news ends the reading."""
    conditional: bool = False
    """Whether the platform answers 304 to an ETag it sent."""
    poll_interval_header: str | None = None
    """Header in which the platform says how many seconds to wait before the next poll."""
    max_pages: int = 1000

    async def pages(self, api: Api, cursor: Cursor) -> AsyncIterator[Page]:
        """The pages from `cursor` on. Raises PlatformError; a cursor loop raises UnexpectedAnswer."""
        url: str | None = self._start(api, cursor)
        etag = cursor.etag if self.conditional else None
        seen: set[str] = set()
        first: Cursor | None = None
        while url is not None:
            if url in seen or len(seen) >= self.max_pages:
                raise UnexpectedAnswer(
                    f"{self.name}: paging does not end (page {len(seen) + 1} was asked for before, or there are "
                    f"more than {self.max_pages}). Nothing already read is lost; tell the connector's author."
                )
            seen.add(url)
            answer = await api.get(url, headers=self.headers, etag=None if first else etag)
            if answer.is_unchanged or answer.is_empty:
                yield Page(cursor=first or cursor, wait=self._wait(answer), is_last=True)
                return
            value = answer.value()
            items = self.read(answer, value)
            broken = None
            try:
                url = self.paging.next(answer, value, len(items))
            except UnexpectedAnswer as unexpected:
                broken = unexpected
            except httpx.InvalidURL as invalid:
                broken = UnexpectedAnswer(f"{self.name}: the address of the next page is none: {invalid}.")
            # A list is told newest first, so it is the first page that knows where the next poll starts.
            first = first or Cursor(self._position(value, cursor), answer.headers.get("etag"))
            is_last = url is None and broken is None
            yield Page(items, cursor=first, is_last=is_last, total=_count(value), wait=self._wait(answer))
            if broken is not None:
                raise broken  # only now: what was read is kept, whatever comes after it

    def read(self, answer: Answer, value: Any) -> tuple[Item, ...]:
        """The items in one answer. Raises UnexpectedAnswer where it has another shape."""
        if self.items is WHOLE_BODY:
            return (Item(self.name, text(answer.body, value), digest(value, self.volatile)),)
        found = dig(value, self.items)
        if not isinstance(found, list):
            raise UnexpectedAnswer(
                f"{self.name}: expected a list at {self.items or 'the top'!r}, got {type(found).__name__}. "
                "The platform changed shape; update the connector."
            )
        raws = texts(answer.body, self.items, found)
        items = tuple(self._item(one, raw) for one, raw in zip(found, raws, strict=True))
        if items and all(self._key(one) is None for one in found):
            raise UnexpectedAnswer(
                f"{self.name}: no item has the key {', '.join(self.key)}. "
                "The platform changed shape; update the connector."
            )
        return items

    def _item(self, value: Any, raw: bytes) -> Item:
        mark = digest(value, self.volatile)
        key = self._key(value)
        if key is None:
            # One odd item must neither be lost nor stop the rest: it is kept under its own content.
            logger.warning("%s: an item without %s is kept by its content", self.name, ", ".join(self.key))
            key = f"content:{mark.hex()}"
        return Item(key, raw, mark)

    def _key(self, value: Any) -> str | None:
        parts = [dig(value, path) for path in self.key]
        if None in parts:
            return None
        if len(parts) == 1:
            return str(parts[0])
        # A bar within a part must not pass for the one between two: different items would become one.
        return "|".join(str(part).replace("\\", "\\\\").replace("|", "\\|") for part in parts)

    def _start(self, api: Api, cursor: Cursor) -> str:
        url = httpx.URL(api.locate(self.url)).copy_merge_params(dict(self.params))
        if self.since is not None and cursor.position is not None:
            url = url.copy_set_param(self.since.param, cursor.position)
        return str(url)

    def _position(self, value: Any, before: Cursor) -> str | None:
        if self.since is None:
            return before.position
        found = dig(value, self.since.at)
        is_place = isinstance(found, str | int | float) and not isinstance(found, bool) and found != ""
        return str(found) if is_place else before.position

    def _wait(self, answer: Answer) -> timedelta | None:
        return seconds(answer.headers.get(self.poll_interval_header, "")) if self.poll_interval_header else None


def _count(value: Any) -> int | None:
    total = dig(value, "total")
    return total if isinstance(total, int) and not isinstance(total, bool) else None
