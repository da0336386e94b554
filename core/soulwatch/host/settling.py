"""What a refresh that did not bring a token means for its connection: pure decisions, written down by the caller."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from soulwatch.errors import NeedsReauth, PlatformError, RateLimited, SoulwatchError, Unavailable, UnexpectedAnswer
from soulwatch.host.timing import RefreshPolicy

LATER = (Unavailable, UnexpectedAnswer)


def reason_of(error: SoulwatchError) -> str:
    """The machine-readable reason for an error that is not the user's: who can help is in the word."""
    if isinstance(error, RateLimited):
        return "rate_limited"
    return "unavailable" if isinstance(error, LATER) else "misconfigured"


def changes_after(
    row: Row[Any],
    error: SoulwatchError,
    policy: RefreshPolicy,
    now: datetime,
    random: float,
    *,
    is_contradicted: bool = False,
) -> dict[str, Any]:
    """The columns of a connection after `error`.

    `is_contradicted` says that the journal holds an answer nobody has applied yet. `status` is among the columns
    only where the connection now needs its user.
    """
    is_ambiguous = row.is_ambiguous or (isinstance(error, PlatformError) and error.ambiguous)
    changes: dict[str, Any] = {
        "error_message": str(error),
        "fail_count": row.fail_count + 1,
        "is_ambiguous": is_ambiguous,
        "last_attempt_at": now,
        "updated_at": now,
    }
    if isinstance(error, NeedsReauth):
        return changes | _judge(row, policy, now, is_ambiguous=is_ambiguous, is_contradicted=is_contradicted)
    next_try = policy.next_try(
        now,
        row.fail_count + 1,
        random=random,
        expires_at=row.token_expires_at,
        retry_at=error.retry_at if isinstance(error, Unavailable | RateLimited) else None,
        is_ambiguous=is_ambiguous,
    )
    return changes | {"reason": reason_of(error), "next_refresh_at": next_try}


def _judge(
    row: Row[Any], policy: RefreshPolicy, now: datetime, *, is_ambiguous: bool, is_contradicted: bool
) -> dict[str, Any]:
    """The platform calls the grant dead. Its user is troubled only when it says so again, after a while."""
    doubted_at = row.doubted_at or now
    if row.doubted_at is not None and now - row.doubted_at >= policy.confirm_after and not is_contradicted:
        return ended("ambiguous_rotation" if is_ambiguous else "invalid_grant")
    next_try = now if is_contradicted else max(doubted_at + policy.confirm_after, now)
    return {"doubted_at": doubted_at, "reason": "unavailable", "next_refresh_at": next_try}


def ended(reason: str) -> dict[str, Any]:
    """The columns of a connection that only its user can bring back."""
    return {"status": "needs_reauth", "reason": reason, "next_refresh_at": None}
