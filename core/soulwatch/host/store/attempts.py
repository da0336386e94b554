"""The journal of refreshes: what was about to be sent, and what came back, before anybody reads it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.tables import attempts, connections

OPEN = ("intent", "received")
"""States that somebody has to come back to: sent perhaps, or answered and not yet applied."""
INTEND = attempts.insert().returning(attempts.c.id)
CHANGE = update(attempts).where(attempts.c.id == bindparam("its_id"))


async def intend(
    connection: AsyncConnection,
    *,
    connection_id: str,
    platform: str,
    fence: int,
    generation: int,
    fingerprint: bytes | None,
    now: datetime,
) -> int:
    """Write down that a refresh is about to be sent; the attempt's id."""
    intent = {
        "connection_id": connection_id,
        "platform": platform,
        "fence": fence,
        "generation": generation,
        "token_fingerprint": fingerprint,
        "state": "intent",
        "started_at": now,
    }
    return int((await connection.execute(INTEND, intent)).scalar_one())


async def receive(connection: AsyncConnection, attempt_id: int, sealed: bytes) -> None:
    """Keep the raw answer, sealed."""
    await connection.execute(CHANGE, {"its_id": attempt_id, "state": "received", "answer": sealed})


async def close(
    connection: AsyncConnection, attempt_id: int, state: str, now: datetime, detail: str = "", outcome: str = ""
) -> None:
    """An attempt is over: `applied`, `rejected`, `not_sent`, `unknown` or `superseded`. The answer is forgotten.

    `outcome` says in one word whose matter it was.
    """
    closed = {"state": state, "answer": None, "outcome": outcome or state, "detail": detail[:500], "finished_at": now}
    await connection.execute(CHANGE, {"its_id": attempt_id, **closed})


async def open_of(connection: AsyncConnection, connection_id: str, before_fence: int) -> Sequence[Row[Any]]:
    """Open attempts of a connection that were made before the claim `before_fence`, newest first.

    They stay as they are until the transaction ends: an answer that comes in late waits, and is not overwritten.
    """
    query = (
        select(attempts)
        .where(attempts.c.connection_id == connection_id, attempts.c.state.in_(OPEN), attempts.c.fence < before_fence)
        .order_by(attempts.c.id.desc())
        .with_for_update()
    )
    return (await connection.execute(query)).all()


async def outcomes(connection: AsyncConnection, platform: str, since: datetime) -> dict[str, int]:
    """How many connections of a platform came to each outcome since then."""
    query = (
        select(attempts.c.outcome, func.count(attempts.c.connection_id.distinct()).label("connections"))
        .where(attempts.c.finished_at >= since, attempts.c.platform == platform, attempts.c.outcome.is_not(None))
        .group_by(attempts.c.outcome)
    )
    return {row.outcome: row.connections for row in await connection.execute(query)}


async def others_with(
    connection: AsyncConnection, platform: str, connection_id: str, outcome: str, since: datetime
) -> int:
    """How many other connections of a platform came to this outcome since then."""
    query = select(func.count(attempts.c.connection_id.distinct())).where(
        attempts.c.finished_at >= since,
        attempts.c.platform == platform,
        attempts.c.outcome == outcome,
        attempts.c.connection_id != connection_id,
    )
    return int((await connection.execute(query)).scalar_one())


async def answered_of(connection: AsyncConnection, row: Row[Any]) -> Row[Any] | None:
    """An answer to the token that `row` still has, kept by an attempt before its claim."""
    query = (
        select(attempts)
        .where(
            attempts.c.connection_id == row.id,
            attempts.c.state == "received",
            attempts.c.generation == row.generation,
            attempts.c.token_fingerprint == row.token_fingerprint,
            attempts.c.fence < row.fence,
        )
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def orphans(connection: AsyncConnection, now: datetime) -> Sequence[Any]:
    """Connections with open attempts, their platform, and who holds their lease until when.

    One whose user was told to connect again is among them where an answer came in after all. An answer that a plugin
    could not read is left to the cool-down: reading it again at once would not help.
    """
    is_late = (
        (connections.c.status == "needs_reauth")
        & (attempts.c.state == "received")
        & (attempts.c.generation == connections.c.generation)
    )
    query = (
        select(
            attempts.c.connection_id,
            connections.c.platform,
            connections.c.status,
            connections.c.fence,
            connections.c.lease_owner,
            connections.c.lease_until,
        )
        .join(connections, connections.c.id == attempts.c.connection_id)
        .where(
            attempts.c.state.in_(OPEN),
            or_(connections.c.status == "connected", is_late),
            or_(
                connections.c.reason.is_(None),
                connections.c.reason != "misconfigured",
                connections.c.next_refresh_at <= now,
            ),
        )
        .distinct()
    )
    found: Sequence[Any] = (await connection.execute(query)).all()
    return found


async def prune(connection: AsyncConnection, before: datetime) -> int:
    """Forget closed attempts older than `before`; how many."""
    old = attempts.c.state.not_in(OPEN) & (attempts.c.started_at < before)
    return (await connection.execute(delete(attempts).where(old))).rowcount
