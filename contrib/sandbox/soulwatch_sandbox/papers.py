"""What is handed over a token endpoint's counter, as values."""

from __future__ import annotations

from dataclasses import dataclass, field

from soulwatch_sandbox.rules import Pose


class Refused(Exception):
    """A token endpoint says no, in the words of RFC 6749 section 5.2."""

    def __init__(self, error: str, description: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.description = description


@dataclass(frozen=True, slots=True)
class Grant:
    """What one person allowed one client."""

    id: str
    pose: Pose
    client: str
    person: str
    scope: tuple[str, ...]
    revoked: bool
    generation: int
    """How often tokens were issued for it."""
    why: str | None = None
    """What revoked it."""


@dataclass(frozen=True, slots=True)
class Issued:
    """Tokens on their way to a client."""

    grant: str
    generation: int
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_in: int | None
    refresh_expires_in: int | None
    scope: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """What an access token stands for; `verdict` is "good", "unknown", "expired" or "revoked"."""

    verdict: str
    grant: Grant | None = None
    generation: int = 0
