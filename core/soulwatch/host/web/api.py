"""The HTTP API for applications and for the page's own script."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from soulwatch.host.access import TICKET_LASTS
from soulwatch.host.connecting import FLOW_LASTS
from soulwatch.host.store import events, items, polls
from soulwatch.host.web.asked import body_of, known_only, number, query, text_in
from soulwatch.host.web.problems import Json
from soulwatch.host.web.shapes import connection_shape, event_shape, item_shape, outcome_shape, time
from soulwatch.host.web.state import host_of
from soulwatch.host.web.who import require_caller

MOST_ITEMS = 1000
MOST_EVENTS = 1000


async def list_plugins(request: Request) -> Json:
    """GET /api/plugins: what is installed, what is wrong with it."""
    await require_caller(request)
    host = host_of(request)
    problems = [
        {"plugin": one.plugin, "distribution": one.distribution, "why": one.why} for one in host.plugins.problems
    ]
    return Json({"plugins": [await host.overview.plugin(plugin) for plugin in host.plugins], "problems": problems})


async def list_connections(request: Request) -> Json:
    """GET /api/connections: of a user, of a platform, or all."""
    await require_caller(request)
    host = host_of(request)
    rows = await host.accounts.rows(user=query(request, "user"), platform=query(request, "platform"))
    async with host.database.reading() as transaction:
        known = await polls.of_connections(transaction, [row.id for row in rows])
    of = {row.id: [poll for poll in known if poll.connection_id == row.id] for row in rows}
    return Json({"connections": [connection_shape(host.platforms, row, of[row.id]) for row in rows]})


async def _one(request: Request, connection_id: str) -> dict[str, Any]:
    host = host_of(request)
    row = await host.accounts.row(connection_id)
    async with host.database.reading() as transaction:
        known = await polls.of_connections(transaction, [row.id])
    return connection_shape(host.platforms, row, known)


async def one_connection(request: Request) -> Json:
    """GET /api/connections/{id}."""
    await require_caller(request)
    return Json(await _one(request, request.path_params["id"]))


async def disconnect(request: Request) -> Json:
    """DELETE /api/connections/{id}: final; `revoked` says whether the platform confirmed."""
    await require_caller(request)
    return Json({"revoked": await host_of(request).accounts.disconnect(request.path_params["id"])})


async def poll_connection(request: Request) -> Json:
    """POST /api/connections/{id}/poll: read its endpoints now, or the one named `data_type`."""
    await require_caller(request)
    body = await body_of(request)
    known_only(body, "data_type")
    data_type = text_in(body, "data_type", is_needed=False)
    outcomes = await host_of(request).poll_connection(request.path_params["id"], data_type)
    return Json({"polls": [outcome_shape(outcome) for outcome in outcomes]})


async def refresh_connection(request: Request) -> Json:
    """POST /api/connections/{id}/refresh: a new token now, whether due or not."""
    await require_caller(request)
    token = await host_of(request).refresh_connection(request.path_params["id"])
    return Json({"expires_at": time(token.expires_at)})


async def list_data(request: Request) -> Json:
    """GET /api/data: items as they are now, newest first; `before` goes on from the last answer."""
    await require_caller(request)
    rows = await host_of(request).data(
        user=query(request, "user"),
        platform=query(request, "platform"),
        data_type=query(request, "data_type"),
        connection_id=query(request, "connection"),
        before=number(request, "before", None),
        limit=(limit := number(request, "limit", 100, least=1, most=MOST_ITEMS)),
    )
    before = rows[-1].id if len(rows) == limit else None
    return Json({"items": [item_shape(row) for row in rows], "before": before})


async def count_data(request: Request) -> Json:
    """GET /api/data/counts: for each platform and data type, how many and how new."""
    await require_caller(request)
    user = query(request, "user")
    async with host_of(request).database.reading() as transaction:
        counted = await items.counts(transaction, user)
    return Json(
        {
            "counts": [
                {
                    "platform": row.platform,
                    "data_type": row.data_type,
                    "count": row.count,
                    "newest": time(row.newest),
                }
                for row in counted
            ]
        }
    )


async def list_events(request: Request) -> Json:
    """GET /api/events: a user's events after a number, oldest first."""
    await require_caller(request)
    host, user = host_of(request), query(request, "user")
    if user is None:
        raise HTTPException(422, '"user" is needed: whose events?')
    after = number(request, "after", 0) or 0
    limit = number(request, "limit", 100, least=1, most=MOST_EVENTS) or 1
    found = await host.events(user, after, limit)
    async with host.database.reading() as transaction:
        last = await events.last_seq(transaction, user)
    return Json({"events": [event_shape(event) for event in found], "last": last})


