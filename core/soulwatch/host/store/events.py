"""Events as they are remembered: per user in order, without holes, for sockets that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row, delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.database import upsert
from soulwatch.host.store.items import storable
from soulwatch.host.store.tables import events, user_streams
from soulwatch.values import Event

INSERT = events.insert()


async def append(connection: AsyncConnection, happened: Sequence[Event], now: datetime) -> list[Event]:
    """Store events, numbered within their user; the row lock on the stream makes commit order the order."""
    told = []
    for event in happened:
        first = {"user_id": event.user, "last_seq": 1}
        following = {"last_seq": user_streams.c.last_seq + 1}
        counted = await connection.execute(
            upsert(connection, user_streams, first, ("user_id",), following).returning(user_streams.c.last_seq)
        )
        stored = replace(event, seq=counted.scalar_one(), at=now)
        await connection.execute(
            INSERT,
            {
                "user_id": stored.user,
                "seq": stored.seq,
                "type": stored.type,
                "platform": stored.platform,
                "connection_id": stored.connection,
                "data": storable(msgspec.json.encode(stored.data)),
                "at": now,
            },
        )
        told.append(stored)
    return told


async def after(connection: AsyncConnection, user: str, seq: int, limit: int = 500) -> list[Event]:
    """A user's events after `seq`, oldest first."""
    found = await connection.execute(
        select(events).where(events.c.user_id == user, events.c.seq > seq).order_by(events.c.seq).limit(limit)
    )
    return [_event(row) for row in found]


async def latest(connection: AsyncConnection, user: str | None, limit: int = 50) -> list[Event]:
    """The newest events, of one user or of all, newest first."""
    query = select(events).order_by(events.c.id.desc()).limit(limit)
    found = await connection.execute(query if user is None else query.where(events.c.user_id == user))
    return [_event(row) for row in found]


async def last_seq(connection: AsyncConnection, user: str) -> int:
    """The number of a user's newest event; 0 before the first."""
    found = await connection.execute(select(user_streams.c.last_seq).where(user_streams.c.user_id == user))
    return found.scalar_one_or_none() or 0


async def first_seq(connection: AsyncConnection, user: str) -> int | None:
    """The number of a user's oldest event that is still kept."""
    query = select(func.min(events.c.seq)).where(events.c.user_id == user)
    found: int | None = (await connection.execute(query)).scalar()
    return found


async def last_seqs(connection: AsyncConnection, users: Sequence[str]) -> dict[str, int]:
    """The newest number of each of `users`."""
    found = await connection.execute(select(user_streams).where(user_streams.c.user_id.in_(users)))
    return {row.user_id: row.last_seq for row in found}


async def prune(connection: AsyncConnection, before: datetime) -> int:
    """Forget events older than `before`; how many."""
    return (await connection.execute(delete(events).where(events.c.at < before))).rowcount


def _event(row: Row[Any]) -> Event:
    data = row.data if isinstance(row.data, dict) else msgspec.json.decode(row.data)
    return Event(row.type, row.user_id, row.platform, row.connection_id, data, row.at, row.seq)
