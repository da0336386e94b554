"""What a test may do to the sandbox's world besides visiting it: the same over HTTP and from Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from soulwatch_sandbox.clients import Clients, RegisteredClient, first_client
from soulwatch_sandbox.consent import OWN_SCOPES
from soulwatch_sandbox.faults import Faults
from soulwatch_sandbox.grants import Grants
from soulwatch_sandbox.papers import Grant, Issued
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.request_log import Received, RequestLog
from soulwatch_sandbox.rules import Pose
from soulwatch_sandbox.timeline import Timeline

USUAL_SCOPES: Mapping[Pose, tuple[str, ...]] = {
    "sandbox": OWN_SCOPES,
    "spotify": ("user-read-recently-played", "user-read-currently-playing"),
    "github": ("read:user", "repo", "offline_access"),
}


class Levers:
    """Register, grant, expire, revoke, add; and see what was received."""

    def __init__(
        self,
        *,
        clients: Clients,
        grants: Grants,
        timeline: Timeline,
        people: Mapping[str, Person],
        requests: RequestLog,
        faults: Faults,
    ) -> None:
        self.clients = clients
        self.grants = grants
        self.timeline = timeline
        self.people = people
        self.requests = requests
        self.faults = faults

    def register(
        self,
        pose: Pose,
        client_id: str,
        client_secret: str | None,
        redirect_uris: Sequence[str],
        *,
        expires: bool = False,
    ) -> RegisteredClient:
        """Make an OAuth client known, or change it. `expires`: tokens of this GitHub app end."""
        return self.clients.register(RegisteredClient(pose, client_id, client_secret, tuple(redirect_uris), expires))

    def grant(
        self, pose: Pose, person: str, *, scope: Sequence[str] | None = None, client_id: str | None = None
    ) -> Issued:
        """Tokens for a person without a consent page before them, for benches and for tests of later steps."""
        client = self.clients.find(pose, client_id or first_client(pose).id)
        if client is None or person not in self.people:
            raise KeyError(f"No client {client_id!r} or nobody called {person!r} on {pose}.")
        return self.grants.grant(client, person, tuple(USUAL_SCOPES[pose] if scope is None else scope))

    def token_requests(self, pose: Pose, grant_type: str | None = None) -> list[Received]:
        """The requests its token endpoint received, such as all of grant type "refresh_token"."""
        paths = {"sandbox": "/token", "spotify": "/api/token", "github": "/login/oauth/access_token"}
        found = self.requests.of(pose, paths[pose], "POST")
        return [entry for entry in found if grant_type in (None, entry.grant_type)]

    def expire(self, who: str | None = None, pose: Pose | None = None) -> list[str]:
        """End the access tokens of a grant, a person or everybody now. Gives the ids of their grants."""
        return [self._end(self.grants.expire, grant) for grant in self._grants(who, pose)]

    def revoke_user(self, who: str, pose: Pose | None = None) -> list[str]:
        """End grants as the person would, in the platform's own settings. Gives their ids."""
        return [
            self._end(lambda one: self.grants.revoke(one, why="revoked by the person"), grant)
            for grant in self._grants(who, pose)
        ]

    def add_item(self, pose: Pose = "sandbox", person: str = "mira", count: int = 1) -> list[int]:
        """Let something happen to a person now: a note, a track heard, an event. Gives the moments in ms."""
        return [self.timeline.add(pose, person) for _ in range(count)]

    def _grants(self, who: str | None, pose: Pose | None) -> list[Grant]:
        return [grant for grant in self.grants.of(pose=pose) if who in (None, grant.id, grant.person)]

    @staticmethod
    def _end(deed: Callable[[str], None], grant: Grant) -> str:
        deed(grant.id)
        return grant.id
