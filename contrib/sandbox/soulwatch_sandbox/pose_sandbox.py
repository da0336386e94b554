"""The sandbox's own API: an invented journal that shows each way of splitting a list and each kind of answer."""

from __future__ import annotations

from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from soulwatch_sandbox.answers import Signposts, answer, asked_number, json_bytes
from soulwatch_sandbox.gate import Gate
from soulwatch_sandbox.journal import archive_record, follows, mood, note
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.timeline import Timeline

ANY_MS = range(10**14)
PAGES = range(1, 10**7)
MOOD_BEATS = 3
FOLLOW_BEATS = 30
PAGE_SIZES = range(1, 101)
ARCHIVE_PAGE_SIZES = range(1, 1001)


class OwnApi:
    """Everything below `/sandbox/v1`."""

    def __init__(self, seed: str, gate: Gate, timeline: Timeline, signposts: Signposts, archive_size: int) -> None:
        self._seed = seed
        self._gate = gate
        self._timeline = timeline
        self._signposts = signposts
        self._archive_size = archive_size
        # Benches read the archive thousands of times: a page is invented once.
        self._archive_page = lru_cache(maxsize=256)(self._invent_archive_page)

    def routes(self) -> list[Route]:
        """Where everything is."""
        return [
            Route("/v1/me", self.me),
            Route("/v1/notes", self.notes),
            Route("/v1/mood", self.mood),
            Route("/v1/follows", self.follows),
            Route("/v1/archive", self.archive),
        ]

    async def me(self, request: Request) -> Response:
        """Whose token this is."""
        person = self._gate.admit(request, "sandbox").person
        return answer(request, json_bytes({"id": person.id, "name": person.name, "about": person.about}))

    async def notes(self, request: Request) -> Response:
        """A list that grows: newest first, `since` and `before` in ms, the next page as a link in the body."""
        person = self._gate.admit(request, "sandbox", "notes").person
        since = asked_number(request, "sandbox", "since", ANY_MS)
        before = asked_number(request, "sandbox", "before", ANY_MS)
        limit = asked_number(request, "sandbox", "limit", PAGE_SIZES) or 20
        moments = self._timeline.moments("sandbox", person.id, limit + 1, since, before)
        page, has_more = moments[:limit], len(moments) > limit
        link = {"since": since, "before": page[-1] if page else None, "limit": limit}
        body = {
            "items": [note(self._seed, person, ms) for ms in page],
            "next": self._signposts.to(request, "sandbox", "/v1/notes", **link) if has_more else None,
            "cursors": {"newest": str(page[0]) if page else None},
        }
        return answer(request, json_bytes(body))

    async def mood(self, request: Request) -> Response:
        """A state that changes; 204 while there is none."""
        person = self._gate.admit(request, "sandbox", "mood").person
        newest, span = self._timeline.newest(), MOOD_BEATS * self._timeline.beat_ms
        state = mood(self._seed, person, newest - newest % span)
        return Response(status_code=204) if state is None else answer(request, json_bytes(state))

    async def follows(self, request: Request) -> Response:
        """A list that is only ever told whole, its pages linked by the `Link` header."""
        person = self._gate.admit(request, "sandbox", "follows").person
        page = asked_number(request, "sandbox", "page", PAGES) or 1
        per_page = asked_number(request, "sandbox", "per_page", PAGE_SIZES) or 10
        turn = self._timeline.newest() // (FOLLOW_BEATS * self._timeline.beat_ms)
        everybody = follows(self._seed, person, turn)
        shown = everybody[(page - 1) * per_page : page * per_page]
        pages = -(-len(everybody) // per_page)
        links = self._signposts.link_header(request, "sandbox", "/v1/follows", page, pages, per_page=per_page)
        return answer(request, json_bytes(shown), links)

    async def archive(self, request: Request) -> Response:
        """Much that never changes, for benches and first reads; the body names the next page."""
        person = self._gate.admit(request, "sandbox", "archive").person
        page = asked_number(request, "sandbox", "page", PAGES) or 1
        per_page = asked_number(request, "sandbox", "per_page", ARCHIVE_PAGE_SIZES) or 100
        return answer(request, self._archive_page(person, page, per_page))

    def _invent_archive_page(self, person: Person, page: int, per_page: int) -> bytes:
        places = range(self._archive_size)[(page - 1) * per_page : page * per_page]
        is_last = page * per_page >= self._archive_size
        body = {
            "records": [archive_record(self._seed, person, place) for place in places],
            "page": page,
            "total": self._archive_size,
            "next_page": None if is_last else str(page + 1),
        }
        return json_bytes(body)
