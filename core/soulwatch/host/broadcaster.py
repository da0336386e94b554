"""Every event to every open socket of its user, in order and without holes; itself a plugin that hears events.

What is announced goes straight into the sockets' queues. A number missing in between, an event of another process
for instance, is read from the store, so the announcement is only the fast way and never the only one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from soulwatch.hookspecs import hookimpl
from soulwatch.host.store import events
from soulwatch.host.store.database import Database
from soulwatch.values import Event

QUEUE_LENGTH = 256
"""Events a socket may be behind before it is let go; it comes back and reads them from the store."""


class TooSlow(Exception):
    """A socket takes its events more slowly than they happen."""


class Listener:
    """One socket's events, from a number on."""

    def __init__(self, database: Database, user: str, after: int, queue_length: int = QUEUE_LENGTH) -> None:
        self.user = user
        self.last = after
        self._database = database
        self._queue: deque[Event] = deque()
        self._queue_length = queue_length
        self._room = queue_length
        self._news = anyio.Event()
        self._overflow = anyio.Event()
        self._is_behind = True

    @property
    def newest(self) -> int:
        """The number of the newest event that is told or waits to be."""
        return self._queue[-1].seq if self._queue else self.last

    def offer(self, event: Event) -> None:
        """Something happened to this user."""
        if self._is_behind:
            pass  # the store is read on from before it
        elif len(self._queue) >= self._room:
            self._overflow.set()
        else:
            self._queue.append(event)
        self._news.set()

    def look(self) -> None:
        """There is more in the store than was offered."""
        self._is_behind = True
        self._news.set()

    async def overflow(self) -> None:
        """Wait until more happened than could be told. Raises TooSlow."""
        await self._overflow.wait()
        raise TooSlow

    async def next(self) -> Event:
        """The next event, in order."""
        while True:
            while self._queue:
                if self._queue[0].seq > self.last + 1:
                    await self._catch_up()  # what is missing even then, retention took: it cannot come any more
                event = self._queue.popleft()
                if event.seq > self.last:
                    self.last = event.seq
                    return event
            if self._is_behind:
                await self._catch_up()
                continue
            self._news = anyio.Event()
            await self._news.wait()

    async def _catch_up(self) -> None:
        self._is_behind = False
        async with self._database.reading() as transaction:
            missed = await events.after(transaction, self.user, self.last, limit=self._queue_length)
        known = {event.seq for event in missed}
        rest = [event for event in self._queue if event.seq not in known]
        self._queue = deque(sorted([*missed, *rest], key=lambda event: event.seq))
        # Who comes back after a while is not slow for having much to read.
        self._room = len(missed) + self._queue_length
        self._is_behind = self._is_behind or len(missed) == self._queue_length


class Broadcaster:
    """Knows every open socket of this process."""

    def __init__(self, database: Database, queue_length: int = QUEUE_LENGTH) -> None:
        self._database = database
        self._queue_length = queue_length
        self._listeners: dict[str, set[Listener]] = {}

    @property
    def open_sockets(self) -> int:
        """How many are listening."""
        return sum(len(listeners) for listeners in self._listeners.values())

    @hookimpl
    def on_event(self, event: Event) -> None:
        """Into the queues of its user's sockets."""
        for listener in self._listeners.get(event.user, ()):
            listener.offer(event)

    @contextmanager
    def listening(self, user: str, after: int) -> Iterator[Listener]:
        """A listener for this user's events after number `after`."""
        listener = Listener(self._database, user, after, self._queue_length)
        self._listeners.setdefault(user, set()).add(listener)
        try:
            yield listener
        finally:
            listeners = self._listeners[user]
            listeners.discard(listener)
            if not listeners:
                del self._listeners[user]

    async def look_around(self) -> None:
        """Find events that another process stored: any listener that is behind the store reads on."""
        users = list(self._listeners)
        if not users:
            return
        async with self._database.reading() as transaction:
            newest = await events.last_seqs(transaction, users)
        for user, seq in newest.items():
            for listener in self._listeners.get(user, ()):
                if listener.newest < seq:
                    listener.look()
