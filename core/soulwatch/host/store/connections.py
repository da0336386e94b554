"""Connections as rows: found, claimed for a refresh by lease and fence, changed only by who holds the fence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, case, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.attempts import OPEN
from soulwatch.host.store.database import IDS_A_QUERY
from soulwatch.host.store.tables import attempts, breakers, connections, data_keys, polls
from soulwatch.values import Account, Connection

# What every refresh does is built once: SQLAlchemy would take as long to build it as SQLite to carry it out.
ITS_KEY = (
    select(data_keys.c.sealed_key)
    .where(data_keys.c.connection_id == connections.c.id)
    .scalar_subquery()
    .label("sealed_key")
)
IS_ANY_BREAKER_OPEN = exists(select(breakers.c.client)).label("is_any_breaker_open")
IS_LEFT_OPEN = exists(
    select(attempts.c.id).where(
        attempts.c.connection_id == connections.c.id,
        attempts.c.state.in_(OPEN),
        attempts.c.fence < connections.c.fence,
    )
).label("is_left_open")
WITH_KEY = select(connections, ITS_KEY, IS_ANY_BREAKER_OPEN)
ONE = WITH_KEY.where(connections.c.id == bindparam("its_id"))
CLAIM = (
    update(connections)
    .where(
        connections.c.id == bindparam("its_id"),
        connections.c.generation == func.coalesce(bindparam("its_generation"), connections.c.generation),
        connections.c.status == "connected",
        or_(connections.c.lease_until.is_(None), connections.c.lease_until <= bindparam("its_time")),
    )
    .values(lease_owner=bindparam("owner"), lease_until=bindparam("until"), fence=connections.c.fence + 1)
)
CLAIMED = select(connections, ITS_KEY, IS_LEFT_OPEN).where(connections.c.id == bindparam("its_id"))
HELD = update(connections).where(connections.c.id == bindparam("its_id"), connections.c.fence == bindparam("its_fence"))


def as_value(row: Row[Any]) -> Connection:
    """The row as the value that plugins and callers see; no token in it."""
    return Connection(
        id=row.id,
        user=row.user_id,
        platform=row.platform,
        account=Account(row.account_id, row.account_name),
        scopes=tuple(row.scopes.split()),
        status=row.status,
    )


async def get(connection: AsyncConnection, connection_id: str) -> Row[Any] | None:
    """One connection with its sealed data key, and whether any breaker is open."""
    found: Row[Any] | None = (await connection.execute(ONE, {"its_id": connection_id})).one_or_none()
    return found


async def held(connection: AsyncConnection, connection_id: str) -> Row[Any] | None:
    """The same, and it stays as it is until the transaction ends.

    Whoever writes about a connection takes its row first, then what hangs on it: in another order two would wait for
    each other.
    """
    await connection.execute(select(connections.c.id).where(connections.c.id == connection_id).with_for_update())
    return await get(connection, connection_id)


async def find(
    connection: AsyncConnection,
    *,
    user: str | None = None,
    platform: str | None = None,
    account_id: str | None = None,
) -> Sequence[Row[Any]]:
    """Connections of a user, a platform, an account: whatever is given; oldest first."""
    query = WITH_KEY.order_by(connections.c.created_at, connections.c.id)
    for column, value in (("user_id", user), ("platform", platform), ("account_id", account_id)):
        if value is not None:
            query = query.where(connections.c[column] == value)
    found: Sequence[Row[Any]] = (await connection.execute(query)).all()
    return found


async def add(connection: AsyncConnection, values: dict[str, Any], sealed_key: bytes) -> None:
    """A new connection and its data key."""
    await connection.execute(connections.insert().values(values))
    await connection.execute(data_keys.insert().values(connection_id=values["id"], sealed_key=sealed_key))


async def replace(connection: AsyncConnection, connection_id: str, values: dict[str, Any], sealed_key: bytes) -> None:
    """The same account connected again: new tokens under a new data key.

    The fence moves, so a refresh in flight cannot write what it brings.
    """
    await connection.execute(
        update(connections)
        .where(connections.c.id == connection_id)
        .values(**values, fence=connections.c.fence + 1, lease_owner=None, lease_until=None)
    )
    await connection.execute(delete(data_keys).where(data_keys.c.connection_id == connection_id))
    await connection.execute(data_keys.insert().values(connection_id=connection_id, sealed_key=sealed_key))


async def claim(
    connection: AsyncConnection,
    connection_id: str,
    owner: str,
    now: datetime,
    until: datetime,
    *,
    generation: int | None = None,
) -> Row[Any] | None:
    """Take the sole right to refresh a connection until `until`; `is_left_open` tells of attempts before this one.

    None where somebody has it, none may, or its token is of another generation than the one asked about.
    """
    asked = {"its_id": connection_id, "its_generation": generation, "its_time": now, "owner": owner, "until": until}
    if (await connection.execute(CLAIM, asked)).rowcount != 1:
        return None
    row: Row[Any] = (await connection.execute(CLAIMED, {"its_id": connection_id})).one()
    return row


async def let_go(connection: AsyncConnection, connection_id: str, fence: int, **values: Any) -> bool:
    """Write `values` and give the claim back; False, and nothing written, where the fence has moved on."""
    return await mark(connection, connection_id, fence, lease_owner=None, lease_until=None, **values)


async def mark(connection: AsyncConnection, connection_id: str, fence: int, **values: Any) -> bool:
    """Write `values` and keep the claim; False where the fence has moved on."""
    done = await connection.execute(HELD, {"its_id": connection_id, "its_fence": fence, **values})
    return done.rowcount == 1


async def free(connection: AsyncConnection, connection_id: str, fence: int) -> None:
    """End the claim of somebody who is gone for good."""
    await mark(connection, connection_id, fence, lease_owner=None, lease_until=None)


async def wake(connection: AsyncConnection, platform: str, now: datetime) -> None:
    """The platform is well again: whoever waited for that is due. In a transaction of its own."""
    waiting = (
        select(connections.c.id)
        .where(
            connections.c.platform == platform,
            connections.c.status == "connected",
            connections.c.reason == "unavailable",
            connections.c.doubted_at.is_(None),
            connections.c.next_refresh_at > now,
        )
        .order_by(connections.c.id)
        .with_for_update()
    )
    ids = (await connection.execute(waiting)).scalars().all()
    for start in range(0, len(ids), IDS_A_QUERY):
        some = connections.c.id.in_(ids[start : start + IDS_A_QUERY])
        await connection.execute(update(connections).where(some).values(next_refresh_at=now))


async def revive(connection: AsyncConnection, connection_id: str, fence: int, now: datetime) -> None:
    """Take back that its user has to connect again: an answer came in that may well be a token."""
    await connection.execute(
        update(connections)
        .where(connections.c.id == connection_id, connections.c.fence == fence, connections.c.status == "needs_reauth")
        .values(status="connected", reason="unavailable", next_refresh_at=now, updated_at=now)
    )


async def due(
    connection: AsyncConnection,
    now: datetime,
    limit: int,
    without: Sequence[str] = (),
    down: Sequence[str] = (),
    prompt_tries: int = 0,
) -> Sequence[Any]:
    """Id and platform of connections whose token is to be refreshed by now and that nobody is at, urgent first.

    Those of the platforms in `without` have to wait; of those in `down`, all but what nobody knows the fate of, for its
    first `prompt_tries`.
    """
    query = (
        select(connections.c.id, connections.c.platform)
        .where(
            connections.c.status == "connected",
            connections.c.next_refresh_at <= now,
            or_(connections.c.lease_until.is_(None), connections.c.lease_until <= now),
        )
        .order_by(connections.c.next_refresh_at)
        .limit(limit)
    )
    if without:
        query = query.where(connections.c.platform.not_in(without))
    if down:
        is_prompt = connections.c.is_ambiguous & (connections.c.fail_count <= prompt_tries)
        query = query.where(or_(connections.c.platform.not_in(down), is_prompt))
    found: Sequence[Any] = (await connection.execute(query)).all()
    return found


async def next_due(connection: AsyncConnection) -> datetime | None:
    """When the next token is to be refreshed."""
    # What somebody is at, or was when they died, is due when their claim ends.
    is_taken = connections.c.lease_until > connections.c.next_refresh_at
    due_at = case((is_taken, connections.c.lease_until), else_=connections.c.next_refresh_at)
    query = select(func.min(due_at)).where(
        connections.c.status == "connected", connections.c.next_refresh_at.is_not(None)
    )
    found: datetime | None = (await connection.execute(query)).scalar()
    return found


async def doubted(connection: AsyncConnection, platform: str) -> tuple[int, int]:
    """How many connections of a platform that cannot be refreshed are doubted, and how many are not."""
    is_doubted = connections.c.doubted_at.is_not(None)
    query = select(func.count().filter(is_doubted), func.count().filter(~is_doubted)).where(
        connections.c.platform == platform,
        connections.c.status == "connected",
        connections.c.refresh_token.is_(None),
    )
    found = (await connection.execute(query)).one()
    return found[0], found[1]


async def doubted_before(connection: AsyncConnection, platform: str, before: datetime) -> int:
    """How many connections of a platform have been doubted for so long that only a hold keeps them from being told."""
    query = select(func.count()).where(
        connections.c.platform == platform, connections.c.status == "connected", connections.c.doubted_at <= before
    )
    return int((await connection.execute(query)).scalar_one())


async def ending(connection: AsyncConnection, until: datetime, after: str, limit: int) -> Sequence[Row[Any]]:
    """Connections whose grant ends by `until`, in the order of their ids from `after` on."""
    query = (
        select(connections)
        .where(connections.c.status == "connected", connections.c.grant_expires_at <= until, connections.c.id > after)
        .order_by(connections.c.id)
        .limit(limit)
    )
    return (await connection.execute(query)).all()


async def foretell(connection: AsyncConnection, connection_id: str, before: int | None, days: int) -> bool:
    """Note that a user was told `days` before the end; False where another host was quicker."""
    is_as_seen = connections.c.foretold_days.is_(None) if before is None else connections.c.foretold_days == before
    done = await connection.execute(
        update(connections).where(connections.c.id == connection_id, is_as_seen).values(foretold_days=days)
    )
    return done.rowcount == 1


async def disconnect(connection: AsyncConnection, connection_id: str, now: datetime) -> bool:
    """Final: no token of this connection can be opened afterwards, and no refresh in flight can bring one back."""
    await connection.execute(delete(data_keys).where(data_keys.c.connection_id == connection_id))
    await connection.execute(delete(attempts).where(attempts.c.connection_id == connection_id))
    # A poll that is under way has lost its claim: it stores nothing more.
    await connection.execute(
        update(polls)
        .where(polls.c.connection_id == connection_id)
        .values(fence=polls.c.fence + 1, lease_owner=None, lease_until=None)
    )
    done = await connection.execute(
        update(connections)
        .where(connections.c.id == connection_id, connections.c.status != "disconnected")
        .values(
            status="disconnected",
            reason=None,
            error_message=None,
            access_token=None,
            refresh_token=None,
            token_fingerprint=None,
            token_expires_at=None,
            next_refresh_at=None,
            fence=connections.c.fence + 1,
            generation=connections.c.generation + 1,
            lease_owner=None,
            lease_until=None,
            updated_at=now,
        )
    )
    return done.rowcount == 1


async def synced(connection: AsyncConnection, connection_id: str, now: datetime) -> None:
    """A poll of this connection ended well."""
    await connection.execute(
        update(connections)
        .where(connections.c.id == connection_id)
        .values(
            last_sync=now,
            updated_at=now,
            # An answer to a token that cannot be refreshed takes back the doubt that a refusal of it raised.
            doubted_at=case((connections.c.refresh_token.is_(None), None), else_=connections.c.doubted_at),
        )
    )
