"""What is wrong with the connections of a world: compared, one by one, with what the platform knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import anyio
from sqlalchemy import Row, select, text, update

from soulwatch.errors import SoulwatchError
from soulwatch.host.host import Host
from soulwatch.host.safe import TokenSafe
from soulwatch.host.store import connections
from soulwatch.host.store.attempts import OPEN
from soulwatch.host.store.tables import attempts
from soulwatch.host.store.tables import connections as table
from soulwatch_sandbox.rules import POSES
from support.world import World

LONG_S = 3600
SHORTEST_LIFE_S = 30
"""A platform that says less is not believed."""


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 40) -> None:
    """Wait until it is true. Raises TimeoutError."""
    with anyio.fail_after(seconds):
        while not await true():  # noqa: ASYNC110  - another process does it
            await anyio.sleep(0.05)


async def ask(host: Host, query: str) -> Any:
    """The one value that a query asks for."""
    async with host.database.reading() as transaction:
        return (await transaction.execute(text(query))).scalar()


async def make_due(host: Host) -> None:
    """Let a token be due wherever nobody is at it and nothing went wrong with it: as if its time had come."""
    now = host.clock.now()
    is_idle = (table.c.lease_until.is_(None)) & (table.c.fail_count == 0) & (table.c.next_refresh_at > now)
    async with host.database.writing() as transaction:
        await transaction.execute(update(table).where(is_idle).values(next_refresh_at=now, last_attempt_at=None))


async def troubles(world: World, host: Host) -> list[str]:
    """A line for each thing that is not as it should be once all has come to rest; none where all is well."""
    async with host.database.reading() as transaction:
        rows = await connections.find(transaction)
        left_open = (await transaction.execute(select(attempts).where(attempts.c.state.in_(OPEN)))).all()
    found = [f"{row.user_id}: {what}" for row in rows for what in _troubles_of(world, TokenSafe(host.vault), row)]
    return found + [f"attempt {attempt.id} is {attempt.state}" for attempt in left_open]


def _troubles_of(world: World, safe: TokenSafe, row: Row[Any]) -> list[str]:
    found = [] if (row.status, row.reason) == ("connected", None) else [f"{row.status}, {row.reason}"]
    if row.lease_until is not None:
        found.append(f"claimed by {row.lease_owner}")
    try:
        token = safe.open(row)
    except SoulwatchError as broken:
        return [*found, f"its token cannot be opened: {broken}"]
    verdict = world.sandbox.grants.standing(row.platform, token.access).verdict
    return found if verdict == "good" else [*found, f"its access token is {verdict}"]


def revoked(world: World) -> list[str]:
    """The grants that are gone, and why."""
    return [f"{grant.id}: {grant.why}" for grant in world.sandbox.grants.of() if grant.revoked]


async def come_to_rest(world: World, host: Host, seconds: float = 60) -> None:
    """Let tokens live long from now on, and wait until every connection has a good one and nobody is at any."""
    for pose in POSES:
        world.sandbox.rules[pose] = replace(world.sandbox.rules[pose], life=LONG_S)
    found: list[str] = []
    with anyio.move_on_after(seconds):
        while found := [*await troubles(world, host), *await _ending_soon(host)]:  # noqa: ASYNC110  - other processes do it
            await anyio.sleep(0.2)
        return
    raise AssertionError("\n".join([*found, *revoked(world)]))


async def _ending_soon(host: Host) -> list[str]:
    soon = host.clock.now() + timedelta(seconds=LONG_S / 2)
    async with host.database.reading() as transaction:
        rows = await connections.find(transaction)
    return [f"{row.user_id}: its token ends soon" for row in rows if row.token_expires_at <= soon]
