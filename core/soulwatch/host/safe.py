"""The tokens of connections, between the sealed columns of their rows and the values that refreshes use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from soulwatch.host.vault import Place, Vault
from soulwatch.values import Token

CONNECTIONS = "platform_connections"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A token endpoint's answer as the journal keeps it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    received_at: datetime


class TokenSafe:
    """Seals what belongs to a connection into its columns, and opens it again."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def new_key(self, connection_id: str, user: str, platform: str) -> bytes:
        """A data key for a connection, itself sealed under the primary key."""
        return self._vault.new_data_key(Place(CONNECTIONS, "sealed_key", connection_id, user, platform, 0))

    def seal(
        self, key: bytes, token: Token, *, connection_id: str, user: str, platform: str, generation: int
    ) -> dict[str, Any]:
        """The columns of a connection that hold `token` as its generation `generation`."""

        def sealed(column: str, secret: str | None) -> bytes | None:
            place = Place(CONNECTIONS, column, connection_id, user, platform, generation)
            return None if secret is None else self._vault.seal(key, secret, place)

        return {
            "access_token": sealed("access_token", token.access),
            "refresh_token": sealed("refresh_token", token.refresh),
            "token_fingerprint": self._vault.fingerprint(token.refresh or token.access),
            "token_expires_at": token.expires_at,
            # Without a refresh token the grant ends with the access token.
            "grant_expires_at": token.grant_expires_at or (None if token.refresh else token.expires_at),
            "scopes": " ".join(token.scopes),
            "generation": generation,
        }

    def open(self, row: Row[Any]) -> Token:
        """The token in a connection's row. Raises KeyUnavailable or SealBroken."""

        def opened(column: str) -> str | None:
            sealed = getattr(row, column)
            place = Place(CONNECTIONS, column, row.id, row.user_id, row.platform, row.generation)
            return None if sealed is None else self._vault.open(row.sealed_key, sealed, place)

        return Token(
            access=opened("access_token") or "",
            refresh=opened("refresh_token"),
            expires_at=row.token_expires_at,
            scopes=tuple(row.scopes.split()),
            grant_expires_at=row.grant_expires_at,
        )

    def seal_answer(self, row: Row[Any], attempt_id: int, answer: RawAnswer) -> bytes:
        """A raw token answer, sealed for its attempt in the journal."""
        text = json.dumps(
            {
                "status": answer.status,
                "headers": answer.headers,
                "body": answer.body.decode("utf-8", "surrogateescape"),
                "received_at": answer.received_at.isoformat(),
            }
        )
        return self._vault.seal(row.sealed_key, text, _answer_place(row, attempt_id))

    def open_answer(self, row: Row[Any], attempt_id: int, sealed: bytes) -> RawAnswer:
        """The raw token answer of an attempt, as it came."""
        kept = json.loads(self._vault.open(row.sealed_key, sealed, _answer_place(row, attempt_id)))
        return RawAnswer(
            status=kept["status"],
            headers=[(name, value) for name, value in kept["headers"]],
            body=kept["body"].encode("utf-8", "surrogateescape"),
            received_at=datetime.fromisoformat(kept["received_at"]),
        )

    def forget(self, row: Row[Any]) -> None:
        """Drop a connection's data key from memory."""
        if row.sealed_key is not None:
            self._vault.forget(row.sealed_key)


def _answer_place(row: Row[Any], attempt_id: int) -> Place:
    return Place(
        "refresh_attempts", "answer", str(attempt_id), row.user_id, row.platform, row.generation, connection=row.id
    )
