"""One attempt to refresh one connection: what is tried, how far it got, and what its failure is called."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx
from sqlalchemy import Row

from soulwatch.api import cause
from soulwatch.errors import PlatformError, SoulwatchError, Unavailable
from soulwatch.host.safe import RawAnswer
from soulwatch.host.send_once import SendOnce
from soulwatch.token_answer import may_hold_token
from soulwatch.values import Client

logger = logging.getLogger("soulwatch.tokens")


@dataclass(slots=True)
class Attempt:
    """A claimed connection and the journal entry of what is being tried for it."""

    row: Row[Any]
    id: int
    deadline: float
    """Monotonic time after which nothing may be sent."""
    answer: RawAnswer | None = None
    """What was answered before a crash, to be read instead of sending."""
    is_in_doubt: bool = False
    """Somebody tried before, who may still be about to keep an answer."""
    transport: SendOnce | None = None
    client: Client | None = None
    """As which OAuth client the platform was asked."""
    asking: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around sending and reading, which may be cut off; what is written down afterwards may not."""

    def state_after(self, broken: Exception) -> str:
        """How the journal closes this attempt; `received` where its answer still has to be read."""
        kept = self.kept
        if kept is None:
            return "unknown" if self.may_have_been_acted_on else "not_sent"
        # What a plugin at fault could not read may be the only token there is.
        is_read = isinstance(broken, PlatformError | httpx.HTTPError)
        return "rejected" if is_read or not may_hold_token(kept.status, kept.body) else "received"

    @property
    def kept(self) -> RawAnswer | None:
        """The platform's answer, where there is one in the journal."""
        return self.answer or (self.transport.answer if self.transport else None)

    @property
    def whose(self) -> dict[str, str]:
        """For the log."""
        return {"platform": self.row.platform, "connection": self.row.id, "user": self.row.user_id}

    @property
    def may_have_been_acted_on(self) -> bool:
        """Whether the platform may have used up the refresh token although no answer is kept."""
        return self.transport is not None and self.transport.is_sent and self.transport.answer is None


def named(broken: Exception, attempt: Attempt) -> SoulwatchError:
    """A transport's error as one of ours; whether the platform may have acted is known by what left this host."""
    if isinstance(broken, PlatformError):
        if attempt.may_have_been_acted_on:
            broken.ambiguous = True
        return broken
    if isinstance(broken, SoulwatchError):
        return broken
    kind, ambiguous = type(broken).__name__, attempt.may_have_been_acted_on
    if isinstance(broken, httpx.HTTPError):
        return Unavailable(f"The token endpoint could not be asked: {cause(broken)}.", code=kind, ambiguous=ambiguous)
    logger.error("a refresh failed in a way nobody foresaw", exc_info=broken, extra={"connection": attempt.row.id})
    return Unavailable(f"The refresh failed in a way nobody foresaw: {kind}.", code=kind, ambiguous=ambiguous)
