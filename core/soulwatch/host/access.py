"""Who may come in: API keys, the operator's one-time codes and sessions, single-use tickets for sockets.

Secrets are shown once, when they are made; the store keeps their hashes.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row

from soulwatch.errors import NotFound
from soulwatch.host.clock import Clock
from soulwatch.host.connecting import hashed
from soulwatch.host.store import access
from soulwatch.host.store.database import Database

LOGIN_CODE_LASTS = timedelta(minutes=10)
TICKET_LASTS = timedelta(seconds=30)
SESSION_IDLES = timedelta(hours=12)
SESSION_LASTS = timedelta(days=7)
NOTED_EVERY = timedelta(minutes=1)
KEY_PREFIX = "sw_"
# Letters and digits that are not mistaken for one another when read aloud or typed.
CODE_LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Operator:
    """A signed-in operator. The CSRF token is bound to the session and to nothing else."""

    session_hash: bytes
    csrf_token: str


@dataclass(frozen=True, slots=True)
class Ticket:
    """A socket's pass, used up."""

    user: str
    origin: str | None


class Access:
    """Gives out and checks what opens this host."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def _secret(self, count: int = 32) -> str:
        return base64.urlsafe_b64encode(self._clock.token_bytes(count)).rstrip(b"=").decode()

    async def new_key(self, name: str) -> tuple[str, str]:
        """An API key: its id, and the key itself, which is not kept."""
        key_id, key = self._clock.token_bytes(4).hex(), KEY_PREFIX + self._secret()
        async with self._database.writing() as transaction:
            await access.add_key(transaction, key_id, name, hashed(key), self._clock.now())
        return key_id, key

    async def keys(self) -> Sequence[Row[Any]]:
        """Every API key: id, name, when made, last used, revoked."""
        async with self._database.reading() as transaction:
            return await access.keys(transaction)

    async def revoke_key(self, key_id: str) -> None:
        """An API key opens nothing any more. Raises NotFound."""
        async with self._database.writing() as transaction:
            await access.forget_passes(transaction, f"api key {key_id}")
            if not await access.revoke_key(transaction, key_id, self._clock.now()):
                raise NotFound(f"There is no API key {key_id!r} in force; `soulwatch apikeys list` shows them.")

    async def api_key(self, key: str) -> Row[Any] | None:
        """The API key that was shown, or None where it opens nothing."""
        async with self._database.reading() as transaction:
            row = await access.find_key(transaction, hashed(key))
        now = self._clock.now()
        if row is not None and (row.last_used_at is None or now - row.last_used_at > NOTED_EVERY):
            async with self._database.writing() as transaction:
                await access.used_key(transaction, row.id, now)
        return row

    async def login_code(self) -> str:
        """A code that signs an operator in, once, within ten minutes."""
        letters = [CODE_LETTERS[byte % len(CODE_LETTERS)] for byte in self._clock.token_bytes(12)]
        code = "-".join("".join(letters[at : at + 4]) for at in (0, 4, 8))
        await self._add("login_code", _plain(code), LOGIN_CODE_LASTS)
        return code

    async def sign_in(self, code: str) -> str | None:
        """The secret of a new session for a good code; None for any other."""
        now, secret = self._clock.now(), self._secret()
        async with self._database.writing() as transaction:
            if await access.take_pass(transaction, "login_code", hashed(_plain(code)), now) is None:
                return None
        await self._add("session", secret, SESSION_IDLES, seen_at=now, ends_at=now + SESSION_LASTS)
        return secret

    async def session(self, secret: str) -> Operator | None:
        """The operator whose session this is; it lasts on while used, but not for ever."""
        now = self._clock.now()
        async with self._database.reading() as transaction:
            row = await access.find_pass(transaction, "session", hashed(secret), now)
        if row is None:
            return None
        if now - row.seen_at > NOTED_EVERY:
            async with self._database.writing() as transaction:
                until = min(now + SESSION_IDLES, row.ends_at)
                await access.seen_pass(transaction, row.hash, now, until)
        csrf = hmac.digest(secret.encode(), b"csrf", "sha256")
        return Operator(row.hash, base64.urlsafe_b64encode(csrf).rstrip(b"=").decode())

    async def sign_out(self, secret: str) -> None:
        """A session ends."""
        async with self._database.writing() as transaction:
            await access.forget_pass(transaction, hashed(secret))

    async def ticket(self, user: str, origin: str | None, by: str) -> str:
        """A pass with which one socket may hear this user's events, for thirty seconds."""
        secret = self._secret()
        await self._add("ticket", secret, TICKET_LASTS, user_id=user, origin=origin, created_by=by)
        return secret

    async def take_ticket(self, text: str) -> Ticket | None:
        """Use up a ticket; None where it is unknown, used or too old."""
        async with self._database.writing() as transaction:
            row = await access.take_pass(transaction, "ticket", hashed(text), self._clock.now())
        return Ticket(row.user_id, row.origin) if row else None

    async def prune(self) -> int:
        """Forget what has ended; how many."""
        async with self._database.writing() as transaction:
            return await access.prune(transaction, self._clock.now())

    async def _add(self, kind: str, secret: str, lasts: timedelta, **more: Any) -> None:
        values = {"hash": hashed(secret), "kind": kind, "expires_at": self._clock.now() + lasts, **more}
        async with self._database.writing() as transaction:
            await access.add_pass(transaction, values)


def _plain(code: str) -> str:
    return "".join(letter for letter in code.upper() if letter in CODE_LETTERS)
