"""What must be true when a story is over, whatever happened in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sim.wire import LOSING, Sent

from soulwatch.host.host import Host
from soulwatch.host.store import attempts, events, items

if TYPE_CHECKING:
    from sim.world import Simulation

OK = 200


class Checks:
    """Looks at everything with the eyes of one host."""

    def __init__(self, simulation: Simulation, host: Host) -> None:
        self._simulation = simulation
        self._host = host

    async def wrong(self) -> list[str]:
        """Everything that is not as it must be."""
        wrong: list[str] = []
        for row in await self._host.accounts.rows():
            wrong += [f"{row.user_id}: {one}" for one in await self._wrong_with(row)]
        with closing(sqlite3.connect(self._simulation.file)) as connection:
            wrong += [what for (what,) in connection.execute("SELECT what FROM never")]
        return [
            *wrong,
            *self._sent_twice(),
            *self._simulation.ended,
            *(repr(one) for wire in self._simulation.wires for one in wire.failed),
        ]

    async def _wrong_with(self, row: Any) -> list[str]:
        if row.status == "disconnected":
            grants = [grant for grant in self._simulation.sandbox.grants.of(row.user_id) if not grant.revoked]
            return [] if row.access_token is None else [f"disconnected, and {len(grants)} tokens are left"]
        wrong = await self._open_attempts(row)
        if row.status != "connected":
            lost = [sent for sent in self._simulation.sent if sent.fate in LOSING and self._whose(sent) == row.user_id]
            reasons = ("ambiguous_rotation", "invalid_grant") if self._was_rude else ("ambiguous_rotation",)
            if self._simulation.story.rotation != "strict" or row.reason not in reasons or not (lost or self._was_rude):
                wrong.append(f"{row.status}, {row.reason}: {row.error_message}")
            return wrong
        token = await self._host.tokens.fresh(row.id)
        verdict = self._simulation.sandbox.grants.standing("sandbox", token.access).verdict
        if verdict != "good":
            wrong.append(f"connected, and its access token is {verdict}")
        if row.reason is not None:
            wrong.append(f"connected, and not well: {row.reason}: {row.error_message}")
        return [*wrong, *await self._not_told(row), *await self._not_stored(row)]

    @property
    def _was_rude(self) -> bool:
        return bool(self._simulation.story.kills or self._simulation.story.stops or self._simulation.story.full_disks)

    async def _open_attempts(self, row: Any) -> list[str]:
        async with self._host.database.reading() as transaction:
            left = await attempts.open_of(transaction, row.id, row.fence)
        return [f"attempt {one.id} is still open: {one.state}" for one in left]

    async def _not_told(self, row: Any) -> list[str]:
        async with self._host.database.reading() as transaction:
            told = [event.seq for event in await events.after(transaction, row.user_id, 0, 100_000)]
        return [] if told == list(range(1, len(told) + 1)) else [f"events out of order: {told}"]

    async def _not_stored(self, row: Any) -> list[str]:
        async with self._host.database.reading() as transaction:
            wanted = items.current(user=row.user_id, data_type="notes", limit=1000)
            stored = [item.item_key for item in (await transaction.execute(wanted)).all()]
        return [] if len(stored) == len(set(stored)) == 7 else [f"{len(stored)} notes are stored and not 7"]

    def _sent_twice(self) -> list[str]:
        """A refresh token whose answer is not lost is sent once, unless who sent it was stopped or killed."""
        if self._simulation.story.rotation == "none" or self._was_rude:
            return []
        wrong: list[str] = []
        by_token: dict[str, Sent] = {}
        for sent in self._simulation.sent:
            before = by_token.get(sent.token)
            if before and before.fate not in LOSING and before.status in (0, OK):
                told = f"{before.machine} had sent it at {before.at:.3f}"
                wrong.append(f"{sent.machine} sent a token again at {sent.at:.3f}; {told}")
            by_token[sent.token] = sent
        return wrong

    def _whose(self, sent: Sent) -> str:
        grant = self._simulation.sandbox.grants.find("sandbox", sent.token)
        return grant.person if grant else ""
