"""GitHub's way to check and end tokens: `/applications/{client_id}/token` and `/grant`, with Basic credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from soulwatch_sandbox.clients import Clients
from soulwatch_sandbox.codework import API, simple_user
from soulwatch_sandbox.counter import basic_credentials
from soulwatch_sandbox.dialects import Turned, refusal
from soulwatch_sandbox.grants import Grants
from soulwatch_sandbox.papers import Grant
from soulwatch_sandbox.people import Person


class Applications:
    """What an OAuth app may do with the tokens it was given."""

    def __init__(self, clients: Clients, grants: Grants, people: Mapping[str, Person]) -> None:
        self._clients = clients
        self._grants = grants
        self._people = people

    def routes(self) -> list[Route]:
        """Where everything is."""
        token, grant = "/applications/{client_id}/token", "/applications/{client_id}/grant"
        return [
            Route(token, self.check, methods=["POST"]),
            Route(token, self.end_token, methods=["DELETE"]),
            Route(grant, self.end_grant, methods=["DELETE"]),
        ]

    async def check(self, request: Request) -> Response:
        """Whether a token is good; 404 where it is not, which does not count as a failed sign-in."""
        grant, access = await self._grant(request)
        if self._grants.standing("github", access).verdict != "good":
            return refusal("github", 404, "Not Found")
        return JSONResponse(authorization(grant, self._people[grant.person]))

    async def end_token(self, request: Request) -> Response:
        """End one token and the refresh token that belongs to it."""
        grant, _ = await self._grant(request)
        self._grants.revoke(grant.id, why="revoked by its client")
        return Response(status_code=204)

    async def end_grant(self, request: Request) -> Response:
        """End all tokens of a person for this app."""
        grant, _ = await self._grant(request)
        for one in self._grants.of(grant.person, "github"):
            if one.client == grant.client:
                self._grants.revoke(one.id, why="revoked by its client")
        return Response(status_code=204)

    async def _grant(self, request: Request) -> tuple[Grant, str]:
        client_id, secret = basic_credentials(request.headers.get("authorization")) or ("", "")
        client = self._clients.find("github", client_id)
        if client is None or not client.accepts(secret) or client.id != request.path_params["client_id"]:
            raise Turned(refusal("github", 404, "Not Found"))
        try:
            access = json.loads(await request.body())["access_token"]
        except (ValueError, TypeError, KeyError):
            raise Turned(refusal("github", 422, "Validation Failed")) from None
        grant = self._grants.find("github", str(access))
        if grant is None or grant.client != client.id:
            raise Turned(refusal("github", 404, "Not Found"))
        request.state.grant = grant.id
        return grant, str(access)


def authorization(grant: Grant, person: Person) -> dict[str, Any]:
    """What GitHub tells an app about one of its tokens; never the token itself."""
    ident = int(grant.id.removeprefix("grant-"), 16)
    url = f"{API}/authorizations/{ident}"
    return {
        "id": ident,
        "url": url,
        "app": {"client_id": grant.client, "name": grant.client, "url": "http://127.0.0.1"},
        "token": "",
        "hashed_token": None,
        "token_last_eight": None,
        "note": None,
        "note_url": None,
        "created_at": "2026-01-05T08:00:00Z",
        "updated_at": "2026-01-05T08:00:00Z",
        "fingerprint": None,
        "scopes": grant.scope,
        "user": simple_user(person),
        "expires_at": None,
    }
