"""The tables, one description for SQLite and PostgreSQL."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

LETTERLESS = re.compile("[\\x00\\ud800-\\udfff]")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on every database; SQLite itself would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC, without its zone where the database keeps none."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Back to aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text from outside. PostgreSQL takes no U+0000 and no half of a surrogate pair, so neither database gets one."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """The text, with what cannot be stored replaced."""
        return value if value is None else LETTERLESS.sub("\N{REPLACEMENT CHARACTER}", value)


# Values of JSON columns are texts already: the engine's serializer passes them through (see database.py).
JsonText = JSON().with_variant(JSONB(), "postgresql")
AutoId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

connections = Table(
    "platform_connections",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("account_id", Words, nullable=False),
    Column("account_name", Words, nullable=False),
    Column("access_token", LargeBinary, comment="sealed"),
    Column("refresh_token", LargeBinary, comment="sealed"),
    Column("token_expires_at", UtcDateTime),
    Column("token_issued_at", UtcDateTime),
    Column("token_fingerprint", LargeBinary, comment="keyed hash of the refresh token, to compare without opening"),
    Column("grant_expires_at", UtcDateTime),
    Column("foretold_days", Integer, comment="how many days before its end the user was last told"),
    Column("generation", Integer, nullable=False, server_default="1"),
    Column("scopes", Words, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("error_message", Words),
    Column("last_sync", UtcDateTime),
    Column("next_refresh_at", UtcDateTime),
    Column("last_attempt_at", UtcDateTime),
    Column("fail_count", Integer, nullable=False, server_default="0"),
    Column("doubted_at", UtcDateTime, comment="when the platform first called the grant dead"),
    Column("is_ambiguous", Boolean, nullable=False, server_default=false()),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", Text),
    Column("lease_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "platform", "account_id"),
)
Index(
    "ix_platform_connections_due",
    connections.c.next_refresh_at,
    sqlite_where=text("status = 'connected' AND next_refresh_at IS NOT NULL"),
    postgresql_where=text("status = 'connected' AND next_refresh_at IS NOT NULL"),
)

Index(
    "ix_platform_connections_grant_end",
    connections.c.grant_expires_at,
    sqlite_where=text("status = 'connected' AND grant_expires_at IS NOT NULL"),
    postgresql_where=text("status = 'connected' AND grant_expires_at IS NOT NULL"),
)

data_keys = Table(
    "sealed_data_keys",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("sealed_key", LargeBinary, nullable=False),
)

attempts = Table(
    "refresh_attempts",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("connection_id", Text, nullable=False, index=True),
    Column("platform", Text, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("token_fingerprint", LargeBinary),
    Column("state", Text, nullable=False),
    Column("answer", LargeBinary, comment="sealed raw answer, until it is applied"),
    Column("outcome", Text, comment="in one word: whose matter it was"),
    Column("detail", Words),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, index=True),
)
Index(
    "ix_refresh_attempts_open",
    attempts.c.connection_id,
    sqlite_where=text("state IN ('intent', 'received')"),
    postgresql_where=text("state IN ('intent', 'received')"),
)

polls = Table(
    "polls",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("connection_id", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("data_type", Text, nullable=False),
    Column("cursor", Words),
    Column("etag", Words),
    Column("is_whole", Boolean, nullable=False, server_default=false(), comment="whether the last reading ended"),
    Column("due_at", UtcDateTime, comment="none: only when asked"),
    Column("last_polled_at", UtcDateTime),
    Column("reason", Text),
    Column("error_message", Words),
    Column("fail_count", Integer, nullable=False, server_default="0"),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("lease_owner", Text),
    Column("lease_until", UtcDateTime),
    UniqueConstraint("connection_id", "data_type"),
    Index("ix_polls_due_at", "due_at"),
)

items = Table(
    "user_platform_data",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("user_id", Text, nullable=False),
    Column("connection_id", Text, nullable=False),
    Column("platform", Text, nullable=False),
    Column("data_type", Text, nullable=False),
    Column("item_key", Words, nullable=False),
    Column("raw_data", JsonText, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("extracted_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime),
    Column("superseded_at", UtcDateTime),
    Column("deleted_at", UtcDateTime),
    Index("ix_user_platform_data_user_id", "user_id", "platform", "data_type", "extracted_at"),
)
Index(
    "uq_user_platform_data_current",
    items.c.connection_id,
    items.c.data_type,
    items.c.item_key,
    unique=True,
    sqlite_where=text("superseded_at IS NULL"),
    postgresql_where=text("superseded_at IS NULL"),
)

events = Table(
    "events",
    metadata,
    Column("id", AutoId, primary_key=True, autoincrement=True),
    Column("user_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("platform", Text),
    Column("connection_id", Text),
    Column("data", JsonText, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    UniqueConstraint("user_id", "seq"),
)
user_streams = Table(
    "user_streams",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
)

flows = Table(
    "connect_flows",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("platform", Text),
    Column("state_hash", LargeBinary, unique=True),
    Column("browser_hash", LargeBinary, comment="who started it: hash of that browser's cookie"),
    Column("link_hash", LargeBinary, unique=True, comment="an application's link, used once"),
    Column("verifier", LargeBinary, comment="PKCE, sealed"),
    Column("sealed_key", LargeBinary),
    Column("return_to", Text),
    Column("found", LargeBinary, comment="sealed account and token, until the application redeems them"),
    Column("redeem_hash", LargeBinary),
    Column("started_by", Text, nullable=False),
    Column("taken_at", UtcDateTime),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
)

passes = Table(
    "passes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("kind", Text, nullable=False, comment="login_code, session or ticket"),
    Column("user_id", Text),
    Column("origin", Text),
    Column("created_by", Text),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
    Column("seen_at", UtcDateTime),
    Column("ends_at", UtcDateTime, comment="a session's end however much it is used"),
)

breakers = Table(
    "client_breakers",
    metadata,
    Column("client", Text, primary_key=True, comment="our OAuth client with a trace of its secret; or a platform"),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("probe_at", UtcDateTime, nullable=False, comment="when one refresh may try whether it was mended"),
    Column("message", Text, nullable=False),
)

key_checks = Table(
    "key_checks",
    metadata,
    Column("kid", LargeBinary, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
