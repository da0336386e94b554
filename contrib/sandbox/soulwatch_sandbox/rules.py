"""What differs between the three poses in how they handle tokens, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pose = Literal["sandbox", "spotify", "github"]
Rotation = Literal["none", "grace", "strict"]

POSES: tuple[Pose, ...] = ("sandbox", "spotify", "github")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """A platform's habits with codes and tokens. Lives are in seconds; None is without end."""

    life: float | None = 900
    rotation: Rotation = "grace"
    grace: float = 60
    """How long a refresh token goes on working after it was used, under rotation "grace"."""
    refresh_life: float | None = None
    reuse_revokes: bool = True
    """Whether using a dead refresh token again kills the whole grant (RFC 9700 section 4.14.2)."""
    replay_revokes: bool = True
    """Whether using a code again kills the whole grant (RFC 6749 section 4.1.2)."""
    old_access_dies: bool = False
    code_life: float = 60
    expires_on_request: bool = False
    """Whether tokens expire only for clients or sign-ins that ask for it (GitHub's OAuth apps)."""
    needs_pkce: bool = True


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many requests in so many seconds, counted for each grant."""

    requests: int
    window_s: float


SPOTIFY = TokenRules(life=3600, rotation="none", replay_revokes=False, needs_pkce=False)

GITHUB = TokenRules(
    life=28800,
    rotation="strict",
    refresh_life=15897600,
    reuse_revokes=False,
    replay_revokes=False,
    old_access_dies=True,
    code_life=600,
    expires_on_request=True,
    needs_pkce=False,
)

GITHUB_LIMIT = RateLimit(requests=5000, window_s=3600)
