"""What a socket of the tests hears, and how it ends."""

from __future__ import annotations

import json
from typing import Any

import anyio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .served import Served

QUIET_S = 0.05
PATIENCE_S = 10


async def said_to(listening: ClientConnection) -> dict[str, Any]:
    """The next message."""
    with anyio.fail_after(PATIENCE_S):
        message: dict[str, Any] = json.loads(await listening.recv())
        return message


async def heard(listening: ClientConnection, count: int) -> list[dict[str, Any]]:
    """The next so many messages."""
    return [await said_to(listening) for _ in range(count)]


async def hears_nothing(listening: ClientConnection) -> bool:
    """Whether it stays quiet for a while."""
    with anyio.move_on_after(QUIET_S) as scope:
        await listening.recv()
    return scope.cancelled_caught


async def close_code(listening: ClientConnection) -> int | None:
    """The code it is closed with, whatever is said before."""
    with anyio.fail_after(PATIENCE_S):
        try:
            while True:
                await listening.recv()
        except ConnectionClosed:
            return listening.close_code


async def send(served: Served, count: int, user: str = "ada") -> list[int]:
    """So many messages to a user; their numbers."""
    return [(await served.host.send_to_user(user, {"type": "note", "number": n})).seq for n in range(count)]
