"""Who may: API keys, and passes (one-time login codes, sessions, socket tickets). Only hashes are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.store.tables import api_keys, passes


async def add_key(connection: AsyncConnection, key_id: str, name: str, key_hash: bytes, now: datetime) -> None:
    """A new API key."""
    await connection.execute(api_keys.insert().values(id=key_id, name=name, key_hash=key_hash, created_at=now))


async def find_key(connection: AsyncConnection, key_hash: bytes) -> Row[Any] | None:
    """The key with this hash, unless it was revoked."""
    query = select(api_keys).where(api_keys.c.key_hash == key_hash, api_keys.c.revoked_at.is_(None))
    found: Row[Any] | None = (await connection.execute(query)).one_or_none()
    return found


async def used_key(connection: AsyncConnection, key_id: str, now: datetime) -> None:
    """A key was used."""
    await connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now))


async def keys(connection: AsyncConnection) -> Sequence[Row[Any]]:
    """Every API key, the newest first."""
    return (await connection.execute(select(api_keys).order_by(api_keys.c.created_at.desc()))).all()


async def revoke_key(connection: AsyncConnection, key_id: str, now: datetime) -> bool:
    """A key no longer opens anything; False where there is no such key in force."""
    done = await connection.execute(
        update(api_keys).where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    return done.rowcount == 1


async def add_pass(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A new pass."""
    await connection.execute(passes.insert().values(values))


async def find_pass(connection: AsyncConnection, kind: str, pass_hash: bytes, now: datetime) -> Row[Any] | None:
    """A pass that is still good, left where it is."""
    query = select(passes).where(passes.c.hash == pass_hash, passes.c.kind == kind, passes.c.expires_at > now)
    found: Row[Any] | None = (await connection.execute(query)).one_or_none()
    return found


async def take_pass(connection: AsyncConnection, kind: str, pass_hash: bytes, now: datetime) -> Row[Any] | None:
    """A pass that is still good, used up by this: of two who come at once, one gets it."""
    taken = await connection.execute(
        delete(passes)
        .where(passes.c.hash == pass_hash, passes.c.kind == kind, passes.c.expires_at > now)
        .returning(*passes.c)
    )
    found: Row[Any] | None = taken.one_or_none()
    return found


async def seen_pass(connection: AsyncConnection, pass_hash: bytes, now: datetime, until: datetime) -> None:
    """A session is in use: it lasts on."""
    await connection.execute(update(passes).where(passes.c.hash == pass_hash).values(seen_at=now, expires_at=until))


async def forget_pass(connection: AsyncConnection, pass_hash: bytes) -> None:
    """A session ends."""
    await connection.execute(delete(passes).where(passes.c.hash == pass_hash))


async def forget_passes(connection: AsyncConnection, created_by: str) -> None:
    """What somebody obtained and has not used yet opens nothing any more."""
    await connection.execute(delete(passes).where(passes.c.created_by == created_by))


async def prune(connection: AsyncConnection, now: datetime) -> int:
    """Forget passes that ended; how many."""
    return (await connection.execute(delete(passes).where(passes.c.expires_at <= now))).rowcount
