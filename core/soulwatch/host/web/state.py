"""One accessor from the web side to the host: the only place that knows where it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

if TYPE_CHECKING:
    from soulwatch.host.host import Host

NOT_STARTED = (
    "soulwatch has not started: an application that mounts it has to run its lifespan "
    "(`async with soulwatch_app.router.lifespan_context(soulwatch_app)` inside the application's own)."
)


def host_of(connection: HTTPConnection) -> Host:
    """The running host. Raises HTTPException 503 before it has started."""
    host: Any = getattr(connection.app.state, "host", None)
    if host is None:
        raise HTTPException(503, NOT_STARTED)
    return host  # type: ignore[no-any-return]
