"""The WebSocket: proven by a ticket, then a user's events in order, from wherever that client left off."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from soulwatch.host.access import Ticket
from soulwatch.host.broadcaster import Listener, TooSlow
from soulwatch.host.store import events
from soulwatch.host.web.asked import decoded
from soulwatch.host.web.shapes import event_shape
from soulwatch.host.web.state import host_of
from soulwatch.host.web.who import own_origins

logger = logging.getLogger("soulwatch.live")

PROTOCOL = "soulwatch.v1"
TICKET = "ticket."
SAY_WHO_WITHIN_S = 5.0
SEND_WITHIN_S = 10.0
LARGEST_MESSAGE = 16 * 1024
MESSAGES_A_MINUTE = 60
REFUSED, NOT_PROVEN, TOO_SLOW, RESTARTING = 4403, 4401, 4408, 1012
TOO_MANY, TOO_LARGE = 1008, 1009


class Refused(Exception):
    """This client may not listen, or no longer; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def live(socket: WebSocket) -> None:
    """GET /ws: the ticket comes as a sub-protocol, or in the first message; never in the address."""
    if not _is_origin_known(socket):
        await socket.close(REFUSED)
        return
    host = host_of(socket)
    offered = socket.scope.get("subprotocols", [])
    text = next((one.removeprefix(TICKET) for one in offered if one.startswith(TICKET)), None)
    ticket = await host.access.take_ticket(text) if text is not None else None
    if text is not None and not _fits(socket, ticket):
        await socket.close(NOT_PROVEN)
        return
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    try:
        after = None
        if ticket is None:
            ticket, after = await _first_message(socket)
        await _serve(socket, ticket, after)
    except Refused as refused:
        await _close(socket, refused.code)
    except (TooSlow, TimeoutError):
        await _close(socket, TOO_SLOW)
    except WebSocketDisconnect:
        pass


def _is_origin_known(socket: WebSocket) -> bool:
    origin = socket.headers.get("origin")
    return origin is None or origin in own_origins(socket) or origin in host_of(socket).settings.cors_origins


def _fits(socket: WebSocket, ticket: Ticket | None) -> bool:
    """Whether a ticket is good here: one that a page obtained is good for that page's origin only."""
    return ticket is not None and (ticket.origin is None or ticket.origin == socket.headers.get("origin"))


async def _first_message(socket: WebSocket) -> tuple[Ticket, int | None]:
    message: dict[str, Any] = {}
    with anyio.move_on_after(SAY_WHO_WITHIN_S):
        message = _decoded(await _receive(socket))
    if message.get("type") != "auth" or not isinstance(message.get("ticket"), str):
        raise Refused(NOT_PROVEN)
    ticket = await host_of(socket).access.take_ticket(message["ticket"])
    if ticket is None or not _fits(socket, ticket):
        raise Refused(NOT_PROVEN)
    return ticket, _seq(message.get("after"))


async def _serve(socket: WebSocket, ticket: Ticket, after: int | None) -> None:
    host = host_of(socket)
    if after is None:
        after = _seq(socket.query_params.get("after"))
    async with host.database.reading() as transaction:
        last = await events.last_seq(transaction, ticket.user)
        first = await events.first_seq(transaction, ticket.user)
    oldest = last + 1 if first is None else first
    is_lost = after is not None and (after > last or after + 1 < oldest)
    start = last if after is None or is_lost else after
    ready: dict[str, Any] = {"type": "ready", "user": ticket.user, "last": last}
    await _send(socket, ready)
    if is_lost:
        await _send(socket, {"type": "resync", "last": last})
    with host.broadcaster.listening(ticket.user, start) as listener:
        async with anyio.create_task_group() as group:
            failed: list[Exception] = []

            async def run(work: Any) -> None:
                try:
                    await work
                except (TooSlow, TimeoutError, WebSocketDisconnect, Refused) as ended:
                    failed.append(ended)
                group.cancel_scope.cancel()

            group.start_soon(run, _tell(socket, listener))
            group.start_soon(run, listener.overflow())
            group.start_soon(run, _hear(socket))
            group.start_soon(run, host.worker.stopping())
    if failed:
        raise failed[0]
    await _close(socket, RESTARTING)


async def _tell(socket: WebSocket, listener: Listener) -> None:
    while True:
        await _send(socket, event_shape(await listener.next()))


async def _hear(socket: WebSocket) -> None:
    """Answer pings; whatever else a client says is not heard, a name of a user least of all."""
    clock = host_of(socket).clock
    minute, count = clock.monotonic(), 0
    while True:
        message = _decoded(await _receive(socket))
        if clock.monotonic() - minute > 60:  # noqa: PLR2004  - a minute
            minute, count = clock.monotonic(), 0
        count += 1
        if count > MESSAGES_A_MINUTE:
            raise Refused(TOO_MANY)
        if message.get("type") == "ping":
            await _send(socket, {"type": "pong"})


async def _receive(socket: WebSocket) -> str | bytes:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text: str | bytes = message.get("text") or message.get("bytes") or ""
    if len(text) > LARGEST_MESSAGE:
        raise Refused(TOO_LARGE)
    return text


def _decoded(text: str | bytes) -> dict[str, Any]:
    try:
        value = decoded(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _seq(said: object) -> int | None:
    text = str(said)
    return int(text) if said is not None and text.isascii() and text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004


async def _send(socket: WebSocket, said: dict[str, Any]) -> None:
    with anyio.fail_after(SEND_WITHIN_S):
        await socket.send_text(msgspec.json.encode(said).decode())


async def _close(socket: WebSocket, code: int) -> None:
    try:
        with anyio.move_on_after(SEND_WITHIN_S):
            await socket.close(code)
    except RuntimeError:
        pass  # it had gone already
