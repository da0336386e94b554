"""The HTTP API for applications and for the page's own script."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

from soulwatch.host.access import TICKET_LASTS
from soulwatch.host.connecting import FLOW_LASTS
from soulwatch.host.host import OWN
from soulwatch.host.store import events, items, polls
from soulwatch.host.web.asked import body_of, id_in, known_only, known_platform, number, query, text_in, user_in
from soulwatch.host.web.problems import Json
from soulwatch.host.web.shapes import connection_shape, event_shape, item_shape, outcome_shape, time
from soulwatch.host.web.state import host_of
from soulwatch.host.web.who import require_caller

MOST_ITEMS = 1000
MOST_EVENTS = 1000
LARGEST_MESSAGE = 16 * 1024
"""Bytes of a message to a user: it waits in the queue of each of their sockets. Data are fetched, not told."""
LONGEST_ADDRESS = 2000
ADDRESS = re.compile(r"[!-~]+")


async def list_plugins(request: Request) -> Json:
    """GET /api/plugins: what is installed, what is wrong with it."""
    await require_caller(request)
    host = host_of(request)
    problems = [
        {"plugin": one.plugin, "distribution": one.distribution, "why": one.why} for one in host.plugins.problems
    ]
    return Json(
        {
            "plugins": [await host.overview.plugin(plugin) for plugin in host.plugins if plugin.distribution != OWN],
            "problems": problems,
        }
    )


async def list_connections(request: Request) -> Json:
    """GET /api/connections: of a user, of a platform, or all."""
    await require_caller(request)
    known_only(request.query_params, "user", "platform")
    host = host_of(request)
    rows = await host.accounts.rows(user=query(request, "user"), platform=query(request, "platform"))
    async with host.database.reading() as transaction:
        of = await polls.by_connection(transaction, [row.id for row in rows])
    return Json({"connections": [connection_shape(host.platforms, row, of[row.id]) for row in rows]})


async def _one(request: Request, connection_id: str) -> dict[str, Any]:
    host = host_of(request)
    row = await host.accounts.row(connection_id)
    async with host.database.reading() as transaction:
        known = await polls.of_connections(transaction, [row.id])
    return connection_shape(host.platforms, row, known)


async def one_connection(request: Request) -> Json:
    """GET /api/connections/{id}; DELETE ends it for good, and `revoked` says whether the platform confirmed."""
    await require_caller(request)
    connection_id = id_in(request)
    if request.method == "DELETE":
        return Json({"revoked": await host_of(request).accounts.disconnect(connection_id)})
    return Json(await _one(request, connection_id))


async def poll_connection(request: Request) -> Json:
    """POST /api/connections/{id}/poll: read its endpoints now, or the one named `data_type`."""
    await require_caller(request)
    body = await body_of(request)
    known_only(body, "data_type")
    data_type = text_in(body, "data_type", is_needed=False)
    outcomes = await host_of(request).poll_connection(id_in(request), data_type)
    return Json({"polls": [outcome_shape(outcome) for outcome in outcomes]})


async def refresh_connection(request: Request) -> Json:
    """POST /api/connections/{id}/refresh: a new token now, whether due or not; `refreshed` says whether it is new."""
    await require_caller(request)
    token, is_new = await host_of(request).refresh_connection(id_in(request))
    return Json({"expires_at": time(token.expires_at), "refreshed": is_new})


async def list_data(request: Request) -> Json:
    """GET /api/data: items as they are now, newest first; `before` goes on from the last answer."""
    await require_caller(request)
    known_only(request.query_params, "user", "platform", "data_type", "connection", "before", "limit")
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
    known_only(request.query_params, "user")
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
    known_only(request.query_params, "user", "after", "limit")
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
    outcomes = await host_of(request).poll_all_platforms_for_user(user_in(request))
    return Json({"polls": [outcome_shape(outcome) for outcome in outcomes]})


async def user_token(request: Request) -> Json:
    """POST /api/users/{user}/token: a fresh access token; its text is for applications, never for a browser."""
    caller = await require_caller(request)
    body = await body_of(request)
    known_only(body, "platform")
    platform = text_in(body, "platform") or ""
    token = await host_of(request).ensure_fresh_token(user_in(request), platform)
    said: dict[str, Any] = {"expires_at": time(token.expires_at), "scopes": token.scopes}
    return Json({**said, "access_token": token.access} if caller.is_application else said)


async def message_user(request: Request) -> Json:
    """POST /api/users/{user}/message: something of the application's own, for the user's open sockets."""
    await require_caller(request)
    message = await body_of(request)
    if len(await request.body()) > LARGEST_MESSAGE:
        raise HTTPException(413, f"A message is larger than {LARGEST_MESSAGE:,} bytes.")
    try:
        event = await host_of(request).send_to_user(user_in(request), message)
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
    own = urlsplit(host.settings.base_url)
    allowed = (*host.settings.return_to_origins, f"{own.scheme}://{own.netloc}")
    return_to = _return_to(body.get("return_to"), allowed)
    known_platform(request, platform)
    session_id, secret = await host.connecting.link(user, platform, return_to, caller.name)
    url = f"{host.settings.base_url}/connect/{platform}?link={secret}"
    return Json({"id": session_id, "url": url, "expires_at": time(host.clock.now() + FLOW_LASTS)}, 201)


async def activate_connect_session(request: Request) -> Json:
    """POST /api/connect-sessions/{id}/activate: the user who started it came back with `code`, still signed in."""
    caller = await require_caller(request)
    body = await body_of(request)
    known_only(body, "code")
    code = text_in(body, "code") or ""
    connection = await host_of(request).connecting.redeem(id_in(request), code, caller.name)
    return Json(await _one(request, connection.id), 201)


def _return_to(said: object, allowed: Collection[str]) -> str:
    # Python's reading of an address drops blanks and line ends and keeps backslashes; a browser's does otherwise.
    if isinstance(said, str) and len(said) <= LONGEST_ADDRESS and ADDRESS.fullmatch(said) and "\\" not in said:
        try:
            parts = urlsplit(said)
        except ValueError:
            parts = urlsplit("")
        if f"{parts.scheme}://{parts.netloc}" in allowed and "#" not in said:
            return said
    detail = (
        f'"return_to" has to be an address of one of these, set by SOULWATCH_RETURN_TO_ORIGINS: {", ".join(allowed)}.'
    )
    raise HTTPException(422, detail)


routes = [
    Route("/plugins", list_plugins),
    Route("/connections", list_connections),
    Route("/connections/{id}", one_connection, methods=["GET", "DELETE"]),
    Route("/connections/{id}/poll", poll_connection, methods=["POST"]),
    Route("/connections/{id}/refresh", refresh_connection, methods=["POST"]),
    Route("/data", list_data),
    Route("/data/counts", count_data),
    Route("/events", list_events),
    Route("/users/{user:path}/poll", poll_user, methods=["POST"]),
    Route("/users/{user:path}/token", user_token, methods=["POST"]),
    Route("/users/{user:path}/message", message_user, methods=["POST"]),
    Route("/ws-tickets", new_ticket, methods=["POST"]),
    Route("/connect-sessions", new_connect_session, methods=["POST"]),
    Route("/connect-sessions/{id}/activate", activate_connect_session, methods=["POST"]),
]
