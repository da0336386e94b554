"""The operator signs in with a one-time code and out again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from soulwatch.host.web.page import sign_in_form, sign_in_page
from soulwatch.host.web.state import host_of
from soulwatch.host.web.who import check_origin, require_operator, session_secret, set_cookie, set_session

LONGEST_CODE = 100


async def sign_in(request: Request) -> Response:
    """GET /sign-in: the form. POST: a good code opens a session; codes are used up by the first who shows them."""
    if request.method != "POST":
        return await sign_in_page(request)
    check_origin(request)
    host = host_of(request)
    async with request.form(max_fields=4) as form:
        code = str(form.get("code", ""))[:LONGEST_CODE]
    secret = await host.access.sign_in(code)
    if secret is None:
        detail = "This code is wrong, used or older than ten minutes. `soulwatch login-code` makes a new one."
        return sign_in_form(request, 403, detail)
    response = RedirectResponse(f"{host.settings.base_url}/", 303)
    set_session(response, host.settings, secret)
    return response


async def sign_out(request: Request) -> Response:
    """POST /sign-out: the session ends here and in the store."""
    await require_operator(request)
    host = host_of(request)
    await host.access.sign_out(session_secret(request) or "")
    response = RedirectResponse(f"{host.settings.base_url}/sign-in", 303)
    set_cookie(response, host.settings, "session", "", 0)
    return response
