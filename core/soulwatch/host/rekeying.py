"""Moving every data key under the newest encryption key, while the host goes on; cut off, it takes up where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from soulwatch.host.safe import CONNECTIONS
from soulwatch.host.store.database import Database
from soulwatch.host.store.tables import connections, data_keys, flows, key_checks
from soulwatch.host.vault import KeyUnavailable, Place, SealBroken, Vault

logger = logging.getLogger("soulwatch.keys")

AT_A_TIME = 200

_of_connections = (
    select(data_keys.c.connection_id.label("id"), data_keys.c.sealed_key, connections.c.user_id, connections.c.platform)
    .join(connections, connections.c.id == data_keys.c.connection_id)
    .order_by(data_keys.c.connection_id)
    .limit(AT_A_TIME)
)
_of_flows = (
    select(flows.c.id, flows.c.sealed_key, flows.c.user_id, flows.c.platform)
    .where(flows.c.sealed_key.is_not(None))
    .order_by(flows.c.id)
    .limit(AT_A_TIME)
)


@dataclass(slots=True)
class Rotated:
    """How many data keys were moved, and which could not be: damaged, or sealed under a key that is not in the ring."""

    moved: int = 0
    damaged: int = 0
    without_key: int = 0


async def rotate(database: Database, vault: Vault, progress: Callable[[int], None] | None = None) -> Rotated:
    """Seal each data key under the newest key of the ring. One that cannot be moved keeps no other from it.

    After it the older keys are needed no more, unless some are `without_key`: they may be taken out of ENCRYPTION_KEY.
    Backups made before still need them.
    """
    done = Rotated()
    for table, column, query in (
        (data_keys, data_keys.c.connection_id, _of_connections),
        (flows, flows.c.id, _of_flows),
    ):
        after = ""
        while True:
            async with database.writing() as transaction:
                rows = (await transaction.execute(query.where(column > after))).all()
                await _move(transaction, table, column, rows, vault, done)
            if progress is not None:
                progress(done.moved)
            if len(rows) < AT_A_TIME:
                break
            after = rows[-1].id
    if not done.without_key:
        async with database.writing() as transaction:
            await transaction.execute(delete(key_checks).where(key_checks.c.kid != vault.ring.kids[0]))
    logger.info("data keys were moved under the newest key: %s", done)
    return done


async def _move(
    transaction: AsyncConnection, table: Table, column: Any, rows: Sequence[Any], vault: Vault, done: Rotated
) -> None:
    for row in rows:
        try:
            sealed = vault.rewrap(row.sealed_key, _place(row))
        except (KeyUnavailable, SealBroken) as broken:
            logger.error("a data key cannot be moved: %s", broken, extra={"connection": row.id})  # noqa: TRY400
            done.without_key += isinstance(broken, KeyUnavailable)
            done.damaged += isinstance(broken, SealBroken)
            continue
        if sealed == row.sealed_key:
            continue
        # Compared with what was read: a connection made again meanwhile has a key of its own.
        is_same = (column == row.id) & (table.c.sealed_key == row.sealed_key)
        await transaction.execute(update(table).where(is_same).values(sealed_key=sealed))
        done.moved += 1


def _place(row: Any) -> Place:
    return Place(CONNECTIONS, "sealed_key", row.id, row.user_id, row.platform, 0)
