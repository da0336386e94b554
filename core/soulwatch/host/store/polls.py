"""One row for each connection and endpoint: where it stands, when it is due, who is at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.database import IDS_A_QUERY, upsert
from soulwatch.host.store.tables import connections, polls
from soulwatch.values import Cursor


def _free(now: datetime) -> Any:
    return or_(polls.c.lease_until.is_(None), polls.c.lease_until <= now)


async def arrange(
    connection: AsyncConnection, connection_id: str, platform: str, due: Iterable[tuple[str, datetime | None]]
) -> None:
    """Make sure each data type has its row; one that exists keeps its cursor, and is due no later than said."""
    for data_type, due_at in due:
        row = {"connection_id": connection_id, "platform": platform, "data_type": data_type, "due_at": due_at}
        await connection.execute(upsert(connection, polls, row, ("connection_id", "data_type")))
        is_it = (polls.c.connection_id == connection_id) & (polls.c.data_type == data_type)
        # A schedule may have changed since; a wait that a platform asked for is left alone.
        is_late = true() if due_at is None else or_(polls.c.due_at.is_(None), polls.c.due_at > due_at)
        await connection.execute(update(polls).where(is_it, is_late, polls.c.reason.is_(None)).values(due_at=due_at))


async def claim(
    connection: AsyncConnection,
    owner: str,
    now: datetime,
    until: datetime,
    *,
    platform: str,
    limit: int,
) -> Sequence[Row[Any]]:
    """Take up to `limit` due polls of a platform's connected accounts, until `until`."""
    due = (
        select(polls.c.id)
        .join(connections, connections.c.id == polls.c.connection_id)
        .where(polls.c.platform == platform, polls.c.due_at <= now, _free(now), connections.c.status == "connected")
        .order_by(polls.c.due_at)
        .limit(limit)
    )
    if connection.dialect.name == "postgresql":
        due = due.with_for_update(skip_locked=True, of=polls)
    return await _take(connection, polls.c.id.in_(due.scalar_subquery()), owner, until)


async def waiting(connection: AsyncConnection, now: datetime) -> Sequence[str]:
    """The platforms that have polls due which nobody is at."""
    query = (
        select(polls.c.platform)
        .join(connections, connections.c.id == polls.c.connection_id)
        .where(polls.c.due_at <= now, _free(now), connections.c.status == "connected")
        .distinct()
    )
    return (await connection.execute(query)).scalars().all()


async def claim_now(
    connection: AsyncConnection, owner: str, now: datetime, until: datetime, *, connection_id: str, data_type: str
) -> Row[Any] | None:
    """Take one poll whether due or not; None where somebody is at it."""
    wanted = (polls.c.connection_id == connection_id) & (polls.c.data_type == data_type) & _free(now)
    taken = await _take(connection, wanted, owner, until)
    return taken[0] if taken else None


async def _take(connection: AsyncConnection, which: Any, owner: str, until: datetime) -> Sequence[Row[Any]]:
    taken = await connection.execute(
        update(polls)
        .where(which)
        .values(lease_owner=owner, lease_until=until, fence=polls.c.fence + 1)
        .returning(*polls.c)
    )
    return taken.all()


async def hold(connection: AsyncConnection, poll_id: int, fence: int, until: datetime) -> bool:
    """Keep a claim in the middle of a reading; False where somebody else has taken over."""
    held = await connection.execute(
        update(polls).where(polls.c.id == poll_id, polls.c.fence == fence).values(lease_until=until, is_whole=False)
    )
    return held.rowcount == 1


async def finish(
    connection: AsyncConnection,
    poll_id: int,
    fence: int,
    *,
    due_at: datetime | None,
    cursor: Cursor,
    now: datetime,
) -> bool:
    """A poll went well: keep where it got to and let it go; False where somebody else has taken over."""
    return await _let_go(
        connection,
        poll_id,
        fence,
        cursor=cursor.position,
        etag=cursor.etag,
        due_at=due_at,
        is_whole=True,
        last_polled_at=now,
        fail_count=0,
        reason=None,
        error_message=None,
    )


async def put_off(
    connection: AsyncConnection, poll_id: int, fence: int, *, due_at: datetime | None, reason: str, message: str
) -> bool:
    """A poll did not go well: say why and when to try again; the cursor stays."""
    return await _let_go(
        connection,
        poll_id,
        fence,
        due_at=due_at,
        reason=reason,
        error_message=message,
        fail_count=polls.c.fail_count + 1,
    )


async def start_over(connection: AsyncConnection, poll_id: int, fence: int) -> bool:
    """Forget the cursor, keep the claim."""
    forgotten = await connection.execute(
        update(polls).where(polls.c.id == poll_id, polls.c.fence == fence).values(cursor=None, etag=None)
    )
    return forgotten.rowcount == 1


async def hand_back(connection: AsyncConnection, poll_id: int, fence: int) -> bool:
    """Let a poll go undone, due as it was."""
    return await _let_go(connection, poll_id, fence)


async def _let_go(connection: AsyncConnection, poll_id: int, fence: int, **values: Any) -> bool:
    done = await connection.execute(
        update(polls)
        .where(polls.c.id == poll_id, polls.c.fence == fence)
        .values(lease_owner=None, lease_until=None, **values)
    )
    return done.rowcount == 1


async def of_connections(connection: AsyncConnection, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Every poll of these connections."""
    found: list[Row[Any]] = []
    for start in range(0, len(ids), IDS_A_QUERY):
        some = polls.c.connection_id.in_(ids[start : start + IDS_A_QUERY])
        found += (await connection.execute(select(polls).where(some).order_by(polls.c.data_type))).all()
    return found


async def by_connection(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """The polls of each of these connections."""
    grouped: dict[str, list[Row[Any]]] = {connection_id: [] for connection_id in ids}
    for poll in await of_connections(connection, ids):
        grouped[poll.connection_id].append(poll)
    return grouped


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When the earliest poll that somebody may take is due."""
    query = select(func.min(polls.c.due_at)).join(connections, connections.c.id == polls.c.connection_id)
    found: datetime | None = (await connection.execute(query.where(connections.c.status == "connected"))).scalar()
    return found


async def make_due(connection: AsyncConnection, connection_id: str, now: datetime) -> None:
    """All polls of a connection are due now (it has just been connected again)."""
    await connection.execute(
        update(polls)
        .where(polls.c.connection_id == connection_id, polls.c.due_at.is_not(None))
        .values(due_at=now, reason=None, error_message=None, fail_count=0)
    )


async def forget(connection: AsyncConnection, connection_id: str) -> None:
    """Remove the polls of a connection."""
    await connection.execute(delete(polls).where(polls.c.connection_id == connection_id))


async def put_off_platform(connection: AsyncConnection, platform: str, until: datetime) -> None:
    """Nothing of a platform is due before `until`: it told our whole client to wait. In a transaction of its own."""
    early = (
        select(polls.c.id)
        .where(polls.c.platform == platform, polls.c.due_at < until)
        .order_by(polls.c.id)
        .with_for_update()
    )
    ids = (await connection.execute(early)).scalars().all()
    for start in range(0, len(ids), IDS_A_QUERY):
        some = polls.c.id.in_(ids[start : start + IDS_A_QUERY])
        await connection.execute(update(polls).where(some).values(due_at=until))
