"""What a refresh that did not bring a token means for its connection: pure decisions, written down by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from soulwatch.errors import (
    Misconfigured,
    NeedsReauth,
    PlatformError,
    RateLimited,
    SoulwatchError,
    Unavailable,
    UnexpectedAnswer,
)
from soulwatch.host.timing import PROMPT_RETRIES_S, RefreshPolicy
from soulwatch.oauth import LONGEST_TOKEN_WAIT
from soulwatch.waiting import LONGEST_WAIT

LATER = (Unavailable, UnexpectedAnswer)
LONGEST_WHILE_UNAVAILABLE_S = 60.0
"""A platform that is well again is noticed so soon; if many wait for it, its breaker asks for all of them."""
PROMPT_TRIES = len(PROMPT_RETRIES_S)
MASS = 20
MASS_SHARE = 0.3
MASS_WINDOW = timedelta(minutes=10)
MASS_IS_HELD = timedelta(hours=24)
"""So long the users of a platform that calls many grants dead at once are not troubled; it may think better of it."""
FROM_SEVERAL = 3
"""So many connections with one refusal of our request make it a matter of all."""


def reason_of(error: SoulwatchError) -> str:
    """The machine-readable reason for an error that is not the user's: who can help is in the word."""
    if isinstance(error, RateLimited):
        return "rate_limited"
    return "unavailable" if isinstance(error, LATER) else "misconfigured"


def is_urgent(row: Row[Any]) -> bool:
    """Whether a used token may be good for moments only: then it is sent again promptly, whatever stands against it."""
    return bool(row.is_ambiguous) and row.fail_count <= PROMPT_TRIES


def changes_after(
    row: Row[Any],
    error: SoulwatchError,
    policy: RefreshPolicy,
    now: datetime,
    random: float,
    *,
    is_contradicted: bool = False,
    may_have_been_acted_on: bool = False,
) -> dict[str, Any]:
    """The columns of a connection after `error`.

    `is_contradicted` says that the journal holds an answer nobody has applied yet. `status` is among the columns
    only where the connection now needs its user.
    """
    is_unknown = may_have_been_acted_on or (isinstance(error, PlatformError) and error.ambiguous)
    is_ambiguous = row.is_ambiguous or is_unknown
    # Prompt retries begin with the first outcome nobody knows, whatever failed before it.
    failures = 1 if is_ambiguous and not row.is_ambiguous else row.fail_count + 1
    changes: dict[str, Any] = {
        "error_message": str(error),
        "fail_count": failures,
        "is_ambiguous": is_ambiguous,
        "last_attempt_at": now,
        "updated_at": now,
    }
    if isinstance(error, NeedsReauth):
        return changes | _judge(row, policy, now, is_ambiguous=is_ambiguous, is_contradicted=is_contradicted)
    next_try = policy.next_try(
        now,
        failures,
        random=random,
        expires_at=row.token_expires_at,
        retry_at=asked_to_wait_until(error, now, LONGEST_TOKEN_WAIT),
        is_ambiguous=is_ambiguous,
        longest_s=LONGEST_WHILE_UNAVAILABLE_S if isinstance(error, LATER) else None,
    )
    if is_contradicted and isinstance(error, PlatformError):
        next_try = now
    return changes | {"reason": reason_of(error), "next_refresh_at": next_try}


def _judge(
    row: Row[Any], policy: RefreshPolicy, now: datetime, *, is_ambiguous: bool, is_contradicted: bool
) -> dict[str, Any]:
    """The platform calls the grant dead. Its user is troubled only when it says so again, after a while."""
    # A clock that was set back must not make the second look wait for days.
    doubted_at = min(row.doubted_at or now, now)
    if row.doubted_at is not None and now - row.doubted_at >= policy.confirm_after and not is_contradicted:
        return ended("ambiguous_rotation" if is_ambiguous else "invalid_grant")
    next_try = now if is_contradicted else max(doubted_at + policy.confirm_after, now)
    return {"doubted_at": doubted_at, "reason": "unavailable", "next_refresh_at": next_try}


def asked_to_wait_until(error: SoulwatchError, now: datetime, longest: timedelta = LONGEST_WAIT) -> datetime | None:
    """The end of the wait that an error asks for, `longest` at most; one of a plugin may be of any form."""
    until = error.retry_at if isinstance(error, Unavailable | RateLimited | Misconfigured) else None
    if not isinstance(until, datetime) or until.tzinfo is None:
        return None
    return min(until, now + longest)


def is_mass(outcomes: Mapping[str, int]) -> bool:
    """Whether a platform calls so many grants dead at once that the platform is more likely at fault than its users.

    `outcomes` counts the connections by the outcome of their refreshes of the last `MASS_WINDOW`.
    """
    dead = outcomes.get("NeedsReauth", 0)
    return dead > MASS and dead > MASS_SHARE * sum(outcomes.values())


def held_back(row: Row[Any], now: datetime) -> dict[str, Any] | None:
    """The columns of a connection that is spared for now because too many were called dead; None when spared enough."""
    if row.doubted_at is None or now - row.doubted_at > MASS_IS_HELD:
        return None
    return {"reason": "unavailable", "next_refresh_at": now + MASS_WINDOW}


def ended(reason: str) -> dict[str, Any]:
    """The columns of a connection that only its user can bring back."""
    return {"status": "needs_reauth", "reason": reason, "next_refresh_at": None}


def few_of(rows: Iterable[Row[Any]], places: Mapping[str, int]) -> list[Row[Any]]:
    """The rows to begin with: of a platform with so many places no more, since the others would be turned away."""
    left = dict(places)
    few = []
    for row in rows:
        if left.get(row.platform, 1) > 0:
            few.append(row)
        if row.platform in left:
            left[row.platform] -= 1
    return few
