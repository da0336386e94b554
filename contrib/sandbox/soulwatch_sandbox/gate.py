"""The door of every API: whose token is this, is it good, may it see this, and has it asked too often?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from soulwatch_sandbox.dialects import Turned, bad_token, limited, refusal
from soulwatch_sandbox.grants import Grants
from soulwatch_sandbox.meter import Meter, Reading
from soulwatch_sandbox.papers import Grant
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.rules import Pose

SCHEMES = {"sandbox": ("bearer",), "spotify": ("bearer",), "github": ("bearer", "token")}


@dataclass(frozen=True, slots=True)
class Visit:
    """A request that was let in."""

    person: Person
    grant: Grant
    reading: Reading | None


class Gate:
    """Lets requests in, or turns them away in the pose's own words."""

    def __init__(self, grants: Grants, meter: Meter, people: Mapping[str, Person]) -> None:
        self._grants = grants
        self._meter = meter
        self._people = people

    def admit(self, request: Request, pose: Pose, scope: str | None = None) -> Visit:
        """Who is asking. Raises Turned."""
        said = request.headers.get("authorization")
        access = bearer_token(said, pose)
        if access is None:
            raise Turned(bad_token(pose, "missing" if said is None else "unknown"))
        standing = self._grants.standing(pose, access)
        if standing.grant is not None:
            request.state.grant = standing.grant.id
            request.state.generation = standing.generation
        if standing.grant is None or standing.verdict != "good":
            raise Turned(bad_token(pose, standing.verdict))
        reading = self._meter.take(pose, standing.grant.id)
        if reading is not None and reading.is_over:
            wait = None if pose == "github" else str(reading.wait_s)
            raise Turned(limited(pose, wait, reading.reset))
        if scope is not None and scope not in standing.grant.scope:
            challenge = {"www-authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}
            raise Turned(refusal(pose, 403, "Insufficient client scope", "insufficient_scope", challenge))
        return Visit(self._people[standing.grant.person], standing.grant, reading)

    def give_back(self, visit: Visit) -> Reading | None:
        """A request that is not counted after all."""
        return self._meter.take(visit.grant.pose, visit.grant.id, -1)

    def person_of(self, authorization: str | None, pose: Pose) -> str | None:
        """Whose token an `Authorization` header carries, good or not."""
        access = bearer_token(authorization, pose)
        standing = None if access is None else self._grants.standing(pose, access)
        return standing.grant.person if standing and standing.grant else None


def bearer_token(authorization: str | None, pose: Pose) -> str | None:
    """The token in an `Authorization` header."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() in SCHEMES[pose] and token.strip() else None
