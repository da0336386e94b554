"""The authorization endpoint of every pose (RFC 6749 section 4.1.1, 7636, 9207): a person says yes or no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from soulwatch_sandbox.answers import Signposts
from soulwatch_sandbox.clients import Clients, RegisteredClient
from soulwatch_sandbox.consent_page import STYLE_HASH, consent_page, error_page
from soulwatch_sandbox.grants import Grants
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.rules import Pose

SHOWN_PEOPLE = 5
OWN_SCOPES = ("notes", "mood", "follows", "archive")
SPOTIFY_SCOPES = frozenset(
    {
        "app-remote-control",
        "playlist-modify-private",
        "playlist-modify-public",
        "playlist-read-collaborative",
        "playlist-read-private",
        "streaming",
        "ugc-image-upload",
        "user-follow-modify",
        "user-follow-read",
        "user-library-modify",
        "user-library-read",
        "user-modify-playback-state",
        "user-read-currently-playing",
        "user-read-email",
        "user-read-playback-position",
        "user-read-playback-state",
        "user-read-private",
        "user-read-recently-played",
        "user-top-read",
    }
)
CHALLENGE_LENGTHS = range(43, 129)


@dataclass(frozen=True, slots=True)
class Asked:
    """An authorization request that names a known client and one of its callbacks."""

    client: RegisteredClient
    redirect_uri: str
    state: str | None
    scope: tuple[str, ...]
    challenge: str


class Consent:
    """One pose's authorization endpoint."""

    def __init__(
        self, pose: Pose, clients: Clients, grants: Grants, people: Mapping[str, Person], signposts: Signposts
    ) -> None:
        self._pose = pose
        self._clients = clients
        self._grants = grants
        self._people = people
        self._signposts = signposts

    async def page(self, request: Request) -> Response:
        """GET: the question; or an error, on a page where no callback can be trusted with it."""
        asked = self._read(request)
        if isinstance(asked, str):
            return HTMLResponse(error_page(asked), 400, headers=page_headers(None))
        error = self._objection(request, asked)
        if error is not None:
            return self._back(request, asked, 302, error=error)
        shown = list(self._people.values())[:SHOWN_PEOPLE]
        html = consent_page(self._pose, asked.client.id, shown, asked.scope)
        return HTMLResponse(html, headers=page_headers(asked.redirect_uri))

    async def decide(self, request: Request) -> Response:
        """POST: the answer. The request is read again from the address, so nothing is kept in between."""
        asked = self._read(request)
        if isinstance(asked, str):
            return HTMLResponse(error_page(asked), 400, headers=page_headers(None))
        error = self._objection(request, asked)
        form = await request.form()
        if error is None and form.get("answer") != "allow":
            error = "access_denied"
        if error is not None:
            return self._back(request, asked, 303, error=error)
        person = str(form.get("person", ""))
        if person not in self._people:
            return HTMLResponse(error_page("Nobody of that name lives here."), 400, headers=page_headers(None))
        # Only the sandbox lets people untick a scope; a platform that does not, grants all or nothing.
        ticked = {str(value) for value in form.getlist("scope")}
        scope = tuple(one for one in asked.scope if one in ticked) if self._pose == "sandbox" else asked.scope
        code = self._grants.open_code(asked.client, asked.redirect_uri, asked.challenge, person, scope)
        return self._back(request, asked, 303, code=code)

    def _read(self, request: Request) -> Asked | str:
        params = request.query_params
        client = self._clients.find(self._pose, params.get("client_id"))
        if client is None:
            return "This application is not registered here (client_id)."
        redirect_uri = params.get("redirect_uri") or (client.redirect_uris[0] if self._pose == "github" else "")
        if not client.knows(redirect_uri):
            return "The address to return to (redirect_uri) is not one this application registered."
        said = params.get("scope", "").replace(",", " ").split()
        scope = tuple(dict.fromkeys(said)) or (OWN_SCOPES if self._pose == "sandbox" else ())
        return Asked(client, redirect_uri, params.get("state"), scope, params.get("code_challenge", ""))

    def _objection(self, request: Request, asked: Asked) -> str | None:
        params = request.query_params
        # GitHub's documentation has no response_type; its web flow always answers with a code.
        if params.get("response_type") != "code" and (self._pose != "github" or "response_type" in params):
            return "unsupported_response_type"
        if self._grants.rules[self._pose].needs_pkce and not asked.challenge:
            return "invalid_request"
        if asked.challenge and (
            params.get("code_challenge_method") != "S256" or len(asked.challenge) not in CHALLENGE_LENGTHS
        ):
            return "invalid_request"
        known = {"sandbox": frozenset(OWN_SCOPES), "spotify": SPOTIFY_SCOPES}.get(self._pose)
        return "invalid_scope" if known is not None and not known.issuperset(asked.scope) else None

    def _back(self, request: Request, asked: Asked, status: int, **params: str) -> Response:
        if asked.state is not None:
            params["state"] = asked.state
        if self._pose == "sandbox":
            params["iss"] = self._signposts.root(request, "sandbox")
        url = httpx.URL(asked.redirect_uri).copy_merge_params(params)
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        return RedirectResponse(str(url), status, headers=headers)


def page_headers(redirect_uri: str | None) -> dict[str, str]:
    """What keeps a page with buttons on it to itself."""
    targets = "'self'"
    if redirect_uri is not None:
        url = httpx.URL(redirect_uri)
        # Browsers hold form-action against every redirect that follows, the application's own ones included.
        targets += f" http://127.0.0.1:* http://localhost:* {url.scheme}://{url.netloc.decode()}"
        if ":" in url.host:  # an IPv6 address cannot be written in a policy
            targets = "*"
    policy = f"default-src 'none'; style-src '{STYLE_HASH}'; form-action {targets}; frame-ancestors 'none'"
    return {
        "content-security-policy": f"{policy}; base-uri 'none'",
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
    }
