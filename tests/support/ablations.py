"""Safeguards that can be taken away, one at a time, each with the test that then fails: `pytest --without=NAME`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from soulwatch.host import aftermath, breaker, envelope, settling, timing
from soulwatch.host.attempt import Attempt
from soulwatch.host.refresher import Refresher
from soulwatch.host.send_once import SendOnce
from soulwatch.host.store import attempts, connections
from soulwatch.host.store.tables import connections as table

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Safeguard:
    """What is taken away, what that would do, and which test sees it."""

    name: str
    against: str
    caught_by: str
    take_away: Callable[[Patch], None]


def _no_lease(patch: Patch) -> None:
    claim = connections.claim

    async def claim_anyway(transaction: Any, connection_id: str, *args: Any, **kwargs: Any) -> Any:
        await transaction.execute(update(table).where(table.c.id == connection_id).values(lease_until=None))
        return await claim(transaction, connection_id, *args, **kwargs)

    patch.setattr(connections, "claim", claim_anyway)


def _no_fence(patch: Patch) -> None:
    async def mark(transaction: Any, connection_id: str, _fence: int, **values: Any) -> bool:
        done = await transaction.execute(update(table).where(table.c.id == connection_id).values(**values))
        return bool(done.rowcount)

    patch.setattr(connections, "mark", mark)


def _no_journal(patch: Patch) -> None:
    async def nothing(*_: Any) -> list[Any]:
        return []

    patch.setattr(attempts, "open_of", nothing)
    patch.setattr(attempts, "orphans", nothing)


def _no_send_guard(patch: Patch) -> None:
    patch.setattr(SendOnce, "_guard", lambda _self: None)


def _no_second_look(patch: Patch) -> None:
    def judge(_row: Any, _policy: Any, _now: datetime, **_: Any) -> dict[str, Any]:
        return settling.ended("invalid_grant")

    patch.setattr(settling, "_judge", judge)


def _no_breaker(patch: Patch) -> None:
    async def let_through(*_: Any, **__: Any) -> None:
        pass

    async def waiting(*_: Any) -> tuple[set[str], set[str]]:
        return set(), set()

    patch.setattr(breaker.Breakers, "let_through", let_through)
    patch.setattr(breaker.Breakers, "waiting", waiting)


def _no_aad(patch: Patch) -> None:
    patch.setattr(envelope.Place, "__post_init__", lambda self: object.__setattr__(self, "bound", b"anywhere"))


def _no_prompt_retry(patch: Patch) -> None:
    patch.setattr(timing, "PROMPT_RETRIES_S", ())


def _no_jitter(patch: Patch) -> None:
    patch.setattr(timing, "phase_of", lambda *_: 0.0)


def _no_floor(patch: Patch) -> None:
    patch.setattr(timing.RefreshPolicy, "floor_for", lambda *_: timedelta(0))


def _no_mass_limit(patch: Patch) -> None:
    patch.setattr(aftermath, "is_mass", lambda _outcomes: False)


def _no_late_answer(patch: Patch) -> None:
    async def at_once(_self: Refresher, _attempt: Attempt) -> None:
        pass

    patch.setattr(Refresher, "_wait_for_late_answer", at_once)


SIM = "tests/sim/test_stories.py::test_whatever_happens_every_token_is_there_in_the_end"
STEP = "tests/sim/test_every_step.py::"
SAFEGUARDS = (
    Safeguard("lease", "two hosts send the same token", f"{SIM}[strict rotation, and no answer is lost-0]", _no_lease),
    Safeguard("fence", "who was overtaken writes over what came later", "", _no_fence),
    Safeguard("journal", "an answer that was kept is forgotten in a crash", "", _no_journal),
    Safeguard("send guard", "a process that stood still sends a token that was used meanwhile", "", _no_send_guard),
    Safeguard("second look", "one wrong answer of a platform costs a connection", "", _no_second_look),
    Safeguard("breaker", "a wrong client secret is tried for every connection", "", _no_breaker),
    Safeguard("AAD", "a sealed token moved to another row opens there", "", _no_aad),
    Safeguard("prompt retry", "the time in which a used token is taken again passes", "", _no_prompt_retry),
    Safeguard("jitter", "what was connected together is refreshed together", "", _no_jitter),
    Safeguard("floor", "a token that ends at once is refreshed in a loop", "", _no_floor),
    Safeguard("mass limit", "a platform at fault sends all its users to connect again", "", _no_mass_limit),
    Safeguard("late answer", "an answer that could not be stored yet is asked for again", "", _no_late_answer),
)
BY_NAME = {one.name: one for one in SAFEGUARDS}
