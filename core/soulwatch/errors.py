"""Every error soulwatch raises, grouped by who can help.

SoulwatchError
├── SettingsError        the operator mends the settings; the host does not start
├── PluginError          one plugin is at fault; the host goes on without it
├── NotFound             no such user, connection or platform: the caller mends the name
├── KeyUnavailable       (host) a key is missing from the ring: the operator restores it
├── SealBroken           (host) what was sealed was changed or moved: the operator restores a backup
├── FlowRefused          (host) a connection attempt cannot go on: its user starts it again
└── PlatformError        one platform said no; what happens next depends on how
    ├── Unavailable          try again later
    │   └── TokenRefused     (host) a token that cannot be renewed is doubted: asked again before its user is told
    ├── RateLimited          try again at `retry_at`
    ├── NeedsReauth          only the connection's user can help
    ├── Misconfigured        only the operator can help
    ├── CursorExpired        start over from the beginning
    └── UnexpectedAnswer     the platform changed shape: skip and report
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal


class SoulwatchError(Exception):
    """Something went wrong in soulwatch; see the log of this run."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


class SettingsError(SoulwatchError):
    """The settings are wrong; `soulwatch config` shows what is in force and where it came from."""


class NotFound(SoulwatchError):
    """There is no such thing; `soulwatch connections` and `soulwatch plugins` list what there is."""


class PluginError(SoulwatchError):
    """A plugin is at fault; `soulwatch plugins` names it and says why."""

    def __init__(self, message: str | None = None, *, plugin: str = "") -> None:
        super().__init__(message)
        self.plugin = plugin


class PlatformError(SoulwatchError):
    """A platform refused or could not be asked."""

    def __init__(self, message: str | None = None, *, code: str = "", ambiguous: bool = False) -> None:
        super().__init__(message)
        self.code = code
        """The platform's own error code, where it gave one (RFC 6749 section 5.2)."""
        self.ambiguous = ambiguous
        """Whether the platform may have done what was asked although no answer says so."""


class Unavailable(PlatformError):
    """The platform cannot be reached or is not answering properly; it is asked again later."""

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_at: datetime | None = None,
        code: str = "",
        ambiguous: bool = False,
    ) -> None:
        super().__init__(message, code=code, ambiguous=ambiguous)
        self.retry_at = retry_at


class RateLimited(PlatformError):
    """The platform asks to wait; it is asked again at `retry_at`."""

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_at: datetime | None = None,
        whole: Literal["connection", "client"] = "connection",
        code: str = "",
    ) -> None:
        super().__init__(message, code=code)
        self.retry_at = retry_at
        self.whole = whole
        """What has to wait: this connection, or every connection of our OAuth client."""


class NeedsReauth(PlatformError):
    """The platform no longer honours this connection; its user has to connect it again."""


class Misconfigured(PlatformError):
    """The platform refuses our OAuth client or address; the operator has to mend the settings."""

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str = "",
        is_client: bool = False,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.is_client = is_client
        """Whether it is the OAuth client itself that is refused, for every connection alike."""
        self.retry_at = retry_at


class CursorExpired(PlatformError):
    """The platform no longer knows where we left off; reading starts over."""


class UnexpectedAnswer(PlatformError):
    """The platform answered in a shape its connector does not know; the answer is skipped and reported."""
