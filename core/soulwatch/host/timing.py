"""When tokens are refreshed, and how long failures are waited out: pure arithmetic, no clock of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from soulwatch.host.cron import phase_of

COOL_DOWNS_S = (30, 60, 120, 300, 900, 1800, 3600)
PROMPT_RETRIES_S = (1, 3, 8, 25, 60)
"""After an outcome nobody knows: a platform with a grace period for used tokens has a short one."""
LONGEST_SPREAD = timedelta(minutes=2)
TRIES_BEFORE_EXPIRY = 3
SHORTEST_CAP = timedelta(seconds=5)
LATE_ANSWER = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class RefreshPolicy:
    """How early, how often and how patiently tokens are refreshed."""

    margin: timedelta = timedelta(minutes=10)
    """How long before its end a token is refreshed; never more than half of its life."""
    lease: timedelta = timedelta(seconds=60)
    """How long one host has the sole right to refresh a connection."""
    floor: timedelta = timedelta(seconds=30)
    """The shortest time between two requests for one connection, save after an unknown outcome or near its end."""
    confirm_after: timedelta = timedelta(seconds=60)
    """How long after a platform called a grant dead it is asked again before its user is troubled."""
    wait: timedelta = timedelta(seconds=10)
    """How long a caller without a usable token waits for another host's refresh."""
    late_answer: timedelta = LATE_ANSWER
    """Before a token of which nobody knows whether it was used is sent again: its answer may be about to be stored."""
    send_within: float = 0.4
    """The part of the lease in which the request has to leave, so that its answer comes within the lease."""

    @classmethod
    def under(cls, margin: timedelta, lease: timedelta) -> RefreshPolicy:
        """The policy for what the operator set; a short lease leaves less time to wait for a late answer."""
        return cls(margin=margin, lease=lease, late_answer=min(LATE_ANSWER, lease / 10))

    @property
    def exchange_within_s(self) -> float:
        """How long a request may take that leaves at the last moment, so that its answer still comes in the lease."""
        return 0.9 * (1 - self.send_within) * self.lease.total_seconds()

    def next_refresh(self, connection_id: str, issued_at: datetime, expires_at: datetime | None) -> datetime | None:
        """When to refresh a token; spread, so that a thousand connected together are not refreshed together."""
        if expires_at is None:
            return None
        life = expires_at - issued_at
        floor = self.floor_for(issued_at, expires_at)
        spread = min(LONGEST_SPREAD, life / 10) * phase_of("refresh", connection_id)
        return max(expires_at - min(self.margin, life / 2) - spread, issued_at + floor)

    def floor_for(self, issued_at: datetime | None, expires_at: datetime | None) -> timedelta:
        """The shortest time between two requests for this token: never so long that it would end in between."""
        if issued_at is None or expires_at is None:
            return self.floor
        return min(self.floor, max(expires_at - issued_at, timedelta(0)) / 2)

    def next_try(
        self,
        now: datetime,
        failures: int,
        *,
        random: float,
        expires_at: datetime | None = None,
        retry_at: datetime | None = None,
        is_ambiguous: bool = False,
        longest_s: float | None = None,
    ) -> datetime:
        """When to try again after the `failures`-th failure in a row; never before `retry_at`.

        A cool-down grows to an hour, or to `longest_s`.
        """
        if is_ambiguous and failures <= len(PROMPT_RETRIES_S):
            return max(now + timedelta(seconds=PROMPT_RETRIES_S[failures - 1]), retry_at or now)
        if is_ambiguous:
            failures -= len(PROMPT_RETRIES_S)
        seconds = min(COOL_DOWNS_S[min(failures, len(COOL_DOWNS_S)) - 1], longest_s or math.inf)
        wait = timedelta(seconds=seconds * (0.5 + random / 2))
        wait = max(wait, self.floor)
        if expires_at is not None and expires_at > now:
            # A few tries should fall before the token ends, however many went wrong so far.
            wait = min(wait, max((expires_at - now) / TRIES_BEFORE_EXPIRY, SHORTEST_CAP))
        return max(now + wait, retry_at or now)
