"""Whether this process lives, and whether it can serve: for whoever restarts it or sends it requests."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from soulwatch.errors import SoulwatchError
from soulwatch.host.web.problems import Json, problem
from soulwatch.host.web.state import host_of


async def healthz(request: Request) -> Response:
    """GET /healthz: 200 while every loop shows life; it names the one that does not."""
    stale = host_of(request).worker.stale()
    if stale:
        return problem(request, 503, f"No sign of life from: {', '.join(stale)}. Restart this process.")
    return Json({"status": "ok"})


async def readyz(request: Request) -> Response:
    """GET /readyz: 200 while the database answers and can be written."""
    host = host_of(request)
    try:
        await host.database.check()
    except SoulwatchError:
        return problem(request, 503, "The database does not answer.")
    if host.trouble.now:
        await host.trouble.look()  # at most every few seconds; a process without background work has nobody else to
    if host.trouble.now:
        return problem(request, 503, f"{host.trouble.now} The log tells more.")
    return Json({"status": "ok"})
