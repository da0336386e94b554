"""How many requests each grant has made in the current window. Forgotten at a restart, as limits may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from soulwatch_sandbox.rules import Pose, RateLimit


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a grant stands; `reset` is when its window ends, in seconds since 1970."""

    limit: int
    used: int
    reset: int
    wait_s: int

    @property
    def remaining(self) -> int:
        """Requests left in this window."""
        return max(0, self.limit - self.used)

    @property
    def is_over(self) -> bool:
        """Whether this request is one too many."""
        return self.used > self.limit


class Meter:
    """Counts requests by grant. `limits` may be changed while it runs; None is no limit."""

    def __init__(self, limits: dict[Pose, RateLimit | None], now: Callable[[], datetime]) -> None:
        self.limits = limits
        self._now = now
        self._used: dict[tuple[str, int], int] = {}

    def take(self, pose: Pose, grant: str, count: int = 1) -> Reading | None:
        """Count a request (or, with -1, take one back). None where there is no limit."""
        limit = self.limits.get(pose)
        if limit is None:
            return None
        now = self._now().timestamp()
        window = int(now // limit.window_s)
        if len(self._used) > 10_000:  # noqa: PLR2004
            self._used.clear()
        used = self._used[grant, window] = self._used.get((grant, window), 0) + count
        reset = (window + 1) * limit.window_s
        return Reading(limit.requests, used, math.ceil(reset), max(1, math.ceil(reset - now)))
