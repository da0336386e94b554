"""The sandbox's switches over HTTP, for tests in another process. All of it needs the control key."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from soulwatch_sandbox.levers import Levers

HEADER = "x-sandbox-control"
Deed = Callable[[Request, dict[str, Any]], Any]


class Control:
    """Everything below `/control`."""

    def __init__(self, levers: Levers, key: str) -> None:
        self._levers = levers
        self._key = key

    def routes(self) -> list[Route]:
        """Where everything is."""
        deeds: list[tuple[str, str, Deed]] = [
            ("GET", "/requests", self.requests),
            ("DELETE", "/requests", lambda _request, _body: self._levers.requests.clear()),
            ("GET", "/faults", lambda _request, _body: [one.as_json() for one in self._levers.faults.active]),
            ("POST", "/faults", lambda _request, body: self._levers.faults.add(**body).as_json()),
            ("DELETE", "/faults", self.clear_faults),
            ("GET", "/grants", self.grants),
            ("POST", "/items", lambda _request, body: {"added_ms": self._levers.add_item(**body)}),
            ("POST", "/expire", lambda _request, body: {"grants": self._levers.expire(**body)}),
            ("POST", "/revoke", lambda _request, body: {"grants": self._levers.revoke_user(**body)}),
            ("POST", "/clients", self.register),
        ]
        return [Route(path, self._guarded(deed), methods=[method]) for method, path, deed in deeds]

    def requests(self, request: Request, body: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ARG002
        """The requests received, narrowed by `pose`, `path` and `method`."""
        query = request.query_params
        found = self._levers.requests.of(query.get("pose"), query.get("path", ""), query.get("method"))
        return [entry.as_json() for entry in found]

    def clear_faults(self, request: Request, body: dict[str, Any]) -> None:  # noqa: ARG002
        """Switch off the fault `id`, or all."""
        self._levers.faults.clear(request.query_params.get("id"))

    def grants(self, request: Request, body: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: ARG002
        """All grants, without their tokens."""
        return [
            {
                "id": grant.id,
                "pose": grant.pose,
                "client": grant.client,
                "person": grant.person,
                "scope": grant.scope,
                "generation": grant.generation,
                "revoked": grant.why if grant.revoked else None,
            }
            for grant in self._levers.grants.of()
        ]

    def register(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Make a client known."""
        client = self._levers.register(**body)
        return {"pose": client.pose, "id": client.id, "redirect_uris": client.redirect_uris}

    def _guarded(self, deed: Deed) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            said = request.headers.get(HEADER, "")
            if not hmac.compare_digest(said.encode(), self._key.encode()):
                return JSONResponse({"error": f"Send the control key in {HEADER}"}, 403)
            try:
                text = await request.body()
                result = deed(request, json.loads(text) if text else {})
            except (ValueError, TypeError, KeyError) as wrong:
                return JSONResponse({"error": str(wrong)}, 400)
            return Response(status_code=204) if result is None else JSONResponse(result)

        return guarded
