"""Errors as answers: problem+json (RFC 9457), each with the id under which the log tells the rest."""

from __future__ import annotations

import logging
from http import HTTPStatus
from math import ceil
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from soulwatch.errors import (
    Misconfigured,
    NeedsReauth,
    NotFound,
    PlatformError,
    PluginError,
    RateLimited,
    SoulwatchError,
    Unavailable,
)
from soulwatch.host.accounts import FlowRefused
from soulwatch.host.clock import Clock

logger = logging.getLogger("soulwatch.web")

STATUSES: tuple[tuple[type[SoulwatchError], int], ...] = (
    (NotFound, 404),
    (FlowRefused, 400),
    (NeedsReauth, 409),
    (RateLimited, 503),
    (Unavailable, 503),
    (Misconfigured, 502),
    (PluginError, 502),
    (PlatformError, 502),
)


class Json(Response):
    """A JSON answer, encoded once, raw parts passed through."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content as JSON text."""
        return msgspec.json.encode(content)


def status_of(error: SoulwatchError) -> int:
    """The HTTP status that says who can help."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def problem(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """A problem as an answer."""
    said = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request.scope.get("request_id", ""),
    }
    return Response(
        msgspec.json.encode(said), status, media_type="application/problem+json", headers={**(headers or {})}
    )


async def on_http(request: Request, error: Exception) -> Response:
    """An answer for what a route refused."""
    assert isinstance(error, HTTPException)  # noqa: S101  - registered for nothing else
    return problem(request, error.status_code, error.detail, dict(error.headers or {}))


async def on_ours(request: Request, error: Exception) -> Response:
    """An answer for an error of ours, with `Retry-After` where it says when to ask again."""
    assert isinstance(error, SoulwatchError)  # noqa: S101  - registered for nothing else
    headers = {}
    retry_at = getattr(error, "retry_at", None)
    if retry_at is not None:
        clock: Clock = request.app.state.host.clock
        headers["Retry-After"] = str(max(1, ceil((retry_at - clock.now()).total_seconds())))
    return problem(request, status_of(error), str(error), headers)


async def on_database(request: Request, error: Exception) -> Response:
    """An answer while the database is full, away or locked: it is nobody's request that is wrong."""
    request_id = {"request_id": request.scope.get("request_id")}
    if request.app.state.host.trouble.met(error):
        logger.debug("the database failed", extra=request_id)
    else:
        logger.error("the database failed", exc_info=error, extra=request_id)
    return problem(request, 503, "The database cannot be used at the moment. The log tells more.")


def unforeseen(request: Request, error: Exception) -> Response:
    """An answer for a fault of ours: it says no more than where to look."""
    logger.error("a request failed", exc_info=error, extra={"request_id": request.scope.get("request_id")})
    return problem(request, 500, "Something went wrong here; the log tells more under this request id.")
