"""When things happen in the sandbox: a steady beat from a remembered beginning, and what a test adds by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from soulwatch_sandbox.ledger import Ledger
from soulwatch_sandbox.rules import Pose

RESTING_BEAT_MS = 60_000
DEEPEST = 1000
"""How many moments back a list goes at most."""


class Timeline:
    """The moments at which something happened to a person, in milliseconds since 1970.

    `item_every` None or 0 means that nothing new happens but by `add`; what happened before stays.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], datetime], item_every: float | None, first_items: int) -> None:
        self._ledger = ledger
        self._now = now
        self._stands_still = not item_every
        self.beat_ms = max(1, round(item_every * 1000)) if item_every else RESTING_BEAT_MS
        self._first_items = first_items
        begin = self.now_ms() - max(first_items - 1, 0) * self.beat_ms
        self._epoch_ms = int(ledger.fact("epoch_ms", str(begin)))

    def now_ms(self) -> int:
        """The clock."""
        return int(self._now().timestamp() * 1000)

    def newest(self) -> int:
        """The newest moment of the steady beat."""
        return self._epoch_ms + self._last_beat() * self.beat_ms

    def add(self, pose: Pose, person: str) -> int:
        """Let something happen now."""
        ms = self.now_ms()
        with self._ledger.change() as db:
            latest = db.execute("select max(ms) from added where pose = ? and person = ?", (pose, person))
            ms = max(ms, (latest.fetchone()[0] or 0) + 1)
            if (ms - self._epoch_ms) % self.beat_ms == 0:
                ms += 1  # not to share a moment, and so a key, with the steady beat
            db.execute("insert into added values (?, ?, ?)", (pose, person, ms))
        return ms

    def moments(
        self, pose: Pose, person: str, limit: int, after: int | None = None, before: int | None = None
    ) -> list[int]:
        """At most `limit` moments strictly between `after` and `before`, newest first."""
        low = -1 if after is None else after
        # Hand-made moments may lie a few milliseconds ahead when many are added at once.
        high = self.now_ms() + 60_000 if before is None else before
        rows = self._ledger.rows(
            "select ms from added where pose = ? and person = ? and ms > ? and ms < ? order by ms desc limit ?",
            pose,
            person,
            low,
            high,
            limit,
        )
        both = [*(row["ms"] for row in rows), *self._beats(low, high, limit)]
        return sorted(both, reverse=True)[:limit]

    def _beats(self, low: int, high: int, limit: int) -> list[int]:
        last = self._last_beat()
        oldest = max(0, last - DEEPEST + 1)
        start = min(last, (high - 1 - self._epoch_ms) // self.beat_ms)
        stop = max(oldest, (low - self._epoch_ms) // self.beat_ms + 1)
        beats = range(start, max(stop - 1, start - limit), -1)
        return [self._epoch_ms + beat * self.beat_ms for beat in beats]

    def _last_beat(self) -> int:
        first = self._first_items - 1
        if self._stands_still:
            return first
        return max(min(0, first), (self.now_ms() - self._epoch_ms) // self.beat_ms)


def iso(ms: int) -> str:
    """A moment as Spotify and the sandbox write it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_seconds(ms: int) -> str:
    """A moment as GitHub writes it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
