"""The ASGI application: to be served, or mounted in another Starlette or FastAPI application."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolIsExhausted
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount, Route, Router, WebSocketRoute

from soulwatch.errors import SoulwatchError
from soulwatch.host.host import Host
from soulwatch.host.settings import Settings, load_settings
from soulwatch.host.web import api, connect, health, live, page, problems, sign_in
from soulwatch.host.web.gate import Gate
from soulwatch.host.web.who import is_https

DATABASE_FAILS = (OperationalError, InterfaceError, InternalError, PoolIsExhausted)


def create_app(settings: Settings | None = None, *, host: Host | None = None, worker: bool = True) -> Starlette:
    """The application under these settings, or those that `load_settings()` finds.

    A `host` that is open already is used as it is and not closed. With `worker=False` it serves the web alone.
    Mounted in another application, its lifespan has to be run by that one:

        async with soulwatch_app.router.lifespan_context(soulwatch_app):
            yield
    """
    decided = host.settings if host is not None else settings or load_settings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            app.state.host = host or await Host.open(decided)
            if host is None:
                stack.push_async_callback(app.state.host.close)
            if worker:
                await stack.enter_async_context(app.state.host.working())
            yield
        app.state.host = None

    app = Starlette(
        routes=_routes(),
        lifespan=lifespan,
        middleware=_middleware(decided),
        exception_handlers={
            HTTPException: problems.on_http,
            SoulwatchError: problems.on_ours,
            **dict.fromkeys(DATABASE_FAILS, problems.on_database),
        },
    )
    app.router.redirect_slashes = False
    return app


def _routes() -> list[Route | Mount | WebSocketRoute]:
    return [
        Route("/", page.home),
        Route("/sign-in", sign_in.sign_in, methods=["GET", "POST"]),
        Route("/sign-out", sign_in.sign_out, methods=["POST"]),
        Route("/connect/{platform}", connect.start),
        Route("/connect/{platform}/callback", connect.callback),
        # A redirect to the same path without its last slash would name http:// behind a proxy that speaks https.
        Mount("/api", app=Router(api.routes, redirect_slashes=False)),
        WebSocketRoute("/ws", live.live),
        Route("/healthz", health.healthz),
        Route("/readyz", health.readyz),
        Mount("/static", app=page.static),
    ]


def _middleware(settings: Settings) -> list[Middleware]:
    gate = Middleware(Gate, hosts=settings.trusted_hosts, new_id=lambda: uuid.uuid4().hex, is_https=is_https(settings))
    if not settings.cors_origins:
        return [gate]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "X-CSRF-Token"],
        max_age=600,
    )
    return [gate, cors]
