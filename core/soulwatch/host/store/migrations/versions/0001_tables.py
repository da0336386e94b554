"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

auto_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
json_text = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "client_breakers",
        sa.Column(
            "client",
            sa.Text(),
            nullable=False,
            comment="our OAuth client with a trace of its secret; or a platform",
        ),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "probe_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when one refresh may try whether it was mended",
        ),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("client", name=op.f("pk_client_breakers")),
    )
    op.create_table(
        "connect_flows",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("state_hash", sa.LargeBinary(), nullable=True),
        sa.Column(
            "browser_hash", sa.LargeBinary(), nullable=True, comment="who started it: hash of that browser's cookie"
        ),
        sa.Column("link_hash", sa.LargeBinary(), nullable=True, comment="an application's link, used once"),
        sa.Column("verifier", sa.LargeBinary(), nullable=True, comment="PKCE, sealed"),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("return_to", sa.Text(), nullable=True),
        sa.Column(
            "found",
            sa.LargeBinary(),
            nullable=True,
            comment="sealed account and token, until the application redeems them",
        ),
        sa.Column("redeem_hash", sa.LargeBinary(), nullable=True),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connect_flows")),
        sa.UniqueConstraint("link_hash", name=op.f("uq_connect_flows_link_hash")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_connect_flows_state_hash")),
    )
    op.create_index(op.f("ix_connect_flows_expires_at"), "connect_flows", ["expires_at"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", auto_id, autoincrement=True, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("connection_id", sa.Text(), nullable=True),
        sa.Column("data", json_text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("user_id", "seq", name=op.f("uq_events_user_id_seq")),
    )
    op.create_table(
        "key_checks",
        sa.Column("kid", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_key_checks")),
    )
    op.create_table(
        "passes",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="login_code, session or ticket"),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "ends_at", sa.DateTime(timezone=True), nullable=True, comment="a session's end however much it is used"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_passes")),
    )
    op.create_index(op.f("ix_passes_expires_at"), "passes", ["expires_at"], unique=False)
    op.create_table(
        "platform_connections",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("account_name", sa.Text(), nullable=False),
        sa.Column("access_token", sa.LargeBinary(), nullable=True, comment="sealed"),
        sa.Column("refresh_token", sa.LargeBinary(), nullable=True, comment="sealed"),
        sa.Column("token_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("token_issued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "token_fingerprint",
            sa.LargeBinary(),
            nullable=True,
            comment="keyed hash of the refresh token, to compare without opening",
        ),
        sa.Column("grant_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "foretold_days", sa.Integer(), nullable=True, comment="how many days before its end the user was last told"
        ),
        sa.Column("generation", sa.Integer(), server_default="1", nullable=False),
        sa.Column("scopes", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("last_sync", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_refresh_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fail_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "doubted_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the platform first called the grant dead",
        ),
        sa.Column("is_ambiguous", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_platform_connections")),
        sa.UniqueConstraint(
            "user_id", "platform", "account_id", name=op.f("uq_platform_connections_user_id_platform_account_id")
        ),
    )
    op.create_index(
        "ix_platform_connections_due",
        "platform_connections",
        ["next_refresh_at"],
        unique=False,
        sqlite_where=sa.text("status = 'connected' AND next_refresh_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'connected' AND next_refresh_at IS NOT NULL"),
    )
    op.create_index(
        "ix_platform_connections_grant_end",
        "platform_connections",
        ["grant_expires_at"],
        unique=False,
        sqlite_where=sa.text("status = 'connected' AND grant_expires_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'connected' AND grant_expires_at IS NOT NULL"),
    )
    op.create_table(
        "polls",
        sa.Column("id", auto_id, autoincrement=True, nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column(
            "is_whole",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="whether the last reading ended",
        ),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True, comment="none: only when asked"),
        sa.Column("last_polled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("fail_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_polls")),
        sa.UniqueConstraint("connection_id", "data_type", name=op.f("uq_polls_connection_id_data_type")),
    )
    op.create_index("ix_polls_due_at", "polls", ["due_at"], unique=False)
    op.create_table(
        "refresh_attempts",
        sa.Column("id", auto_id, autoincrement=True, nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("token_fingerprint", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True, comment="sealed raw answer, until it is applied"),
        sa.Column("outcome", sa.Text(), nullable=True, comment="in one word: whose matter it was"),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refresh_attempts")),
    )
    op.create_index(op.f("ix_refresh_attempts_connection_id"), "refresh_attempts", ["connection_id"], unique=False)
    op.create_index(op.f("ix_refresh_attempts_finished_at"), "refresh_attempts", ["finished_at"], unique=False)
    op.create_index(
        "ix_refresh_attempts_open",
        "refresh_attempts",
        ["connection_id"],
        unique=False,
        sqlite_where=sa.text("state IN ('intent', 'received')"),
        postgresql_where=sa.text("state IN ('intent', 'received')"),
    )
    op.create_table(
        "sealed_data_keys",
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_sealed_data_keys")),
    )
    op.create_table(
        "user_platform_data",
        sa.Column("id", auto_id, autoincrement=True, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("data_type", sa.Text(), nullable=False),
        sa.Column("item_key", sa.Text(), nullable=False),
        sa.Column("raw_data", json_text, nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("extracted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_platform_data")),
    )
    op.create_index(
        "ix_user_platform_data_user_id",
        "user_platform_data",
        ["user_id", "platform", "data_type", "extracted_at"],
        unique=False,
    )
    op.create_index(
        "uq_user_platform_data_current",
        "user_platform_data",
        ["connection_id", "data_type", "item_key"],
        unique=True,
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.create_table(
        "user_streams",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_streams")),
    )


def downgrade() -> None:
    op.drop_table("user_streams")
    op.drop_index(
        "uq_user_platform_data_current",
        table_name="user_platform_data",
        sqlite_where=sa.text("superseded_at IS NULL"),
        postgresql_where=sa.text("superseded_at IS NULL"),
    )
    op.drop_index("ix_user_platform_data_user_id", table_name="user_platform_data")
    op.drop_table("user_platform_data")
    op.drop_table("sealed_data_keys")
    op.drop_index(
        "ix_refresh_attempts_open",
        table_name="refresh_attempts",
        sqlite_where=sa.text("state IN ('intent', 'received')"),
        postgresql_where=sa.text("state IN ('intent', 'received')"),
    )
    op.drop_index(op.f("ix_refresh_attempts_finished_at"), table_name="refresh_attempts")
    op.drop_index(op.f("ix_refresh_attempts_connection_id"), table_name="refresh_attempts")
    op.drop_table("refresh_attempts")
    op.drop_index("ix_polls_due_at", table_name="polls")
    op.drop_table("polls")
    op.drop_index(
        "ix_platform_connections_grant_end",
        table_name="platform_connections",
        sqlite_where=sa.text("status = 'connected' AND grant_expires_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'connected' AND grant_expires_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_platform_connections_due",
        table_name="platform_connections",
        sqlite_where=sa.text("status = 'connected' AND next_refresh_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'connected' AND next_refresh_at IS NOT NULL"),
    )
    op.drop_table("platform_connections")
    op.drop_index(op.f("ix_passes_expires_at"), table_name="passes")
    op.drop_table("passes")
    op.drop_table("key_checks")
    op.drop_table("events")
    op.drop_index(op.f("ix_connect_flows_expires_at"), table_name="connect_flows")
    op.drop_table("connect_flows")
    op.drop_table("client_breakers")
    op.drop_table("api_keys")
