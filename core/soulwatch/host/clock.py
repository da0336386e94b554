"""Wall time, monotonic time, sleep and randomness: the one door to each, so that a test can play all four."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


class Clock(Protocol):
    """What the host asks of time and chance; `SystemClock` is the real one, `soulwatch.testing.clock` plays it."""

    def now(self) -> datetime:
        """The wall time, aware and UTC. It may jump either way; measure durations with `monotonic`."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards. It may stand still while the machine is suspended."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that many monotonic seconds; zero or less only lets others go first."""
        ...

    def random(self) -> float:
        """A number in [0, 1), for jitter."""
        ...

    def token_bytes(self, count: int) -> bytes:
        """That many unpredictable bytes, fit for a secret."""
        ...


class SystemClock:
    """The machine's own time and the kernel's own chance."""

    def now(self) -> datetime:
        """The machine's wall time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep in the event loop, open to cancellation even when there is nothing to wait for."""
        await anyio.sleep(max(0.0, seconds))

    def random(self) -> float:
        """Chance from the kernel: workers forked from one parent must not share their jitter."""
        return secrets.SystemRandom().random()

    def token_bytes(self, count: int) -> bytes:
        """Secret bytes from the kernel."""
        return secrets.token_bytes(count)
