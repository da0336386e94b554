"""How things go wrong: a layer around the whole server that lets a fault have its way with a request."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soulwatch_sandbox.faults import Fault, Faults
from soulwatch_sandbox.instead import INSTEAD, huge
from soulwatch_sandbox.request_log import split_pose
from soulwatch_sandbox.spoiling import SPOILERS

PersonOf = Callable[[str | None, str], str | None]


class Breaking:
    """Stands between the log and the poses."""

    def __init__(self, app: ASGIApp, faults: Faults, person_of: PersonOf) -> None:
        self._app = app
        self._faults = faults
        self._person_of = person_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, broken if its time has come."""
        pose, path = split_pose(scope.get("path", ""))
        if scope["type"] != "http" or not pose:
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        fault = self._faults.take(
            pose, path, scope["method"], lambda: self._person_of(headers.get("authorization"), pose)
        )
        if fault is None:
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["fault"] = fault.kind
        await self._strike(fault, scope, receive, send)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind in INSTEAD:
            await INSTEAD[fault.kind](fault, scope)(scope, receive, send)
        elif fault.kind in SPOILERS:
            response = await self._answer(scope, receive)
            await SPOILERS[fault.kind](fault, scope, response)(scope, receive, send)
        else:
            ways: dict[str, Callable[[Fault, Scope, Receive, Send], Awaitable[None]]] = {
                "hang": self._hang,
                "drip": self._drip,
                "cut": self._cut,
                "drop": self._drop,
                "lose_answer": self._lose_answer,
                "huge": huge,
            }
            await ways[fault.kind](fault, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        """What would have been answered."""
        start: Message = {}
        body = b""

        async def caught(message: Message) -> None:
            nonlocal body
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body += message.get("body", b"")

        await self._app(scope, receive, caught)
        response = Response(body, start["status"])
        response.raw_headers = list(start["headers"])
        return response

    async def _hang(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer late, unless the visitor has gone by then."""
        said = await _read_all(receive)
        if await _is_gone_within(fault.seconds, receive):
            return

        async def replayed() -> Message:
            return said.pop(0) if said else await receive()

        await self._app(scope, replayed, send)

    async def _drip(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(scope, receive)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        body, step = bytes(response.body), max(1, fault.after_bytes)
        for place in range(0, len(body), step):
            await send({"type": "http.response.body", "body": body[place : place + step], "more_body": True})
            if await _is_gone_within(fault.seconds, receive):
                return
        await send({"type": "http.response.body", "body": b""})

    async def _cut(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(scope, receive)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        kept = bytes(response.body)[: fault.after_bytes]
        await send({"type": "http.response.body", "body": kept, "more_body": True})
        await reset(scope, receive)

    async def _drop(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await reset(scope, receive)

    async def _lose_answer(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """The state has changed, and nobody hears of it."""
        await self._answer(scope, receive)
        await reset(scope, receive)


async def reset(scope: Scope, receive: Receive) -> None:
    """Break the TCP connection as a crash would: with RST, not with a goodbye."""
    transport = scope.get("state", {}).get("transport")
    if transport is None:
        raise ConnectionResetError("This fault needs the sandbox's own server; see running().")
    # SO_LINGER with a wait of 0 turns close() into a reset.
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_all(receive: Receive) -> list[Message]:
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    return messages


async def _is_gone_within(seconds: float, receive: Receive) -> bool:
    """Whether the visitor hangs up within this time, which passes otherwise."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
