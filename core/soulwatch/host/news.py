"""The five reserved events, each made in one place: their fields are promised in docs/reference/events.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from soulwatch.values import Connection, Event, Token

SOCKETS_OWN = ("ready", "resync", "ping", "pong")
"""Types of the messages that the socket itself sends; no event may be mistaken for one."""
RESERVED = ("platform_sync", "token_refresh", "new_data", "extraction_progress", "connection_status")


def token_refresh(row: Row[Any], title: str, token: Token) -> Event:
    """A connection has a new token."""
    expires_at = token.expires_at.isoformat().replace("+00:00", "Z") if token.expires_at else None
    data = {"message": f"{title}: token refreshed", "expiresAt": expires_at}
    return Event("token_refresh", row.user_id, row.platform, row.id, data)


def status(row: Row[Any], changes: Mapping[str, Any]) -> Event:
    """How a connection is, where that changed; `changes` holds the columns that did."""
    data = {
        "status": changes.get("status", row.status),
        "reason": changes.get("reason"),
        "message": changes.get("error_message") or "",
    }
    return Event("connection_status", row.user_id, row.platform, row.id, data)


def endpoint_status(whose: Connection, data_type: str, reason: str | None, message: str) -> Event:
    """How the polling of one endpoint is, where that changed."""
    data = {"status": whose.status, "reason": reason, "dataType": data_type, "message": message}
    return Event("connection_status", whose.user, whose.platform, whose.id, data)


def new_data(whose: Connection, data_type: str, count: int) -> Event:
    """Items were stored that were not there, or not so, before."""
    data = {"dataType": data_type, "count": count, "message": f"{count} new in {data_type}"}
    return Event("new_data", whose.user, whose.platform, whose.id, data)


def progress(whose: Connection, data_type: str, done: int, total: int | None) -> Event:
    """A poll of several pages is under way: `done` items read, of `total` where the platform says it."""
    data = {"dataType": data_type, "done": done, "total": total}
    return Event("extraction_progress", whose.user, whose.platform, whose.id, data)


def platform_sync(whose: Connection, data_type: str, count: int, message: str) -> Event:
    """A poll ended well."""
    data = {"dataType": data_type, "count": count, "message": message}
    return Event("platform_sync", whose.user, whose.platform, whose.id, data)
