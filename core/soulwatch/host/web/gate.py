"""What every request passes first: is it meant for us, how large is it, and which headers go with the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soulwatch.host.web.problems import problem, unforeseen

LARGEST_BODY = 1024 * 1024
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class TooLarge(Exception):
    """A request's body is larger than any we take."""


class Gate:
    """Refuses foreign host names and oversized bodies; adds a request id and the headers that keep a page safe."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], new_id: Callable[[], str], *, is_https: bool) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._new_id = new_id
        self._headers = {**HEADERS}
        if is_https:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        scope["request_id"] = given if REQUEST_ID.fullmatch(given) else self._new_id()
        is_meant_for_us = name_of(headers.get("host", "")) in self._hosts
        if scope["type"] == "http":
            await self._serve(scope, receive, send, self._app if is_meant_for_us else _misdirected)
        elif is_meant_for_us:
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 4403})

    async def _serve(self, scope: Scope, receive: Receive, send: Send, app: ASGIApp) -> None:
        taken = 0
        has_begun = False

        async def measured() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY:
                raise TooLarge
            return message

        async def dressed(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                answer = MutableHeaders(scope=message)
                answer["X-Request-Id"] = scope["request_id"]
                for name, value in self._headers.items():
                    answer.setdefault(name, value)
                answer.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await app(scope, measured, dressed)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except Exception as broken:
            if has_begun:
                raise
            await _answer_to(broken, Request(scope))(scope, receive, dressed)


async def _misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    host = Headers(scope=scope).get("host", "")
    detail = (
        f"This host is not known as {host[:100]!r}. Its operator can add the name to SOULWATCH_ALLOWED_HOSTS, "
        "or set SOULWATCH_PUBLIC_URL."
    )
    await problem(Request(scope), 421, detail)(scope, receive, send)


def _answer_to(broken: Exception, request: Request) -> Response:
    if isinstance(broken, TooLarge):
        return problem(request, 413, f"The request's body is larger than {LARGEST_BODY:,} bytes.")
    return unforeseen(request, broken)


def name_of(host: str) -> str:
    """The host name in a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()
