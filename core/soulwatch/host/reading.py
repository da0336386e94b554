"""Reading pages ahead of the store: what came meanwhile is stored together, what was read is never thrown away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream
from sqlalchemy import Row

from soulwatch.endpoint import Endpoint
from soulwatch.errors import PluginError
from soulwatch.host import news
from soulwatch.values import Connection, Cursor, Event, Page

PAGES_AHEAD = 8

Keep = Callable[[list[Page], bool], Awaitable[bool]]
"""Stores pages, told whether they are the last; answers whether to read on."""


@dataclass(slots=True)
class Reading:
    """How far the reading of one endpoint has come."""

    claimed: Row[Any]
    whose: Connection
    endpoint: Endpoint
    cursor: Cursor
    done: int = 0
    new: int = 0
    pages: int = 0
    total: int | None = None
    wait: timedelta | None = None
    message: str | None = None
    is_known: bool = False
    """Whether a newest-first list has come to what is known already."""
    is_finished: bool = False

    def saw(self, batch: list[Page]) -> None:
        """Take in what pages say beside their items."""
        for page in batch:
            self.pages += 1
            self.done += len(page.items)
            self.cursor = page.cursor or self.cursor
            self.total = page.total if page.total is not None else self.total
            self.wait = page.wait or self.wait
            self.message = page.message or self.message

    def tell(self, new: int, *, is_end: bool) -> list[Event]:
        """The events that go with a stored batch, of whose items `new` were news."""
        self.new += new
        self.is_finished = is_end
        # What lies behind known items is known only if the last reading came to its end.
        self.is_known = self.endpoint.until_known and self.claimed.is_whole and self.done > 0 and new == 0
        told = [news.new_data(self.whose, self.endpoint.name, new)] if new else []
        if self.pages > 1 and not (is_end and self.done == 0):
            told.append(news.progress(self.whose, self.endpoint.name, self.done, self.total))
        if is_end:
            if self.claimed.reason is not None:
                told.append(news.endpoint_status(self.whose, self.endpoint.name, None, "Well again"))
            message = self.message or f"{self.endpoint.name}: {self.new} new"
            told.append(news.platform_sync(self.whose, self.endpoint.name, self.new, message))
        return told


async def read_ahead(pages: AsyncIterator[Page], keep: Keep) -> None:
    """Hand pages to `keep` as they come, several at once where they came faster than they were kept.

    What `pages` raises is raised after everything before it was kept.
    """
    send, receive = anyio.create_memory_object_stream[Page](PAGES_AHEAD)
    failed: list[Exception] = []
    has_ended = False

    async def read() -> None:
        nonlocal has_ended
        with send:
            try:
                async for page in pages:
                    await send.send(page)
                has_ended = True
            except Exception as broken:  # noqa: BLE001  - raised below, outside the task group
                failed.append(broken)
            except SystemExit as broken:
                failed.append(PluginError(f"Reading pages tried to end the whole process ({broken!r})."))

    async with anyio.create_task_group() as group, receive:
        group.start_soon(read)
        try:
            async for first in receive:
                batch = _and_what_came_meanwhile(first, receive)
                if not await keep(batch, batch[-1].is_last):
                    has_ended = True
                    break
        except Exception as broken:  # noqa: BLE001  - likewise; a task group would wrap it
            failed.insert(0, broken)
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not has_ended:
        # A stray cancellation, of something that `pages` awaited, must not pass for the end of the list.
        raise PluginError("Reading pages was cut off from within; it is read again from where it was.")


def _and_what_came_meanwhile(first: Page, receive: MemoryObjectReceiveStream[Page]) -> list[Page]:
    batch = [first]
    while len(batch) < PAGES_AHEAD and not batch[-1].is_last:
        try:
            batch.append(receive.receive_nowait())
        except (anyio.WouldBlock, anyio.EndOfStream):
            break
    return batch
