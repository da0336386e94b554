"""The browser's way through a connection: out to the platform, and back to a clean address."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from soulwatch.errors import SoulwatchError
from soulwatch.host.connecting import FLOW_LASTS, Callback, Finished
from soulwatch.host.web.asked import is_name, known_platform
from soulwatch.host.web.page import error_page
from soulwatch.host.web.problems import status_of
from soulwatch.host.web.state import host_of
from soulwatch.host.web.who import cookie_name, operator, set_cookie

PAGE_USER = "me"
SECRET_LENGTH = 43


async def start(request: Request) -> Response:
    """GET /connect/{platform}: from the page with the operator's session, or on an application's link."""
    host, platform = host_of(request), request.path_params["platform"]
    link = request.query_params.get("link")
    browser = _browser(request) or host.connecting.secret()
    try:
        if link is not None:
            url = await host.connecting.follow(link, browser)
        else:
            if await operator(request) is None:
                return RedirectResponse(f"{host.settings.base_url}/sign-in", 303)
            known_platform(request, platform)
            if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return error_page(request, 403, "Not started here", "Start connecting on this host's own page.")
            user = request.query_params.get("user", PAGE_USER)
            if not is_name(user):
                return error_page(request, 422, "Whose account?", "The user's name is empty, too long or no name.")
            url = await host.connecting.start(user, platform, browser)
    except SoulwatchError as refused:
        return error_page(request, status_of(refused), "Not connected", str(refused))
    response = RedirectResponse(url, 303)
    set_cookie(response, host.settings, "connect", browser, int(FLOW_LASTS.total_seconds()))
    return response


async def callback(request: Request) -> Response:
    """GET /connect/{platform}/callback: the platform sent the browser back."""
    host, given = host_of(request), request.query_params
    if any(len(given.getlist(name)) > 1 for name in ("state", "code", "iss", "error")):
        return error_page(request, 400, "Not connected", "The platform's answer names something twice: start again.")
    came = Callback(
        platform=request.path_params["platform"],
        state=given.get("state", ""),
        code=given.get("code"),
        error=given.get("error"),
        issuer=given.get("iss"),
        browser=_browser(request),
    )
    try:
        finished = await host.connecting.finish(came)
    except SoulwatchError as refused:
        return error_page(request, status_of(refused), "Not connected", str(refused))
    return RedirectResponse(_way_back(host.settings.base_url, finished), 303)


def _browser(request: Request) -> str | None:
    """What tells this browser from others. It keeps it over several flows: they may be under way side by side."""
    secret = request.cookies.get(cookie_name(host_of(request).settings, "connect"), "")
    return secret if len(secret) == SECRET_LENGTH else None


def _way_back(base_url: str, finished: Finished) -> str:
    if finished.connection is not None:
        return f"{base_url}/?user={quote(finished.connection.user)}&connected={finished.connection.id}"
    outcome = {"error": finished.problem} if finished.problem else {"code": finished.redeem_code or ""}
    query = urlencode({"session": finished.flow_id, **outcome})
    return_to = finished.return_to or base_url
    return f"{return_to}{'&' if '?' in return_to else '?'}{query}"
