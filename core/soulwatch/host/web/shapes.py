"""What the API says about things: each field is declared here, and nothing else ever leaves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row

from soulwatch.host.platforms import Platforms
from soulwatch.host.poller import Outcome
from soulwatch.values import Event


def time(at: datetime | None) -> str | None:
    """A time as RFC 3339 in UTC."""
    return at.isoformat().replace("+00:00", "Z") if at else None


def connection_shape(platforms: Platforms, row: Row[Any], polls: Sequence[Row[Any]]) -> dict[str, Any]:
    """A connection with the polls of its endpoints; no token in it."""
    return {
        "id": row.id,
        "user": row.user_id,
        "platform": row.platform,
        "title": platforms.title(row.platform),
        "account": {"id": row.account_id, "name": row.account_name},
        "status": row.status,
        "reason": row.reason,
        "message": row.error_message,
        "scopes": row.scopes.split(),
        "last_sync": time(row.last_sync),
        "token_expires_at": time(row.token_expires_at),
        "grant_expires_at": time(row.grant_expires_at),
        "next_refresh_at": time(row.next_refresh_at),
        "created_at": time(row.created_at),
        "polls": [poll_shape(poll) for poll in polls],
    }


def poll_shape(poll: Row[Any]) -> dict[str, Any]:
    """How one endpoint of a connection stands."""
    return {
        "data_type": poll.data_type,
        "due_at": time(poll.due_at),
        "last_polled_at": time(poll.last_polled_at),
        "reason": poll.reason,
        "message": poll.error_message,
    }


def item_shape(row: Row[Any]) -> dict[str, Any]:
    """A stored item; `raw_data` is the platform's own JSON, passed through as it is."""
    raw = row.raw_data
    return {
        "id": row.id,
        "user": row.user_id,
        "connection": row.connection_id,
        "platform": row.platform,
        "data_type": row.data_type,
        "key": row.item_key,
        "extracted_at": time(row.extracted_at),
        "raw_data": msgspec.Raw(raw.encode() if isinstance(raw, str) else msgspec.json.encode(raw)),
    }


def event_shape(event: Event) -> dict[str, Any]:
    """An event as sockets and the API tell it: its own fields beside the common ones, which they cannot replace."""
    return {
        **event.data,
        "type": event.type,
        "user": event.user,
        "platform": event.platform,
        "connection": event.connection,
        "seq": event.seq,
        "at": time(event.at),
    }


def outcome_shape(outcome: Outcome) -> dict[str, Any]:
    """How one poll went."""
    return {
        "connection": outcome.connection,
        "platform": outcome.platform,
        "data_type": outcome.data_type,
        "new": outcome.new,
        "problem": outcome.problem,
    }
