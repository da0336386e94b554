"""Invented repositories, events and pushes in the shape in which GitHub tells of them."""

from __future__ import annotations

import base64
from typing import Any

from soulwatch_sandbox.chance import number, pick, sha
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.timeline import iso_seconds

API = "https://api.github.com"
WEB = "https://github.com"
REPOSITORIES = ("tidal-clock", "hive-notes", "almanac")
BRANCHES = ("main", "main", "main", "trim-the-sails", "quieter-bells")
FOLLOWED = "sandbox-harbour/lighthouse"
ACTIVITIES = ("push", "push", "push", "force_push", "branch_creation", "pr_merge")


def simple_user(person: Person) -> dict[str, Any]:
    """A user as other answers carry it."""
    api = f"{API}/users/{person.login}"
    plain = ("followers", "subscriptions", "organizations", "repos", "received_events")
    urls = {f"{part}_url": f"{api}/{'orgs' if part == 'organizations' else part}" for part in plain}
    return {
        "login": person.login,
        "id": person.number,
        "node_id": _node("User", person.number),
        "avatar_url": f"https://images.invalid/u/{person.number}",
        "gravatar_id": "",
        "url": api,
        "html_url": f"{WEB}/{person.login}",
        **urls,
        "following_url": f"{api}/following{{/other_user}}",
        "gists_url": f"{api}/gists{{/gist_id}}",
        "starred_url": f"{api}/starred{{/owner}}{{/repo}}",
        "events_url": f"{api}/events{{/privacy}}",
        "type": "User",
        "site_admin": False,
    }


def user(person: Person) -> dict[str, Any]:
    """The answer of `/user`."""
    return {
        **simple_user(person),
        "name": person.name,
        "company": None,
        "blog": "",
        "location": "Sandbox",
        "email": None,
        "hireable": None,
        "bio": person.about,
        "twitter_username": None,
        "public_repos": len(REPOSITORIES),
        "public_gists": 0,
        "followers": number("followers", person.id) % 90,
        "following": 3,
        "created_at": "2019-04-01T08:00:00Z",
        "updated_at": "2026-01-05T08:00:00Z",
    }


def event(seed: str, person: Person, ms: int) -> dict[str, Any]:
    """Something somebody did at a moment, in the short form of payloads used since October 2025."""
    repo = repository_of(seed, person, ms)
    kind = kind_of(seed, person, ms)
    full_name = FOLLOWED if kind == "WatchEvent" else f"{person.login}/{repo}"
    return {
        "id": str(ms),
        "type": kind,
        "actor": {
            "id": person.number,
            "login": person.login,
            "display_login": person.login,
            "gravatar_id": "",
            "url": f"{API}/users/{person.login}",
            "avatar_url": f"https://images.invalid/u/{person.number}",
        },
        "repo": {"id": repository_number(full_name), "name": full_name, "url": f"{API}/repos/{full_name}"},
        "payload": _payload(seed, person, ms, kind, full_name),
        "public": number(seed, "public", person.id, ms) % 5 != 0,
        "created_at": iso_seconds(ms),
    }


def activity(seed: str, person: Person, ms: int) -> dict[str, Any]:
    """A push to one of somebody's repositories, as `/repos/{owner}/{repo}/activity` tells it."""
    branch = pick(BRANCHES, seed, "branch", person.id, ms)
    return {
        "id": ms,
        "node_id": _node("PSH", ms),
        "before": sha(seed, "before", person.id, ms),
        "after": sha(seed, "head", person.id, ms),
        "ref": f"refs/heads/{branch}",
        "timestamp": iso_seconds(ms),
        "activity_type": pick(ACTIVITIES, seed, "activity", person.id, ms),
        "actor": simple_user(person),
    }


def kind_of(seed: str, person: Person, ms: int) -> str:
    """The type of the event at a moment; two out of three are pushes."""
    kinds = ("PushEvent", "PushEvent", "PushEvent", "PushEvent", "CreateEvent", "WatchEvent")
    return pick(kinds, seed, "kind", person.id, ms)


def repository_of(seed: str, person: Person, ms: int) -> str:
    """The name of the repository an event at a moment is about."""
    return pick(REPOSITORIES, seed, "repo", person.id, ms)


def repository_number(full_name: str) -> int:
    """A repository's id."""
    return 70_000_000 + number("repository", full_name) % 9_000_000


def _payload(seed: str, person: Person, ms: int, kind: str, full_name: str) -> dict[str, Any]:
    branch = pick(BRANCHES, seed, "branch", person.id, ms)
    if kind == "WatchEvent":
        return {"action": "started"}
    if kind == "CreateEvent":
        return {
            "ref": branch,
            "ref_type": "branch",
            "full_ref": f"refs/heads/{branch}",
            "master_branch": "main",
            "description": None,
            "pusher_type": "user",
        }
    return {
        "repository_id": repository_number(full_name),
        "push_id": ms,
        "ref": f"refs/heads/{branch}",
        "head": sha(seed, "head", person.id, ms),
        "before": sha(seed, "before", person.id, ms),
    }


def _node(kind: str, ident: int) -> str:
    return base64.b64encode(f"{kind}{ident}".encode()).decode()
