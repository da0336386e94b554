"""Who knocked, and what they were told: every request received, without secrets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from soulwatch_sandbox.rules import POSES

KEPT = 100_000
SECRETS = frozenset({"code", "state", "access_token", "refresh_token", "client_secret", "token", "code_verifier"})


@dataclass(slots=True)
class Received:
    """One request. `status` is None until it is answered, and stays so where the answer was lost."""

    at: datetime
    method: str
    pose: str
    path: str
    """Within the pose: `/v1/notes`."""
    query: dict[str, str]
    status: int | None = None
    took_s: float | None = None
    grant: str | None = None
    generation: int | None = None
    """Which of its grant's access tokens it came with, or was given."""
    grant_type: str | None = None
    fault: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For `/control/requests`."""
        return {**asdict(self), "at": self.at.isoformat()}


class RequestLog:
    """All requests received, oldest first."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._entries: deque[Received] = deque(maxlen=KEPT)
        self.most_at_once = 0
        """How many requests were ever being answered at the same time."""
        self._at_once = 0

    def __iter__(self) -> Iterator[Received]:
        return iter(list(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, pose: str | None = None, path: str = "", method: str | None = None) -> list[Received]:
        """Those of one pose, below one path, of one method."""
        return [
            entry
            for entry in self
            if pose in (None, entry.pose) and entry.path.startswith(path) and method in (None, entry.method)
        ]

    def clear(self) -> None:
        """Forget them."""
        self._entries.clear()
        self.most_at_once = self._at_once

    def around(self, app: ASGIApp) -> ASGIApp:
        """`app`, with everything it receives written down."""

        async def logged(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"].startswith("/control"):
                await app(scope, receive, send)
                return
            entry, began = self._begin(scope), time.monotonic()

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    entry.status = message["status"]
                    self._take_over(entry, scope)
                await send(message)

            try:
                await app(scope, receive, sent)
            finally:
                self._at_once -= 1
                self._take_over(entry, scope)
                entry.took_s = round(time.monotonic() - began, 6)

        return logged

    def _begin(self, scope: Scope) -> Received:
        pose, path = split_pose(scope["path"])
        query = {
            name: "(hidden)" if name in SECRETS else value
            for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        }
        entry = Received(self._now(), scope["method"], pose, path, query)
        self._entries.append(entry)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        return entry

    def _take_over(self, entry: Received, scope: Scope) -> None:
        state = scope.get("state", {})
        for name in ("grant", "generation", "grant_type", "fault"):
            if state.get(name) is not None:
                setattr(entry, name, state[name])


def split_pose(path: str) -> tuple[str, str]:
    """A path's pose, empty for none, and the rest."""
    first, _, rest = path.removeprefix("/").partition("/")
    return (first, f"/{rest}") if first in POSES else ("", path)
