"""The OAuth clients that are registered with each pose, and which callback addresses they may use."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from soulwatch_sandbox.ledger import Ledger
from soulwatch_sandbox.rules import POSES, Pose

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """An application known to one pose. Without a secret it is public and lives by PKCE alone."""

    pose: Pose
    id: str
    secret: str | None = field(repr=False)
    redirect_uris: tuple[str, ...]
    expires: bool = False
    """Whether tokens expire for this app even if a sign-in does not ask for it (GitHub)."""

    def knows(self, redirect_uri: str) -> bool:
        """Whether codes may be sent there: an exact match, but for the port of a loopback address."""
        return any(_fits(known, redirect_uri, self.pose) for known in self.redirect_uris)

    def accepts(self, secret: str | None) -> bool:
        """Whether `secret` is its secret."""
        if self.secret is None:
            return not secret
        return secret is not None and hmac.compare_digest(self.secret.encode(), secret.encode())


def first_client(pose: Pose) -> RegisteredClient:
    """The client that is there from the start."""
    hosts = ("127.0.0.1", "[::1]") if pose == "spotify" else ("127.0.0.1", "[::1]", "localhost")
    return RegisteredClient(
        pose=pose,
        id=f"invented-{pose}-client",
        secret=f"invented-{pose}-secret",
        redirect_uris=tuple(f"http://{host}/connect/{pose}/callback" for host in hosts),
    )


class Clients:
    """All registered clients."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        for pose in POSES:
            if ledger.row("select 1 from clients where pose = ?", pose) is None:
                self.register(first_client(pose))

    def register(self, client: RegisteredClient) -> RegisteredClient:
        """Make a client known, or change the one of this id."""
        with self._ledger.change() as db:
            db.execute(
                "insert or replace into clients values (?, ?, ?, ?, ?)",
                (client.pose, client.id, client.secret, json.dumps(client.redirect_uris), client.expires),
            )
        return client

    def find(self, pose: Pose, client_id: str | None) -> RegisteredClient | None:
        """The client of this id."""
        row = self._ledger.row("select * from clients where pose = ? and id = ?", pose, client_id)
        if row is None:
            return None
        uris = tuple(json.loads(row["redirect_uris"]))
        return RegisteredClient(pose, row["id"], row["secret"], uris, bool(row["expires"]))


def _fits(known: str, asked: str, pose: Pose) -> bool:
    if known == asked:
        return True
    try:
        one, other = urlsplit(known), urlsplit(asked)
        same_place = (one.scheme, one.hostname) == (other.scheme, other.hostname)
        is_local = one.scheme == "http" and one.hostname in LOOPBACK
        same_port = one.port == other.port or is_local  # reading a port that is no number raises
    except ValueError:
        return False
    if other.username is not None or other.fragment or not (same_place and same_port):
        return False
    if pose == "github":
        # GitHub lets a callback lie anywhere below the registered path.
        return other.path == one.path or other.path.startswith(one.path.rstrip("/") + "/")
    return is_local and (one.path, one.query) == (other.path, other.query)
