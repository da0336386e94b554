"""Codes, grants and tokens: what is issued, what is still good, and what a second use of it does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime

from soulwatch_sandbox.clients import RegisteredClient
from soulwatch_sandbox.ledger import Ledger
from soulwatch_sandbox.papers import Grant, Issued, Refused, Standing
from soulwatch_sandbox.rules import Pose, TokenRules

PREFIX = {"sandbox": "sbx", "spotify": "spo", "github": "gho"}


class Grants:
    """Everything issued, and the rules of each pose about it."""

    def __init__(self, ledger: Ledger, rules: Mapping[Pose, TokenRules], now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self.rules = rules
        self._clock = now

    def _now(self) -> float:
        return self._clock().timestamp()

    def open_code(
        self, client: RegisteredClient, redirect_uri: str, challenge: str, person: str, scope: tuple[str, ...]
    ) -> str:
        """A code that can be exchanged once."""
        code = f"{PREFIX[client.pose]}-code-{secrets.token_urlsafe(18)}"
        expires = self._now() + self.rules[client.pose].code_life
        row = (code, client.pose, client.id, redirect_uri, challenge, person, " ".join(scope), expires, None)
        with self._ledger.change() as db:
            db.execute("insert into codes values (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return code

    def exchange(self, client: RegisteredClient, code: str, redirect_uri: str | None, verifier: str) -> Issued:
        """The first tokens of a new grant. Raises Refused."""
        row = self._ledger.row("select * from codes where code = ? and pose = ?", code, client.pose)
        if row is None or row["client"] != client.id:
            raise Refused("invalid_grant", "Unknown code")
        if row["granted"] is not None:
            if self.rules[client.pose].replay_revokes:
                self.revoke(row["granted"], why="code replayed")
            raise Refused("invalid_grant", "Code used before")
        if row["expires"] <= self._now():
            raise Refused("invalid_grant", "Code expired")
        if redirect_uri is not None and row["redirect_uri"] != redirect_uri:
            raise Refused("redirect_uri_mismatch", "Another redirect_uri than in the authorization request")
        if not _verifies(verifier, row["challenge"]):
            raise Refused("invalid_grant", "code_verifier does not fit")
        scope = tuple(row["scope"].split())
        return self.grant(client, row["person"], scope, code=code)

    def grant(self, client: RegisteredClient, person: str, scope: tuple[str, ...], code: str | None = None) -> Issued:
        """A new grant and its first tokens, with or without a consent page before it."""
        rules = self.rules[client.pose]
        expires = not rules.expires_on_request or client.expires or "offline_access" in scope
        kept = tuple(one for one in scope if one != "offline_access") if rules.expires_on_request else scope
        grant_id = f"grant-{secrets.token_hex(6)}"
        with self._ledger.change() as db:
            if code is not None:
                taken = db.execute("update codes set granted = ? where code = ? and granted is null", (grant_id, code))
                if taken.rowcount != 1:
                    raise Refused("invalid_grant", "Code used before")
            db.execute(
                "insert into grants (id, pose, client, person, scope, expires, made) values (?, ?, ?, ?, ?, ?, ?)",
                (grant_id, client.pose, client.id, person, " ".join(kept), expires, self._now()),
            )
            return self._issue(db, grant_id, rules, with_refresh=expires)

    def refresh(self, client: RegisteredClient, value: str) -> Issued:
        """The next tokens of a grant. Raises Refused."""
        rules = self.rules[client.pose]
        row = self._ledger.row(
            "select t.*, g.client, g.pose, g.revoked from tokens t join grants g on g.id = t.granted "
            "where t.value = ? and t.kind = 'refresh'",
            value,
        )
        if row is None or (row["client"], row["pose"]) != (client.id, client.pose):
            raise Refused("invalid_grant", "Unknown refresh token")
        if row["revoked"] is not None:
            raise Refused("invalid_grant", "Refresh token revoked")
        if row["expires"] is not None and row["expires"] <= self._now():
            raise Refused("invalid_grant", "Refresh token expired")
        if row["used"] is not None and not self._is_in_grace(rules, row["used"]):
            if rules.reuse_revokes:
                self.revoke(row["granted"], why="refresh token reused")
            raise Refused("invalid_grant", "Refresh token used before")
        rotates = rules.rotation != "none"
        with self._ledger.change() as db:
            if rotates:
                db.execute("update tokens set used = coalesce(used, ?) where value = ?", (self._now(), value))
            if rules.old_access_dies:
                db.execute(
                    "update tokens set expires = ? where granted = ? and kind = 'access'",
                    (self._now(), row["granted"]),
                )
            return self._issue(db, row["granted"], rules, with_refresh=rotates)

    def _is_in_grace(self, rules: TokenRules, used: float) -> bool:
        return rules.rotation == "grace" and self._now() < used + rules.grace

    def _issue(self, db: sqlite3.Connection, grant_id: str, rules: TokenRules, *, with_refresh: bool) -> Issued:
        db.execute("update grants set generation = generation + 1 where id = ?", (grant_id,))
        row = db.execute("select * from grants where id = ?", (grant_id,)).fetchone()
        generation, prefix, now = row["generation"], PREFIX[row["pose"]], self._now()
        life = rules.life if row["expires"] else None
        access = f"{prefix}-access-g{generation}-{secrets.token_urlsafe(24)}"
        refresh = f"{prefix}-refresh-g{generation}-{secrets.token_urlsafe(24)}" if with_refresh else None
        insert = "insert into tokens values (?, ?, ?, ?, ?, null)"
        db.execute(insert, (access, "access", grant_id, generation, None if life is None else now + life))
        if refresh is not None:
            ends = None if rules.refresh_life is None else now + rules.refresh_life
            db.execute(insert, (refresh, "refresh", grant_id, generation, ends))
        return Issued(
            grant=grant_id,
            generation=generation,
            access=access,
            refresh=refresh,
            expires_in=None if life is None else int(life),
            refresh_expires_in=int(rules.refresh_life) if refresh and rules.refresh_life else None,
            scope=tuple(row["scope"].split()),
        )

    def standing(self, pose: Pose, access: str) -> Standing:
        """Whether an access token is good, and whose it is."""
        row = self._ledger.row(
            "select t.expires as ends, t.generation as turn, g.* from tokens t join grants g on g.id = t.granted "
            "where t.value = ? and t.kind = 'access' and g.pose = ?",
            access,
            pose,
        )
        if row is None:
            return Standing("unknown")
        verdict = "revoked" if row["revoked"] is not None else "good"
        if verdict == "good" and row["ends"] is not None and row["ends"] <= self._now():
            verdict = "expired"
        return Standing(verdict, _grant(row), row["turn"])

    def of(self, person: str | None = None, pose: Pose | None = None) -> list[Grant]:
        """All grants, oldest first, or those of one person, one pose."""
        rows = self._ledger.rows(
            "select * from grants where person = coalesce(?, person) and pose = coalesce(?, pose) order by rowid",
            person,
            pose,
        )
        return [_grant(row) for row in rows]

    def find(self, pose: Pose, value: str) -> Grant | None:
        """The grant a token of either kind belongs to."""
        row = self._ledger.row(
            "select g.* from tokens t join grants g on g.id = t.granted where t.value = ? and g.pose = ?", value, pose
        )
        return None if row is None else _grant(row)

    def expire(self, grant_id: str) -> None:
        """End the access tokens of a grant now; its refresh token stays good."""
        with self._ledger.change() as db:
            db.execute("update tokens set expires = ? where granted = ? and kind = 'access'", (self._now(), grant_id))

    def forget(self, access: str) -> None:
        """End one token, of either kind, and leave the rest of its grant alone."""
        with self._ledger.change() as db:
            db.execute("delete from tokens where value = ?", (access,))

    def revoke(self, grant_id: str, *, why: str) -> None:
        """End a grant for good."""
        with self._ledger.change() as db:
            db.execute(
                "update grants set revoked = ?, why = ? where id = ? and revoked is null", (self._now(), why, grant_id)
            )


def _verifies(verifier: str, challenge: str) -> bool:
    """RFC 7636 section 4.6, S256 only. A code asked for without a challenge is not bound to a verifier."""
    if not challenge:
        return True
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)


def _grant(row: sqlite3.Row) -> Grant:
    return Grant(
        id=row["id"],
        pose=row["pose"],
        client=row["client"],
        person=row["person"],
        scope=tuple(row["scope"].split()),
        revoked=row["revoked"] is not None,
        generation=row["generation"],
        why=row["why"],
    )
