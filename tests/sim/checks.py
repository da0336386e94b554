"""What must be true when a story is over, whatever happened in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sim.wire import LOSING, LOSING_AN_ANSWER, Sent

from soulwatch.host.host import Host
from soulwatch.host.store import attempts, events, items

if TYPE_CHECKING:
    from sim.world import Simulation

OK = 200
BAD_REQUEST = 400


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
            *self._not_given_back(),
            *self._simulation.ended,
            *(repr(one) for wire in self._simulation.wires for one in wire.failed),
        ]

    async def _wrong_with(self, row: Any) -> list[str]:
        if row.status == "disconnected":
            return [] if row.access_token is None else ["disconnected, and its token is left"]
        wrong = await self._open_attempts(row)
        if row.status != "connected":
            if row.reason not in self._excuses(row.user_id):
                wrong.append(f"{row.status}, {row.reason}: {row.error_message}")
            return wrong
        token = await self._host.tokens.fresh(row.id)
        verdict = self._simulation.sandbox.grants.standing("sandbox", token.access).verdict
        if verdict != "good":
            wrong.append(f"connected, and its access token is {verdict}")
        if row.reason is not None:
            wrong.append(f"connected, and not well: {row.reason}: {row.error_message}")
        return [*wrong, *await self._not_told(row), *await self._not_stored(row)]

    def _excuses(self, user: str) -> tuple[str, ...]:
        """The reasons for which a user may have to connect again: the answer to a token existed only on its way.

        Sent again it ended its grant. Where another token was sent after it, that one is just called dead.
        """
        if self._simulation.story.rotation != "strict":
            return ()
        by_token: dict[str, list[Sent]] = {}
        for sent in self._simulation.sent:
            if self._whose(sent) == user:
                by_token.setdefault(sent.token, []).append(sent)
        lost = [
            token
            for token, tries in by_token.items()
            if len(tries) > 1 and tries[0].status != BAD_REQUEST and any(map(self._was_lost, tries))
        ]
        if not lost:
            return ()
        return ("ambiguous_rotation",) if lost[-1] == list(by_token)[-1] else ("ambiguous_rotation", "invalid_grant")

    def _was_lost(self, sent: Sent) -> bool:
        """Whether an answer was lost on its way, or with its process: that died or stood still before it was kept."""
        kept = self._kept_at(sent)
        away = self._simulation.ever[sent.machine].away
        is_with_process = any(sent.begun <= until and (kept is None or since < kept) for since, until in away)
        return sent.fate in LOSING_AN_ANSWER or is_with_process

    def _kept_at(self, sent: Sent) -> float | None:
        fingerprint = self._host.vault.fingerprint(sent.token)
        return next((at for whose, at in self._kept if whose == fingerprint and at >= sent.at), None)

    @cached_property
    def _kept(self) -> list[tuple[bytes, float]]:
        with closing(sqlite3.connect(self._simulation.file)) as connection:
            return connection.execute("SELECT fingerprint, at FROM kept ORDER BY at").fetchall()

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
        """A refresh token whose answer is not lost is sent once; given up it may be where a used one is taken again."""
        rotation = self._simulation.story.rotation
        if rotation == "none":
            return []
        wrong: list[str] = []
        by_token: dict[str, Sent] = {}
        for sent in self._simulation.sent:
            before = by_token.get(sent.token)
            if (
                before
                and before.status in (0, OK)
                and not (
                    before.fate in LOSING or self._was_lost(before) or (rotation == "grace" and before.is_given_up)
                )
            ):
                told = f"{before.machine} had sent it at {before.at:.3f}"
                wrong.append(f"{sent.machine} sent a token again at {sent.at:.3f}; {told}")
            by_token[sent.token] = sent
        return wrong

    def _not_given_back(self) -> list[str]:
        lives = {grant.id for grant in self._simulation.sandbox.grants.of() if not grant.revoked}
        return [f"{grant} was given back and lives" for grant in self._simulation.given_back if grant in lives]

    def _whose(self, sent: Sent) -> str:
        grant = self._simulation.sandbox.grants.find("sandbox", sent.token)
        return grant.person if grant else ""
