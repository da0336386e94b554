"""The part of GitHub's REST API that a person's activity needs, with answers shaped as documented."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from soulwatch_sandbox.answers import NOT_MODIFIED, Signposts, answer, asked_number, json_bytes
from soulwatch_sandbox.codework import REPOSITORIES, activity, event, kind_of, repository_of, user
from soulwatch_sandbox.dialects import Turned, refusal
from soulwatch_sandbox.gate import Gate, Visit
from soulwatch_sandbox.meter import Reading
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.repository import repository
from soulwatch_sandbox.timeline import Timeline

MOST_EVENTS = 300
OLDEST_EVENT_MS = 30 * 86_400_000
MOST_ON_A_PAGE = 100
POLL_INTERVAL_S = "60"
ANY_MS = range(10**14)
PAGES = range(1, 10**6)
SORTED_BY = ("created", "updated", "pushed", "full_name")
NO_AGENT = "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."

View = Callable[[Request, Visit], Response]


class GitHubApi:
    """Everything of `https://api.github.com` below `/github`."""

    def __init__(self, seed: str, gate: Gate, timeline: Timeline, signposts: Signposts) -> None:
        self._seed = seed
        self._gate = gate
        self._timeline = timeline
        self._signposts = signposts

    def routes(self) -> list[Route]:
        """Where everything is."""
        views: dict[str, View] = {
            "/user": self.user,
            "/user/repos": self.repositories,
            "/users/{login}/events": self.events,
            "/repos/{owner}/{repo}/activity": self.activity,
        }
        return [Route(path, self._guarded(view)) for path, view in views.items()]

    def user(self, request: Request, visit: Visit) -> Response:
        """Whose token this is."""
        return answer(request, json_bytes(user(visit.person)))

    def events(self, request: Request, visit: Visit) -> Response:
        """What somebody did: their own token sees the private part too."""
        login = request.path_params["login"]
        if login.lower() != visit.person.login:
            return refusal("github", 404, "Not Found")
        page = asked_number(request, "github", "page", PAGES) or 1
        per_page = min(asked_number(request, "github", "per_page", PAGES) or 30, MOST_ON_A_PAGE)
        if (page - 1) * per_page >= MOST_EVENTS:
            message = "In order to keep the API fast for everyone, pagination is limited for this resource."
            return refusal("github", 422, message)
        oldest = self._timeline.now_ms() - OLDEST_EVENT_MS
        moments = self._timeline.moments("github", visit.person.id, MOST_EVENTS, after=oldest)
        shown = moments[(page - 1) * per_page : page * per_page]
        pages = max(1, -(-len(moments) // per_page))
        links = self._signposts.link_header(request, "github", f"/users/{login}/events", page, pages, per_page=per_page)
        body = json_bytes([event(self._seed, visit.person, ms) for ms in shown])
        return answer(request, body, {**links, "x-poll-interval": POLL_INTERVAL_S})

    def repositories(self, request: Request, visit: Visit) -> Response:
        """Somebody's repositories; with `sort=pushed` the latest pushed to first."""
        if request.query_params.get("sort", "full_name") not in SORTED_BY:
            return refusal("github", 422, "Validation Failed")
        moments = self._timeline.moments("github", visit.person.id, MOST_EVENTS)
        pushed = {name: next(iter(self._pushes(visit.person, name, moments)), None) for name in REPOSITORIES}
        names = sorted(REPOSITORIES)
        if request.query_params.get("sort") in ("pushed", "updated"):
            names.sort(key=lambda name: pushed[name] or 0, reverse=True)
        return answer(request, json_bytes([repository(visit.person, name, pushed[name]) for name in names]))

    def activity(self, request: Request, visit: Visit) -> Response:
        """The pushes to one repository, newest first, the next page behind an opaque cursor."""
        owner, name = request.path_params["owner"], request.path_params["repo"]
        if owner.lower() != visit.person.login or name not in REPOSITORIES:
            return refusal("github", 404, "Not Found")
        per_page = min(asked_number(request, "github", "per_page", PAGES) or 30, MOST_ON_A_PAGE)
        cursor = asked_number(request, "github", "after", ANY_MS)
        moments = self._timeline.moments("github", visit.person.id, MOST_EVENTS, before=cursor)
        pushes = self._pushes(visit.person, name, moments)
        shown = pushes[:per_page]
        headers = {}
        if len(pushes) > per_page:
            here = f"/repos/{owner}/{name}/activity"
            link = self._signposts.to(request, "github", here, per_page=per_page, after=shown[-1])
            headers["link"] = f'<{link}>; rel="next"'
        return answer(request, json_bytes([activity(self._seed, visit.person, ms) for ms in shown]), headers)

    def _pushes(self, person: Person, name: str, moments: list[int]) -> list[int]:
        return [
            ms
            for ms in moments
            if kind_of(self._seed, person, ms) == "PushEvent" and repository_of(self._seed, person, ms) == name
        ]

    def _guarded(self, view: View) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if not request.headers.get("user-agent"):
                return refusal("github", 403, NO_AGENT)
            visit = self._gate.admit(request, "github")
            try:
                response = view(request, visit)
            except Turned as turned:
                response = turned.response
            # An answer "not modified" leaves the limit untouched.
            reading = self._gate.give_back(visit) if response.status_code == NOT_MODIFIED else visit.reading
            response.headers.update(_headers(visit, reading))
            return response

        return guarded


def _headers(visit: Visit, reading: Reading | None) -> dict[str, Any]:
    headers = {
        "x-github-media-type": "github.v3; format=json",
        "x-oauth-scopes": ", ".join(visit.grant.scope),
    }
    if reading is not None:
        headers |= {
            "x-ratelimit-limit": str(reading.limit),
            "x-ratelimit-remaining": str(reading.remaining),
            "x-ratelimit-used": str(reading.used),
            "x-ratelimit-reset": str(reading.reset),
            "x-ratelimit-resource": "core",
        }
    return headers
