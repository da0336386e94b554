"""Connecting under way: each flow is taken out once, by the state or link it was started with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.tables import flows

TIME_TO_FINISH = timedelta(minutes=10)


async def add(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A flow begins."""
    await connection.execute(flows.insert().values(values))


async def change(connection: AsyncConnection, flow_id: str, **values: Any) -> None:
    """A flow goes on."""
    await connection.execute(update(flows).where(flows.c.id == flow_id).values(**values))


async def get(connection: AsyncConnection, flow_id: str) -> Row[Any] | None:
    """A flow by its id."""
    found: Row[Any] | None = (await connection.execute(select(flows).where(flows.c.id == flow_id))).one_or_none()
    return found


async def take_by_state(connection: AsyncConnection, state_hash: bytes, now: datetime) -> Row[Any] | None:
    """The flow with this state, given out once; None where there is none, it is over or was taken."""
    return await _take(connection, flows.c.state_hash == state_hash, now, taken_at=now, state_hash=None)


async def take_by_link(connection: AsyncConnection, link_hash: bytes, now: datetime) -> Row[Any] | None:
    """The flow with this link, given out once."""
    return await _take(connection, flows.c.link_hash == link_hash, now, link_hash=None)


async def take_by_code(connection: AsyncConnection, flow_id: str, code_hash: bytes, now: datetime) -> Row[Any] | None:
    """The flow whose return is redeemed with this code, given out once."""
    wanted = (flows.c.id == flow_id) & (flows.c.redeem_hash == code_hash)
    return await _take(connection, wanted, now, redeem_hash=None)


async def _take(connection: AsyncConnection, which: Any, now: datetime, **values: Any) -> Row[Any] | None:
    # Whoever takes a flow has time to finish it, however late it was taken.
    taken = await connection.execute(
        update(flows)
        .where(which, flows.c.expires_at > now)
        .values(**values, expires_at=now + TIME_TO_FINISH)
        .returning(*flows.c)
    )
    found: Row[Any] | None = taken.one_or_none()
    return found


async def expired(connection: AsyncConnection, now: datetime) -> list[Row[Any]]:
    """Flows that nobody finished in time."""
    return list((await connection.execute(select(flows).where(flows.c.expires_at <= now))).all())


async def finish(connection: AsyncConnection, flow_id: str, now: datetime) -> bool:
    """A flow has come to what it was for; False where its time was over before, and it is or will be pruned."""
    done = await connection.execute(delete(flows).where(flows.c.id == flow_id, flows.c.expires_at > now))
    return bool(done.rowcount)


async def forget(connection: AsyncConnection, flow_id: str) -> None:
    """A flow is over."""
    await connection.execute(delete(flows).where(flows.c.id == flow_id))
