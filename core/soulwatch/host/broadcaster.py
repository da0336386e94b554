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

    def __init__(self, database: Database, user: str, after: int) -> None:
        self.user = user
        self.last = after
        self._database = database
        self._queue: deque[Event] = deque()
        self._news = anyio.Event()
        self._is_behind = True
        self._is_too_slow = False

    def offer(self, event: Event) -> None:
        """Something happened to this user."""
        if len(self._queue) >= QUEUE_LENGTH:
            self._is_too_slow = True
        else:
            self._queue.append(event)
        self._news.set()

    def look(self) -> None:
        """There is more in the store than was offered."""
        self._is_behind = True
        self._news.set()

    async def next(self) -> Event:
        """The next event, in order. Raises TooSlow."""
        while True:
            if self._is_too_slow:
                raise TooSlow
            if self._is_behind:
                await self._catch_up()
            while self._queue:
                event = self._queue.popleft()
                if event.seq <= self.last:
                    continue
                if event.seq > self.last + 1:
                    self._queue.appendleft(event)
                    await self._catch_up()
                    continue
                self.last = event.seq
                return event
            self._news = anyio.Event()
            await self._news.wait()

    async def _catch_up(self) -> None:
        self._is_behind = False
        async with self._database.reading() as transaction:
            missed = await events.after(transaction, self.user, self.last, limit=QUEUE_LENGTH)
        if not missed:
            # Forgotten by retention: nothing in between can come any more.
            self.last = self._queue[0].seq - 1 if self._queue else self.last
        known = {event.seq for event in missed}
        rest = [event for event in self._queue if event.seq not in known]
        self._queue = deque(sorted([*missed, *rest], key=lambda event: event.seq))
        if missed and missed[0].seq > self.last + 1:
            self.last = missed[0].seq - 1
        self._is_behind = len(missed) == QUEUE_LENGTH


class Broadcaster:
    """Knows every open socket of this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
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
        listener = Listener(self._database, user, after)
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
                if listener.last < seq:
                    listener.look()
