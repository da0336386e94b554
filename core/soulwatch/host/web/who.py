"""Who is asking: an application by its API key, or the operator by a session. Nobody else gets past here."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from soulwatch.host.access import SESSION_LASTS, Operator
from soulwatch.host.settings import Settings
from soulwatch.host.web.state import host_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-csrf-token"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request is from. `name` is what the journal and the connect flows know them by."""

    name: str
    is_application: bool


def is_https(settings: Settings) -> bool:
    """Whether browsers reach this host over https."""
    return settings.base_url.startswith("https://")


def cookie_name(settings: Settings, what: str) -> str:
    """A cookie's name; on https the prefix keeps other hosts of the domain from setting it (RFC 6265bis 4.1.3.2)."""
    return f"__Host-soulwatch-{what}" if is_https(settings) else f"soulwatch-{what}-{settings.port}"


def set_cookie(response: Response, settings: Settings, what: str, value: str, max_age_s: int) -> None:
    """A cookie that only this host reads and no script sees."""
    response.set_cookie(
        cookie_name(settings, what),
        value,
        max_age=max_age_s,
        path="/",
        secure=is_https(settings),
        httponly=True,
        samesite="lax",
    )


def set_session(response: Response, settings: Settings, secret: str) -> None:
    """Sign a browser in."""
    set_cookie(response, settings, "session", secret, int(SESSION_LASTS.total_seconds()))


def session_secret(connection: HTTPConnection) -> str | None:
    """The session a browser shows."""
    return connection.cookies.get(cookie_name(host_of(connection).settings, "session"))


async def operator(connection: HTTPConnection) -> Operator | None:
    """The signed-in operator, or None."""
    secret = session_secret(connection)
    return await host_of(connection).access.session(secret) if secret else None


async def require_caller(request: Request) -> Caller:
    """Whoever may use the API. Raises HTTPException 401 or 403."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        row = await host_of(request).access.api_key(key.strip())
        if row is None:
            raise HTTPException(401, "This API key opens nothing; `soulwatch apikeys create` makes one.", _ASK)
        return Caller(f"api key {row.id}", is_application=True)
    await require_operator(request)
    return Caller("operator", is_application=False)


async def require_operator(request: Request) -> Operator:
    """The operator, sure to have meant this. Raises HTTPException 401 or 403."""
    found = await operator(request)
    if found is None:
        detail = "Sign in with a one-time code (`soulwatch login-code`), or send an API key as a bearer token."
        raise HTTPException(401, detail, _ASK)
    if request.method not in SAFE_METHODS:
        check_origin(request)
        if not hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), found.csrf_token.encode()):
            raise HTTPException(403, "The X-CSRF-Token header does not belong to this session: load the page again.")
    return found


def check_origin(request: HTTPConnection) -> None:
    """A browser's unsafe request has to come from our own pages. Raises HTTPException 403."""
    origin = request.headers.get("origin")
    if origin is not None and origin not in own_origins(request):
        raise HTTPException(403, f"Requests from {origin[:100]!r} are not taken with a session.")


def own_origins(connection: HTTPConnection) -> frozenset[str]:
    """The origins of our own pages: the public address, and the one this request was sent to."""
    settings = host_of(connection).settings
    public = urlsplit(settings.base_url)
    scheme = "https" if is_https(settings) else "http"
    return frozenset({f"{public.scheme}://{public.netloc}", f"{scheme}://{connection.headers.get('host', '')}"})


_ASK = {"WWW-Authenticate": "Bearer"}
