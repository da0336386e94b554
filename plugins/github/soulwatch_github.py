"""GitHub as one value: what somebody did, and the repositories they have.

Source: GitHub's REST reference for version 2022-11-28 and its pages on OAuth apps; the README says which facts could
not be verified.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx

from soulwatch import (
    Answer,
    Api,
    Client,
    Connector,
    Cursor,
    Endpoint,
    Identity,
    Item,
    LinkHeader,
    Misconfigured,
    OAuth2,
    Page,
    Platform,
    Token,
    Unavailable,
)
from soulwatch.oauth import received_at
from soulwatch.waiting import retry_after

LOGIN = "https://github.com/login/oauth"
API = "https://api.github.com"
HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "soulwatch-github",
}
CLONE_TOKEN = "temp_clone_token"  # noqa: S105  - the name of a field, not a secret


class GitHubOAuth(OAuth2):
    """OAuth as GitHub has it: the standard but for giving a token up."""

    async def revoke(self, token: Token, client: Client, http: httpx.AsyncClient) -> bool:
        """Delete this one token; what the same person allowed elsewhere stays. Raises PlatformError.

        Source: "Delete an app token". GitHub says 404 or 422 of a token it does not know, which is what was wanted.
        """
        if self.revoke_url is None:
            return False
        url = self.revoke_url.replace("{client_id}", quote(client.id, safe=""))
        auth = httpx.BasicAuth(client.id, client.secret or "")
        response = await http.request("DELETE", url, json={"access_token": token.access}, headers=HEADERS, auth=auth)
        if response.is_success or response.status_code in (httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY):
            return True
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise Misconfigured("GitHub refuses our OAuth client (HTTP 401): check client id and secret.")
        raise Unavailable(
            f"GitHub did not delete the token (HTTP {response.status_code}).",
            retry_at=retry_after(response.headers, received_at(response)),
        )


class OwnEvents(Endpoint):
    """The events of a person, under the login they have today."""

    async def pages(self, api: Api, cursor: Cursor) -> AsyncIterator[Page]:
        """Asks for the login first: a person may change it, and GitHub gives the old one to whoever wants it."""
        identity = api.platform.identity
        login = identity.read((await api.get(identity.url)).value()).name
        today = replace(self, url=self.url.replace("{account_name}", quote(login, safe="")))
        async for page in Endpoint.pages(today, api, cursor):
            yield page


class Repos(Endpoint):
    """Repositories, without the credential that GitHub may put into them."""

    def read(self, answer: Answer, value: Any) -> tuple[Item, ...]:
        """The repositories; a clone token opens a private one and must not lie about in clear."""
        items = super().read(answer, value)
        return tuple(_without_clone_token(item, repo) for item, repo in zip(items, value, strict=True))


def _without_clone_token(item: Item, repo: Any) -> Item:
    secret = repo.get(CLONE_TOKEN) if isinstance(repo, dict) else None
    if not isinstance(secret, str) or not secret:
        return item
    return replace(item, raw=item.raw.replace(json.dumps(secret).encode(), b'""'))


github = Connector(
    platform=Platform(
        name="github",
        title="GitHub",
        oauth=GitHubOAuth(
            authorize_url=f"{LOGIN}/authorize",
            token_url=f"{LOGIN}/access_token",
            revoke_url=f"{API}/applications/{{client_id}}/token",
            scopes=("read:user", "offline_access"),
            rotation="strict",
            must_rotate=True,
            old_access_dies=True,
            # Whether tokens end depends on the app's settings and its age; only the answer tells.
            may_not_expire=True,
            error_aliases={
                "bad_refresh_token": "invalid_grant",
                "bad_verification_code": "invalid_grant",
                "unverified_user_email": "invalid_grant",
                "incorrect_client_credentials": "invalid_client",
                "redirect_uri_mismatch": "invalid_request",
            },
        ),
        hosts=("api.github.com",),
        identity=Identity(f"{API}/user", id=("id",), name=("login",)),
        headers=HEADERS,
        # "Do not make requests for a single user or client ID concurrently."
        concurrency=1,
        # A secondary limit may come as a bare 403 that says so only in prose.
        limit_reasons=("You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",),
        reconnect_hint="GitHub forgets a connection that is not used for long, and the oldest of more than ten. "
        "Connect again to go on.",
    ),
    endpoints=(
        OwnEvents(
            "events",
            f"{API}/users/{{account_name}}/events",
            items="",
            params={"per_page": "100"},
            paging=LinkHeader(),
            schedule="0 */6 * * *",
            # The actor is always the person; a new avatar is no news about 300 old events.
            volatile=("actor", "org"),
            # No stop at a known event: one may be listed up to 6 hours late, below others that are known.
            until_known=False,
            conditional=True,
            poll_interval_header="X-Poll-Interval",
        ),
        Repos(
            "repos",
            f"{API}/user/repos",
            items="",
            params={"sort": "pushed", "per_page": "100"},
            paging=LinkHeader(),
            schedule="0 4 * * *",
            volatile=(CLONE_TOKEN,),
            until_known=True,
        ),
    ),
)
