"""One invented repository with all the addresses GitHub tells of it."""

from __future__ import annotations

from typing import Any

from soulwatch_sandbox.chance import number, pick
from soulwatch_sandbox.codework import API, WEB, repository_number, simple_user
from soulwatch_sandbox.people import Person
from soulwatch_sandbox.timeline import iso_seconds

ADDRESSES = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
CREATED_MS = 1_600_000_000_000


def repository(person: Person, name: str, pushed_ms: int | None) -> dict[str, Any]:
    """A repository of `person`, as `/user/repos` lists it."""
    full_name = f"{person.login}/{name}"
    about = ("repository", full_name)
    stars, issues = number(*about, "stars") % 40, number(*about, "issues") % 9
    url = f"{API}/repos/{full_name}"
    return {
        "id": repository_number(full_name),
        "node_id": f"R_sandbox{repository_number(full_name)}",
        "name": name,
        "full_name": full_name,
        "private": False,
        "owner": simple_user(person),
        "html_url": f"{WEB}/{full_name}",
        "description": f"Invented: {name.replace('-', ' ')}",
        "fork": False,
        "url": url,
        **{field: url + path for field, path in ADDRESSES.items()},
        "git_url": f"git://github.com/{full_name}.git",
        "ssh_url": f"git@github.com:{full_name}.git",
        "clone_url": f"{WEB}/{full_name}.git",
        "svn_url": f"{WEB}/{full_name}",
        "mirror_url": None,
        "homepage": None,
        "language": pick(("Python", "Rust", None), *about, "language"),
        "forks_count": 0,
        "forks": 0,
        "stargazers_count": stars,
        "watchers_count": stars,
        "watchers": stars,
        "size": number(*about, "size") % 5000,
        "default_branch": "main",
        "open_issues_count": issues,
        "open_issues": issues,
        "has_issues": True,
        "has_projects": False,
        "has_wiki": False,
        "has_pages": False,
        "has_downloads": False,
        "archived": False,
        "disabled": False,
        "visibility": "public",
        "license": None,
        "permissions": {"admin": True, "push": True, "pull": True},
        "pushed_at": None if pushed_ms is None else iso_seconds(pushed_ms),
        "created_at": iso_seconds(CREATED_MS),
        "updated_at": iso_seconds(CREATED_MS if pushed_ms is None else pushed_ms),
    }
