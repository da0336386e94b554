"""Moving every data key under the newest encryption key, while the host goes on; cut off, it takes up where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select, update

from soulwatch.host.safe import CONNECTIONS
from soulwatch.host.store.database import Database
from soulwatch.host.store.tables import connections, data_keys, flows, key_checks
from soulwatch.host.vault import Place, Vault

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


async def rotate(database: Database, vault: Vault, progress: Callable[[int], None] | None = None) -> int:
    """Seal each data key under the newest key of the ring; how many were moved.

    After it the older keys are needed no more: they may be taken out of ENCRYPTION_KEY. Backups made before still
    need them.
    """
    moved = 0
    for table, column, query in (
        (data_keys, data_keys.c.connection_id, _of_connections),
        (flows, flows.c.id, _of_flows),
    ):
        after = ""
        while True:
            async with database.writing() as transaction:
                rows = (await transaction.execute(query.where(column > after))).all()
                for row in rows:
                    sealed = vault.rewrap(row.sealed_key, _place(row))
                    if sealed == row.sealed_key:
                        continue
                    # Compared with what was read: a connection made again meanwhile has a key of its own.
                    is_same = (column == row.id) & (table.c.sealed_key == row.sealed_key)
                    await transaction.execute(update(table).where(is_same).values(sealed_key=sealed))
                    moved += 1
            if progress is not None:
                progress(moved)
            if len(rows) < AT_A_TIME:
                break
            after = rows[-1].id
    async with database.writing() as transaction:
        await transaction.execute(delete(key_checks).where(key_checks.c.kid != vault.ring.kids[0]))
    logger.info("every data key is sealed under the newest key; %d were moved", moved)
    return moved


def _place(row: Any) -> Place:
    return Place(CONNECTIONS, "sealed_key", row.id, row.user_id, row.platform, 0)
