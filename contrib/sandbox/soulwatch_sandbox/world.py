"""The sandbox: every part built once, each given only what it needs."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from soulwatch_sandbox.answers import Links, Signposts
from soulwatch_sandbox.applications import Applications
from soulwatch_sandbox.breaking import Breaking
from soulwatch_sandbox.clients import Clients
from soulwatch_sandbox.consent import Consent
from soulwatch_sandbox.control import Control
from soulwatch_sandbox.counter import Counter
from soulwatch_sandbox.dialects import Turned
from soulwatch_sandbox.faults import Faults
from soulwatch_sandbox.gate import Gate
from soulwatch_sandbox.grants import Grants
from soulwatch_sandbox.ledger import Ledger
from soulwatch_sandbox.levers import Levers
from soulwatch_sandbox.meter import Meter
from soulwatch_sandbox.people import invent_people
from soulwatch_sandbox.pose_github import GitHubApi
from soulwatch_sandbox.pose_sandbox import OwnApi
from soulwatch_sandbox.pose_spotify import SpotifyApi
from soulwatch_sandbox.request_log import RequestLog
from soulwatch_sandbox.rules import (
    GITHUB,
    GITHUB_LIMIT,
    POSES,
    SPOTIFY,
    Pose,
    RateLimit,
    Rotation,
    TokenRules,
)
from soulwatch_sandbox.timeline import Timeline

WELCOME = """This is the soulwatch sandbox: an invented platform, for trying and testing without an account anywhere.
Its own API is below /sandbox; it poses as Spotify below /spotify and as GitHub below /github.
"""


class Sandbox(Levers):
    """An invented platform with people, OAuth, an API and faults; `app` is its ASGI application.

    Times are in seconds. `state_file` None keeps everything in memory; with a file, whatever was issued is still
    good after a restart. `token_life`, `rotation`, `grace`, `refresh_life` and `old_access_dies` are the habits of
    its own pose; `rules` replaces those of any pose. `item_every` None lets nothing new happen by itself.
    """

    def __init__(
        self,
        state_file: Path | str | None = None,
        *,
        seed: str = "soulwatch",
        token_life: float = 900,
        rotation: Rotation = "grace",
        grace: float = 60,
        refresh_life: float | None = None,
        old_access_dies: bool = False,
        rules: Mapping[Pose, TokenRules] | None = None,
        item_every: float | None = 20,
        first_items: int = 60,
        archive_size: int = 250,
        people: int = 3,
        rate_limit: RateLimit | tuple[int, float] | None = None,
        links: Links = "served",
        control_key: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        own = TokenRules(
            life=token_life,
            rotation=rotation,
            grace=grace,
            refresh_life=refresh_life,
            old_access_dies=old_access_dies,
        )
        self.rules: dict[Pose, TokenRules] = {"sandbox": own, "spotify": SPOTIFY, "github": GITHUB, **(rules or {})}
        self._ledger = Ledger(None if state_file is None else Path(state_file))
        self.control_key = control_key or self._ledger.fact("control_key", secrets.token_urlsafe(18))
        super().__init__(
            clients=Clients(self._ledger),
            grants=Grants(self._ledger, self.rules, now),
            timeline=Timeline(self._ledger, now, item_every, first_items),
            people=invent_people(people),
            requests=RequestLog(now),
            faults=Faults(now),
        )
        limit = RateLimit(*rate_limit) if isinstance(rate_limit, tuple) else rate_limit
        self.meter = Meter({"sandbox": limit, "spotify": None, "github": GITHUB_LIMIT}, now)
        gate = Gate(self.grants, self.meter, self.people)
        signposts = Signposts(links)
        apis: dict[Pose, list[Route]] = {
            "sandbox": OwnApi(seed, gate, self.timeline, signposts, archive_size).routes(),
            "spotify": SpotifyApi(seed, gate, self.timeline, signposts).routes(),
            "github": [
                *GitHubApi(seed, gate, self.timeline, signposts).routes(),
                *Applications(self.clients, self.grants, self.people).routes(),
            ],
        }
        poses = [Mount(f"/{pose}", routes=[*self._doors(pose, signposts), *apis[pose]]) for pose in POSES]
        routes: list[BaseRoute] = [
            Route("/", _welcome),
            *poses,
            Mount("/control", routes=Control(self, self.control_key).routes()),
        ]
        inner = Starlette(routes=routes, exception_handlers={Turned: _turned})
        broken = Breaking(inner, self.faults, lambda said, pose: gate.person_of(said, cast("Pose", pose)))
        self.app: ASGIApp = self.requests.around(broken)

    def _doors(self, pose: Pose, signposts: Signposts) -> list[Route]:
        consent = Consent(pose, self.clients, self.grants, self.people, signposts)
        counter = Counter(pose, self.clients, self.grants)
        authorize, token = {
            "sandbox": ("/authorize", "/token"),
            "spotify": ("/authorize", "/api/token"),
            "github": ("/login/oauth/authorize", "/login/oauth/access_token"),
        }[pose]
        revoke = [Route("/revoke", counter.revoke, methods=["POST"])] if pose == "sandbox" else []
        return [
            Route(authorize, consent.page, methods=["GET"]),
            Route(authorize, consent.decide, methods=["POST"]),
            Route(token, counter.token, methods=["POST"]),
            *revoke,
        ]

    def close(self) -> None:
        """Let go of the state file."""
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _welcome(_request: Request) -> Response:
    return PlainTextResponse(WELCOME)


async def _turned(_request: Request, turned: Exception) -> Response:
    if isinstance(turned, Turned):
        return turned.response
    raise turned
