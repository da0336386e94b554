"""What platforms told us, kept as history: unchanged writes nothing, changed is a new row beside the old."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.tables import items
from soulwatch.values import Connection, Item

UNTAKEN = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)")
REPLACEMENT = "\\ufffd"
KEYS_A_QUERY = 500
"""Well below SQLite's limit of parameters in one statement."""

_supersede = (
    update(items)
    .where(
        items.c.connection_id == bindparam("b_connection"),
        items.c.data_type == bindparam("b_type"),
        items.c.item_key == bindparam("b_key"),
        items.c.superseded_at.is_(None),
    )
    .values(superseded_at=bindparam("b_now"))
)


async def keep(
    connection: AsyncConnection, whose: Connection, data_type: str, found: Sequence[Item], now: datetime
) -> int:
    """Store what is new or changed among `found`; how many that was."""
    latest = {
        item.key.replace("\0", "\N{REPLACEMENT CHARACTER}"): item for item in found
    }  # the last of several with one key is the newest to be read
    known = await _digests(connection, whose.id, data_type, list(latest))
    fresh = {key: item for key, item in latest.items() if known.get(key) != item.digest}
    changed = [key for key in fresh if key in known]
    if changed:
        place = {"b_connection": whose.id, "b_type": data_type, "b_now": now}
        await connection.execute(_supersede, [{**place, "b_key": key} for key in changed])
    if fresh:
        # Lists are told newest first, so the newest gets the highest id and is first where the latest are shown.
        rows = [_row(whose, data_type, key, item, now) for key, item in reversed(fresh.items())]
        await connection.execute(items.insert(), rows)
    return len(fresh)


async def _digests(
    connection: AsyncConnection, connection_id: str, data_type: str, keys: Sequence[str]
) -> dict[str, bytes]:
    known: dict[str, bytes] = {}
    for start in range(0, len(keys), KEYS_A_QUERY):
        found = await connection.execute(
            select(items.c.item_key, items.c.content_hash).where(
                items.c.connection_id == connection_id,
                items.c.data_type == data_type,
                items.c.item_key.in_(keys[start : start + KEYS_A_QUERY]),
                items.c.superseded_at.is_(None),
            )
        )
        known.update((row.item_key, bytes(row.content_hash)) for row in found)
    return known


def _row(whose: Connection, data_type: str, key: str, item: Item, now: datetime) -> dict[str, Any]:
    return {
        "user_id": whose.user,
        "connection_id": whose.id,
        "platform": whose.platform,
        "data_type": data_type,
        "item_key": key,
        "raw_data": storable(item.raw),
        "content_hash": item.digest,
        "extracted_at": now,
    }


def storable(raw: bytes) -> str:
    """JSON text as both databases take it: PostgreSQL has no U+0000 and no half of a surrogate pair in a text."""
    text = raw.decode("utf-8", "replace")
    return ESCAPE.sub(_taken, text) if UNTAKEN.search(text) else text


def _taken(escape: re.Match[str]) -> str:
    whole = escape[0]
    is_letter = len(whole) == len(REPLACEMENT)
    return REPLACEMENT if is_letter and UNTAKEN.match(whole) else whole


def current(
    *,
    user: str | None = None,
    platform: str | None = None,
    data_type: str | None = None,
    connection_id: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Select[Any]:
    """A query for items as they are now, newest first; `before` is the id where the last answer ended."""
    query = select(items).where(items.c.superseded_at.is_(None), items.c.deleted_at.is_(None))
    wanted = {"user_id": user, "platform": platform, "data_type": data_type, "connection_id": connection_id}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(items.c[name] == value)
    if before is not None:
        query = query.where(items.c.id < before)
    return query.order_by(items.c.id.desc()).limit(limit)


async def counts(connection: AsyncConnection, user: str | None = None) -> Sequence[Row[Any]]:
    """For each platform and data type: how many items there are, and when the newest came."""
    query = (
        select(
            items.c.platform,
            items.c.data_type,
            func.count().label("count"),
            func.max(items.c.extracted_at).label("newest"),
        )
        .where(items.c.superseded_at.is_(None), items.c.deleted_at.is_(None))
        .group_by(items.c.platform, items.c.data_type)
        .order_by(items.c.platform, items.c.data_type)
    )
    if user is not None:
        query = query.where(items.c.user_id == user)
    return (await connection.execute(query)).all()
