"""Very many connections at once, with real grants at the sandbox and sealed as any other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from soulwatch import Connector
from soulwatch.host.clock import Clock
from soulwatch.host.host import Host
from soulwatch.host.plugins import Plugins
from soulwatch.host.safe import TokenSafe
from soulwatch.host.settings import Settings
from soulwatch.host.store.tables import connections, data_keys
from soulwatch.host.timing import RefreshPolicy
from soulwatch.values import Token
from soulwatch_github import github
from soulwatch_sandbox import Sandbox, sandbox
from soulwatch_sandbox.papers import Issued
from soulwatch_sandbox.rules import Pose

AT_A_TIME = 500
LIFE = timedelta(hours=1)
POLICY = RefreshPolicy()


@asynccontextmanager
async def refreshing_host(settings: Settings, clock: Clock) -> AsyncIterator[Host]:
    """A host under the usual policy, whose platforms are poses of the sandbox and are not polled."""
    plugins = Plugins()
    for pose in (sandbox, github):
        plugins.register(Connector(pose.facts, ()), pose.facts.name, f"soulwatch-{pose.facts.name}")
    host = await Host.open(settings, policy=POLICY, clock=clock, plugins=plugins)
    try:
        yield host
    finally:
        await host.close()


def granted_by(platform: Sandbox, count: int, pose: Pose = "sandbox") -> Iterator[Issued]:
    """So many grants, as if as many people had consented."""
    return (platform.grant(pose, "mira") for _ in range(count))


async def give(
    host: Host, granted: Iterable[Issued], issued: Callable[[int], datetime], pose: Pose = "sandbox"
) -> None:
    """A connection for each grant, each of a user of its own, with tokens of an hour from when they were `issued`."""
    safe = TokenSafe(host.vault)
    numbered = enumerate(granted)
    while some := list(islice(numbered, AT_A_TIME)):
        made = [_row(one, pose, safe, number, issued(number)) for number, one in some]
        async with host.database.writing() as transaction:
            await transaction.execute(connections.insert(), [row for row, _ in made])
            await transaction.execute(data_keys.insert(), [key for _, key in made])


def _row(
    granted: Issued, pose: Pose, safe: TokenSafe, number: int, issued: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    whose = {"connection_id": f"{pose}-{number:06}", "user": f"u{number:06}", "platform": pose}
    key = safe.new_key(**whose)
    columns = safe.seal(key, Token(granted.access, granted.refresh, issued + LIFE), generation=1, **whose)
    row = {
        "id": whose["connection_id"],
        "user_id": whose["user"],
        "platform": pose,
        "account_id": granted.grant,
        "account_name": "Mira",
        "status": "connected",
        "token_issued_at": issued,
        "next_refresh_at": POLICY.next_refresh(whose["connection_id"], issued, issued + LIFE),
        "created_at": issued,
        "updated_at": issued,
        **columns,
    }
    return row, {"connection_id": row["id"], "sealed_key": key}
