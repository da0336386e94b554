"""How long a platform asks us to wait, in every form it is said (RFC 9110 section 10.2.3, and vendors' own)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_WAIT = timedelta(days=31)
"""No platform asks for more; a longer wait is a mistake or a prank and is cut to this."""


def retry_after(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When to ask again: `Retry-After` as seconds or date, else GitHub's `x-ratelimit-reset`. None if unsaid."""
    wait = parse_retry_after(headers.get("retry-after", ""), now)
    if wait is None and headers.get("x-ratelimit-remaining") == "0":
        wait = seconds(headers.get("x-ratelimit-reset", ""), since=now.timestamp())
    if wait is None:
        return None
    return now + min(wait, LONGEST_WAIT)


def parse_retry_after(text: str, now: datetime) -> timedelta | None:
    """A `Retry-After` value (integer, float or HTTP date), never negative. None where it cannot be read."""
    text = text.strip()
    wait = seconds(text)
    if wait is not None or not text:
        return wait
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(date - now, timedelta(0))


def seconds(text: str, since: float = 0.0) -> timedelta | None:
    """So many seconds, or until such a moment in seconds since 1970; never negative, None where it is no number."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return timedelta(seconds=min(max(value - since, 0.0), LONGEST_WAIT.total_seconds()))
