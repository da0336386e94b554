"""The token and revocation endpoints of every pose (RFC 6749 sections 4.1.3 and 6, RFC 7009)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_plus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from soulwatch_sandbox.clients import Clients, RegisteredClient
from soulwatch_sandbox.dialects import NO_STORE, form_encoded, token_refusal
from soulwatch_sandbox.grants import Grants
from soulwatch_sandbox.papers import Issued, Refused
from soulwatch_sandbox.rules import Pose

FORM = "application/x-www-form-urlencoded"


class Counter:
    """Where one pose hands out tokens."""

    def __init__(self, pose: Pose, clients: Clients, grants: Grants) -> None:
        self._pose = pose
        self._clients = clients
        self._grants = grants

    async def token(self, request: Request) -> Response:
        """POST: tokens for a code or a refresh token. What is issued is on disk before it is answered."""
        try:
            form = await read_form(request)
            client = self._client(request, form)
            issued = self._issue(request, client, form)
        except Refused as refused:
            return self.refuse(request, refused)
        request.state.grant, request.state.generation = issued.grant, issued.generation
        fields = self._fields(issued)
        if self._pose == "github" and not _wants_json(request):
            return form_encoded(fields)
        return JSONResponse(fields, headers=NO_STORE)

    async def revoke(self, request: Request) -> Response:
        """POST: forget a token. 200 also for one that was never known (RFC 7009 section 2.2)."""
        try:
            form = await read_form(request)
            client = self._client(request, form)
        except Refused as refused:
            return self.refuse(request, refused)
        grant = self._grants.find(self._pose, form.get("token", ""))
        if grant is not None and grant.client == client.id:
            request.state.grant = grant.id
            self._grants.revoke(grant.id, why="revoked by its client")
        return Response(headers=NO_STORE)

    def refuse(self, request: Request, refused: Refused) -> Response:
        """A refusal in the pose's words."""
        return token_refusal(
            self._pose,
            refused,
            refreshing=getattr(request.state, "grant_type", "") == "refresh_token",
            wants_json=_wants_json(request),
            basic="authorization" in request.headers,
        )

    def _issue(self, request: Request, client: RegisteredClient, form: dict[str, str]) -> Issued:
        kind = request.state.grant_type = form.get("grant_type", self._kind_unsaid(form))
        if kind == "refresh_token":
            value = form.get("refresh_token", "")
            known = self._grants.find(self._pose, value)
            request.state.grant = known.id if known else None
            return self._grants.refresh(client, value)
        if kind != "authorization_code":
            raise Refused("unsupported_grant_type")
        redirect_uri = form.get("redirect_uri")
        if redirect_uri is None and self._pose != "github":
            raise Refused("invalid_request", "redirect_uri is missing")
        return self._grants.exchange(client, form.get("code", ""), redirect_uri, form.get("code_verifier", ""))

    def _kind_unsaid(self, form: dict[str, str]) -> str:
        # GitHub's code exchange has no grant_type.
        return "authorization_code" if self._pose == "github" and "code" in form else ""

    def _client(self, request: Request, form: dict[str, str]) -> RegisteredClient:
        basic = basic_credentials(request.headers.get("authorization"))
        if basic is not None and "client_secret" in form:
            raise Refused("invalid_request", "Authenticate in one way only")
        client_id, secret = basic or (form.get("client_id", ""), form.get("client_secret"))
        wrong_way = (self._pose == "github" and basic is not None) or (
            self._pose == "spotify" and "client_secret" in form
        )
        client = self._clients.find(self._pose, client_id)
        if wrong_way or client is None or not client.accepts(secret):
            raise Refused("invalid_client", "Client authentication failed")
        return client

    def _fields(self, issued: Issued) -> dict[str, object]:
        is_github = self._pose == "github"
        fields: dict[str, object] = {"access_token": issued.access}
        if issued.expires_in is not None:
            fields["expires_in"] = issued.expires_in
        if issued.refresh is not None:
            fields["refresh_token"] = issued.refresh
        if issued.refresh_expires_in is not None:
            fields["refresh_token_expires_in"] = issued.refresh_expires_in
        fields["token_type"] = "bearer" if is_github else "Bearer"
        fields["scope"] = ("," if is_github else " ").join(issued.scope)
        return fields


async def read_form(request: Request) -> dict[str, str]:
    """A form-encoded body, each name once (RFC 6749 section 3.2). Raises Refused."""
    if not request.headers.get("content-type", "").lower().startswith(FORM):
        raise Refused("invalid_request", f"Send {FORM}")
    pairs = (await request.form()).multi_items()
    form = {name: str(value) for name, value in pairs}
    if len(form) != len(pairs):
        raise Refused("invalid_request", "A parameter is there twice")
    return form


def basic_credentials(header: str | None) -> tuple[str, str] | None:
    """Client id and secret, each form-encoded before they were joined (RFC 6749 section 2.3.1)."""
    scheme, _, text = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return unquote_plus(client_id), unquote_plus(secret)


def _wants_json(request: Request) -> bool:
    return "json" in request.headers.get("accept", "")
