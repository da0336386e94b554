"""The page at `/`, the sign-in page, and the page of a flow that was refused: rendered here, kept fresh by a script."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from soulwatch.host.settings_addresses import LOOPBACK
from soulwatch.host.store import events, items, polls
from soulwatch.host.web.rendering import render, static, url_of
from soulwatch.host.web.shapes import connection_shape, event_shape, item_shape
from soulwatch.host.web.state import host_of
from soulwatch.host.web.who import operator, session_secret

if TYPE_CHECKING:
    from soulwatch.host.host import Host

__all__ = ["error_page", "home", "sign_in_form", "sign_in_page", "static"]

PAGE_USER = "me"
LONGEST_USER = 200
LARGEST_SHOWN = 64 * 1024
LATEST_ITEMS = 20
LATEST_EVENTS = 50


async def home(request: Request) -> Response:
    """GET /: what one user has connected, what came of it, and what can be connected."""
    host, who = host_of(request), await operator(request)
    if elsewhere := _other_name(request, "/"):
        return elsewhere
    if who is None:
        return RedirectResponse(url_of(request)("/sign-in"), 303)
    user = request.query_params.get("user") or PAGE_USER
    if len(user) > LONGEST_USER:
        return error_page(request, 422, "Whose page?", f"A user's name has at most {LONGEST_USER} characters.")
    seen = await _look(host, user)
    return render(
        request,
        "home.html",
        csrf=who.csrf_token,
        user=user,
        version=version("soulwatch"),
        notice=_notice(seen["connections"], request.query_params.get("connected")),
        platforms=await _platforms(host),
        problems=host.plugins.problems,
        **seen,
    )


async def sign_in_page(request: Request) -> Response:
    """GET /sign-in: where a one-time code is entered."""
    if elsewhere := _other_name(request, "/sign-in"):
        return elsewhere
    if await operator(request) is not None:
        return RedirectResponse(url_of(request)("/"), 303)
    return sign_in_form(request)


def sign_in_form(request: Request, status: int = 200, problem: str = "") -> Response:
    """The form for a one-time code, and what was wrong with the last one."""
    return render(request, "sign_in.html", status, problem=problem)


def error_page(request: Request, status: int, title: str, detail: str) -> Response:
    """What was refused and what to do, for the person in front of it; its address, with a code in it, stays."""
    # Whoever came over an application's link has no session, and this host's own page is not for them.
    is_at_home = session_secret(request) is not None
    answer = render(request, "error.html", status, title=title, detail=detail, is_at_home=is_at_home)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def _other_name(request: Request, path: str) -> Response | None:
    """From `localhost` to `127.0.0.1` or back: a cookie belongs to one name, and platforms send people to that one."""
    base_url = host_of(request).settings.base_url
    here, base = request.url, urlsplit(base_url)
    if here.hostname == base.hostname or here.port != base.port or not {here.hostname, base.hostname} <= {*LOOPBACK}:
        return None
    return RedirectResponse(f"{base_url}{path}?{here.query}".removesuffix("?"), 307)


async def _look(host: Host, user: str) -> dict[str, Any]:
    """All that is stored about a user and shown, in one reading of the database."""
    rows = await host.accounts.rows(user=user)
    async with host.database.reading() as transaction:
        of = await polls.by_connection(transaction, [row.id for row in rows])
        stored = (await transaction.execute(items.current(user=user, limit=LATEST_ITEMS))).all()
        counted = await items.counts(transaction, user)
        last = await events.last_seq(transaction, user)
        told = await events.latest(transaction, user, LATEST_EVENTS)
    names = {row.platform for row in (*rows, *counted)}
    return {
        "connections": [connection_shape(host.platforms, row, of[row.id]) for row in rows],
        "items": [{**item_shape(row), "raw_data": _decoded(row.raw_data)} for row in stored],
        "counts": [row._asdict() for row in counted],
        "events": [event_shape(event) for event in told],
        "last": last,
        "titles": {name: host.platforms.title(name) for name in names},
    }


def _decoded(raw: Any) -> Any:
    """An item to be shown; of a very large one its beginning as text, since the page must not hold up the host."""
    if not isinstance(raw, str):
        return raw
    return msgspec.json.decode(raw) if len(raw) <= LARGEST_SHOWN else raw[:LARGEST_SHOWN]


async def _platforms(host: Host) -> list[dict[str, Any]]:
    found = []
    for plugin in host.plugins.platforms:
        described = await host.overview.plugin(plugin)
        name = described["platform"]["client_name"].upper().replace("-", "_")
        variables = (f"{name}_CLIENT_ID", f"{name}_CLIENT_SECRET")
        found.append({**described["platform"], "endpoints": described["endpoints"], "variables": variables})
    # What can be connected comes first.
    return sorted(found, key=lambda one: (not one["enabled"], not one["client_set"], one["title"]))


def _notice(connections: list[dict[str, Any]], connected: str | None) -> dict[str, str] | None:
    """What a connect flow that ended well comes back to."""
    made = next((one for one in connections if one["id"] == connected), None)
    if made is None:
        return None
    who = made["account"]["name"] or made["account"]["id"]
    return {"tone": "good", "text": f"{made['title']} is connected as {who}. Its first items are on their way."}
