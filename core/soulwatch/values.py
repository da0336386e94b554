"""The values that hooks speak of: frozen, times aware UTC, secrets hidden in `repr`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

Status = Literal["connected", "needs_reauth", "disconnected"]


@dataclass(frozen=True, slots=True)
class Client:
    """*Our* OAuth registration with a platform."""

    id: str
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """What lets us act for a connection.

    `expires_at` None means the platform named no end. `grant_expires_at` is when refreshing itself ends.
    """

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    grant_expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """Who a connection belongs to at its platform."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Connection:
    """One user's account on one platform, connected once."""

    id: str
    user: str
    platform: str
    account: Account
    scopes: tuple[str, ...] = ()
    status: Status = "connected"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing a platform told us.

    `raw` is its JSON text in UTF-8, as it will be stored; `digest` tells whether it changed (16 bytes over the
    canonical form, volatile fields left out).
    """

    key: str
    raw: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the next poll goes on from: `position` is the endpoint's own text, `etag` the platform's."""

    position: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One answer's items. `cursor` is where a next poll would start; the host keeps it when all is stored."""

    items: tuple[Item, ...] = ()
    cursor: Cursor | None = None
    is_last: bool = False
    """Whether the platform has no more; what it says late is still read."""
    total: int | None = None
    wait: timedelta | None = None
    """How long the platform asks not to be polled again (GitHub's `X-Poll-Interval`)."""
    message: str | None = None
    """Something the user should know about this page, such as a gap in what the platform keeps."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened and is worth telling: ids and counts, never raw data.

    `seq` counts up for each user without holes; 0 until the event is stored.
    """

    type: str
    user: str
    platform: str | None = None
    connection: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None
    seq: int = 0