async def poll_user(request: Request) -> Json:
    """POST /api/users/{user}/poll: all connected accounts of a user, now."""
    await require_caller(request)
    outcomes = await host_of(request).poll_all_platforms_for_user(request.path_params["user"])
    return Json({"polls": [outcome_shape(outcome) for outcome in outcomes]})


async def user_token(request: Request) -> Json:
    """POST /api/users/{user}/token: a fresh access token; its text is for applications, never for a browser."""
    caller = await require_caller(request)
    body = await body_of(request)
    known_only(body, "platform")
    platform = text_in(body, "platform") or ""
    token = await host_of(request).ensure_fresh_token(request.path_params["user"], platform)
    said: dict[str, Any] = {"expires_at": time(token.expires_at), "scopes": token.scopes}
    return Json({**said, "access_token": token.access} if caller.is_application else said)


async def message_user(request: Request) -> Json:
    """POST /api/users/{user}/message: something of the application's own, for the user's open sockets."""
    await require_caller(request)
    try:
        event = await host_of(request).send_to_user(request.path_params["user"], await body_of(request))
    except ValueError as wrong:
        raise HTTPException(422, str(wrong)) from None
    return Json(event_shape(event), 201)


async def new_ticket(request: Request) -> Json:
    """POST /api/ws-tickets: a pass for one socket of one user, for thirty seconds."""
    caller = await require_caller(request)
    body = await body_of(request)
    known_only(body, "user")
    # An application hands the ticket to its own front end; the page's own socket comes from here.
    origin = None if caller.is_application else request.headers.get("origin")
    ticket = await host_of(request).access.ticket(text_in(body, "user") or "", origin, caller.name)
    return Json({"ticket": ticket, "expires_in": int(TICKET_LASTS.total_seconds())}, 201)


async def new_connect_session(request: Request) -> Json:
    """POST /api/connect-sessions: a link on which one of the application's users connects a platform."""
    caller = await require_caller(request)
    host, body = host_of(request), await body_of(request)
    known_only(body, "user", "platform", "return_to")
    user, platform = text_in(body, "user") or "", text_in(body, "platform") or ""
    return_to = body.get("return_to")
    allowed = host.settings.return_to_origins
    if not isinstance(return_to, str) or _origin(return_to) not in allowed:
        detail = (
            f'"return_to" has to be an address in SOULWATCH_RETURN_TO_ORIGINS ({", ".join(allowed) or "none set"}).'
        )
        raise HTTPException(422, detail)
    session_id, secret = await host.connecting.link(user, platform, return_to, caller.name)
    url = f"{host.settings.base_url}/connect/{platform}?link={secret}"
    return Json({"id": session_id, "url": url, "expires_at": time(host.clock.now() + FLOW_LASTS)}, 201)


async def activate_connect_session(request: Request) -> Json:
    """POST /api/connect-sessions/{id}/activate: the user who started it came back with `code`, still signed in."""
    caller = await require_caller(request)
    body = await body_of(request)
    known_only(body, "code")
    code = text_in(body, "code") or ""
    connection = await host_of(request).connecting.redeem(request.path_params["id"], code, caller.name)
    return Json(await _one(request, connection.id), 201)


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


routes = [
    Route("/plugins", list_plugins),
    Route("/connections", list_connections),
    Route("/connections/{id}", one_connection, methods=["GET"]),
    Route("/connections/{id}", disconnect, methods=["DELETE"]),
    Route("/connections/{id}/poll", poll_connection, methods=["POST"]),
    Route("/connections/{id}/refresh", refresh_connection, methods=["POST"]),
    Route("/data", list_data),
    Route("/data/counts", count_data),
    Route("/events", list_events),
    Route("/users/{user}/poll", poll_user, methods=["POST"]),
    Route("/users/{user}/token", user_token, methods=["POST"]),
    Route("/users/{user}/message", message_user, methods=["POST"]),
    Route("/ws-tickets", new_ticket, methods=["POST"]),
    Route("/connect-sessions", new_connect_session, methods=["POST"]),
    Route("/connect-sessions/{id}/activate", activate_connect_session, methods=["POST"]),
]
