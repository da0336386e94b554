"""Safeguards that can be taken away, one at a time, each with the test that then fails: `pytest --without=NAME`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
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


STORY = "tests/sim/test_stories.py::test_whatever_happens_every_token_is_there_in_the_end"
STEP = "tests/sim/test_every_step.py::"
SAFEGUARDS = (
    Safeguard(
        "lease", "two hosts send the same token", f"{STORY}[strict rotation, and no answer is lost-1]", _no_lease
    ),
    Safeguard(
        "fence",
        "who was overtaken writes over what came later",
        f"{STEP}test_with_strict_rotation_a_process_that_stands_still_loses_only_an_answer_on_its_way[28]",
        _no_fence,
    ),
    Safeguard(
        "journal",
        "an answer that was kept is forgotten in a crash",
        f"{STEP}test_with_strict_rotation_only_an_answer_on_its_way_is_lost_with_its_process[32]",
        _no_journal,
    ),
    Safeguard(
        "send guard",
        "a process that stood still sends a token that was used meanwhile",
        f"{STEP}test_with_strict_rotation_a_process_that_stands_still_loses_only_an_answer_on_its_way[17]",
        _no_send_guard,
    ),
    Safeguard(
        "late answer",
        "an answer that could not be stored yet is asked for again",
        f"{STEP}test_an_answer_that_cannot_be_stored_is_stored_in_the_end_and_never_asked_for_again[0-61]",
        _no_late_answer,
    ),
    Safeguard(
        "second look",
        "one wrong answer of a platform costs a connection",
        f"{STORY}[no rotation, and grants are called dead that are not-0]",
        _no_second_look,
    ),
    Safeguard(
        "prompt retry",
        "the time passes in which a used token is taken again",
        f"{STORY}[ten seconds of grace, answers are lost and processes die-1]",
        _no_prompt_retry,
    ),
    Safeguard(
        "breaker",
        "a wrong client secret is tried for every connection",
        "tests/sim/test_stories.py::test_a_wrong_client_secret_costs_few_requests",
        _no_breaker,
    ),
    Safeguard(
        "mass limit",
        "a platform at fault sends all its users to connect again",
        "tests/flows/test_breaker.py"
        "::test_a_platform_that_calls_most_grants_dead_at_once_is_not_believed_at_once[sqlite]",
        _no_mass_limit,
    ),
    Safeguard(
        "AAD",
        "a sealed token that was moved to another row opens there",
        "tests/faults/test_sealed_in_place.py::test_tokens_written_where_they_were_not_sealed_for_are_given_to_nobody"
        "[of another user with their key-sqlite]",
        _no_aad,
    ),
    Safeguard(
        "jitter",
        "what was connected together is refreshed together",
        "tests/unit/test_timing.py::test_an_hour_is_refreshed_about_ten_minutes_before_its_end",
        _no_jitter,
    ),
    Safeguard(
        "floor",
        "a token that ends at once is refreshed in a loop",
        "tests/unit/test_timing.py::test_a_token_is_never_refreshed_in_a_loop",
        _no_floor,
    ),
)
BY_NAME = {one.name: one for one in SAFEGUARDS}
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "safeguards.md"
HEAD = """# Safeguards, and what happens without them

Each of these can be taken away in the tests with `pytest --without=NAME`, and then the named test fails: so none of
them is there for nothing, and none is untested. `pytest tests/sim/test_ablations.py` takes them away one after another.
The number that ends the last column is a seed, or the step at which a refresh was cut off, and repeats the same run.

| safeguard | without it | caught by |
| --- | --- | --- |
"""


def page() -> str:
    """The table as docs/reference/safeguards.md has it."""
    return HEAD + "".join(f"| {one.name} | {one.against} | {_linked(one.caught_by)} |\n" for one in SAFEGUARDS)


def _linked(node: str) -> str:
    file, _, test = node.partition("::")
    name, _, case = test.partition("[")
    where = f"[`{Path(file).name}`](../../{file})"
    return f"{where} `{name}`" + (f", {case.removesuffix(']')}" if case else "")


if __name__ == "__main__":
    PAGE.write_text(page())
