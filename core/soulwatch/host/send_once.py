"""The transport of a refresh: it sends once, in time or not at all, and keeps the answer before anybody reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx

from soulwatch.errors import PluginError, Unavailable
from soulwatch.host.clock import Clock
from soulwatch.host.safe import RawAnswer
from soulwatch.oauth import RECEIVED_AT

FIRST_BYTE = ("http11.send_request_headers.started", "http2.send_request_headers.started")
KEPT_HEADERS = frozenset({"content-type", "retry-after", "date", "x-ratelimit-remaining", "x-ratelimit-reset"})


class NotSentError(httpx.TransportError):
    """The claim had run too long when the first byte was to be written; nothing left this host."""


class SendOnce(httpx.AsyncBaseTransport):
    """Sends one request before `deadline` (monotonic seconds) and hands its answer to `keep` first."""

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        clock: Clock,
        deadline: float,
        keep: Callable[[RawAnswer], Awaitable[None]],
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._deadline = deadline
        self._keep = keep
        self._is_used = False
        self.is_sent = False
        """Whether a byte of the request may have reached the platform."""
        self.answer: RawAnswer | None = None
        """The whole answer, once it came and was kept."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send, keep, and only then answer. Raises NotSentError after the deadline."""
        if self._is_used:
            raise PluginError("refresh_token may send one request; it tried a second. Nothing more was sent.")
        self._is_used = True
        self._guard()
        request.extensions = {**request.extensions, "trace": self._trace}
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        # A transport that does not trace, such as one in a test, has sent by now all the same.
        self.is_sent = True
        answer = RawAnswer(
            response.status_code,
            [(name, value) for name, value in response.headers.items() if name in KEPT_HEADERS],
            response.content,
            self._clock.now(),
        )
        # Whoever waited for it may have gone, but what came may be the only token there is.
        with anyio.CancelScope(shield=True):
            await self._kept(answer)
        self.answer = answer
        return as_response(answer, request)

    async def _kept(self, answer: RawAnswer) -> None:
        try:
            await self._keep(answer)
        except Exception as broken:
            raise Unavailable(
                f"The answer of the token endpoint could not be stored: {type(broken).__name__}.", ambiguous=True
            ) from broken

    def _guard(self) -> None:
        if self._clock.monotonic() > self._deadline:
            raise NotSentError("The claim ran out before the request was sent; it will be tried again.")

    async def _trace(self, name: str, _info: dict[str, Any]) -> None:
        if name in FIRST_BYTE:
            self._guard()
            self.is_sent = True


class Replay(httpx.AsyncBaseTransport):
    """Answers from the journal what was answered before a crash; nothing is sent."""

    def __init__(self, answer: RawAnswer) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer as it came."""
        return as_response(self._answer, request)


def as_response(answer: RawAnswer, request: httpx.Request) -> httpx.Response:
    """An httpx response that knows when it really came."""
    return httpx.Response(
        answer.status,
        headers=answer.headers,
        content=answer.body,
        request=request,
        extensions={RECEIVED_AT: answer.received_at},
    )
