"""The part of Spotify's Web API that a listener's history needs, with answers shaped as documented."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from soulwatch_sandbox.answers import Signposts, answer, asked_number, json_bytes
from soulwatch_sandbox.dialects import refusal
from soulwatch_sandbox.gate import Gate
from soulwatch_sandbox.music import account, play, playing
from soulwatch_sandbox.timeline import Timeline

WHOLE_HISTORY = 50
"""Spotify remembers so many tracks and no more."""
ANY_MS = range(10**14)
RECENTLY_PLAYED = "/v1/me/player/recently-played"


class SpotifyApi:
    """Everything below `/spotify/v1`."""

    def __init__(self, seed: str, gate: Gate, timeline: Timeline, signposts: Signposts) -> None:
        self._seed = seed
        self._gate = gate
        self._timeline = timeline
        self._signposts = signposts

    def routes(self) -> list[Route]:
        """Where everything is."""
        return [
            Route("/v1/me", self.me),
            Route(RECENTLY_PLAYED, self.recently_played),
            Route("/v1/me/player/currently-playing", self.currently_playing),
        ]

    async def me(self, request: Request) -> Response:
        """Whose token this is."""
        return answer(request, json_bytes(account(self._gate.admit(request, "spotify").person)))

    async def recently_played(self, request: Request) -> Response:
        """The last tracks heard, newest first, of the last fifty."""
        person = self._gate.admit(request, "spotify", "user-read-recently-played").person
        limit = asked_number(request, "spotify", "limit", range(1, WHOLE_HISTORY + 1)) or 20
        after = asked_number(request, "spotify", "after", ANY_MS)
        before = asked_number(request, "spotify", "before", ANY_MS)
        if after is not None and before is not None:
            return refusal("spotify", 400, "Only one of after and before may be given")
        history = self._timeline.moments("spotify", person.id, WHOLE_HISTORY)
        fitting = [ms for ms in history if (after is None or ms > after) and (before is None or ms < before)]
        page = fitting[:limit]
        has_older = after is None and len(fitting) > limit
        here = self._signposts
        older = {"before": page[-1] if page else None, "limit": limit}
        body: dict[str, Any] = {
            "items": [play(self._seed, person, ms) for ms in page],
            "next": here.to(request, "spotify", RECENTLY_PLAYED, **older) if has_older else None,
            "cursors": {"after": str(page[0]), "before": str(page[-1])} if page else None,
            "limit": limit,
            "href": here.to(request, "spotify", RECENTLY_PLAYED, after=after, before=before, limit=limit),
        }
        return answer(request, json_bytes(body))

    async def currently_playing(self, request: Request) -> Response:
        """What plays now; 204 while nothing does, and no item during an advertisement."""
        person = self._gate.admit(request, "spotify", "user-read-currently-playing").person
        since, now = self._timeline.newest(), self._timeline.now_ms()
        state = playing(self._seed, person, since, since + self._timeline.beat_ms, now)
        return Response(status_code=204) if state is None else answer(request, json_bytes(state))
