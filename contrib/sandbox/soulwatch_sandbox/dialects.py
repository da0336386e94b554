"""How each pose says no: the same refusal in three platforms' words."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from soulwatch_sandbox.papers import Refused
from soulwatch_sandbox.rules import Pose

GITHUB_DOCS = "https://docs.github.com/rest"
GITHUB_TOKEN_DOCS = "https://docs.github.com/apps/managing-oauth-apps/troubleshooting"  # noqa: S105  - an address
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
UNAUTHORIZED = 401
QUOTA_WAIT_S = 48925
"""A wait that apps in development mode were seen to be given."""


class Turned(Exception):
    """A visitor is turned away at the door with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def refusal(
    pose: Pose, status: int, message: str, code: str = "refused", headers: Mapping[str, str] | None = None
) -> Response:
    """An API refuses."""
    body: dict[str, object] = {"error": code, "message": message}
    if pose == "spotify":
        reason = {"reason": code} if code.isupper() else {}
        body = {"error": {"status": status, "message": message, **reason}}
    elif pose == "github":
        body = {"message": message, "documentation_url": GITHUB_DOCS, "status": str(status)}
    return JSONResponse(body, status, headers=dict(headers or {}))


def bad_token(pose: Pose, verdict: str) -> Response:
    """An access token is missing, unknown, expired or revoked."""
    if pose == "github":
        return refusal(pose, UNAUTHORIZED, "Requires authentication" if verdict == "missing" else "Bad credentials")
    messages = {"missing": "No token provided", "expired": "The access token expired"}
    message = messages.get(verdict, "Invalid access token")
    challenge = f'Bearer realm="{pose}"' + ("" if verdict == "missing" else ', error="invalid_token"')
    return refusal(pose, UNAUTHORIZED, message, "invalid_token", {"www-authenticate": challenge})


def token_refusal(pose: Pose, refused: Refused, *, refreshing: bool, wants_json: bool, basic: bool) -> Response:
    """A token endpoint refuses."""
    error = refused.error
    if pose == "github":
        names = {
            "invalid_grant": "bad_refresh_token" if refreshing else "bad_verification_code",
            "invalid_client": "incorrect_client_credentials",
        }
        fields = {
            "error": names.get(error, error),
            "error_description": refused.description or error,
            "error_uri": GITHUB_TOKEN_DOCS,
        }
        # GitHub's errors come with HTTP 200: only the body tells.
        return JSONResponse(fields, headers=NO_STORE) if wants_json else form_encoded(fields)
    error = "invalid_grant" if error == "redirect_uri_mismatch" else error
    headers = dict(NO_STORE)
    status = 400
    if error == "invalid_client" and pose == "sandbox":
        status = UNAUTHORIZED
        headers |= {"www-authenticate": 'Basic realm="sandbox"'} if basic else {}
    described = {"error_description": refused.description} if refused.description else {}
    return JSONResponse({"error": error, **described}, status, headers=headers)


def form_encoded(fields: Mapping[str, object]) -> Response:
    """What GitHub's token endpoint answers to whoever does not ask for JSON."""
    return Response(
        urlencode({name: str(value) for name, value in fields.items()}),
        headers={**NO_STORE, "content-type": "application/x-www-form-urlencoded; charset=utf-8"},
    )


def limited(pose: Pose, wait_s: str | None, reset: int) -> Response:
    """Too many requests."""
    wait = {} if wait_s is None else {"retry-after": wait_s}
    if pose == "github":
        headers = {**wait, "x-ratelimit-remaining": "0", "x-ratelimit-limit": "5000", "x-ratelimit-used": "5000"}
        headers |= {"x-ratelimit-reset": str(reset), "x-ratelimit-resource": "core"}
        return refusal(pose, 403, "API rate limit exceeded for user ID 9000001.", headers=headers)
    return refusal(pose, 429, "API rate limit exceeded", "rate_limited", wait)


def out_of_quota(wait_s: str | None) -> Response:
    """Spotify's daily quota for apps in development mode is used up."""
    headers = {"retry-after": wait_s or str(QUOTA_WAIT_S)}
    return refusal("spotify", 429, "Too many requests", "QUOTA_EXCEEDED", headers)


def secondary_limit(wait_s: str | None) -> Response:
    """GitHub finds that too much happens at once."""
    message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    return refusal("github", 403, message, headers={"retry-after": wait_s or "60"})
