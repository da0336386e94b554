"""Spotify as one value: what somebody played, and what is playing now.

Source: Spotify's Web API reference and changelogs up to July 2026; the README says which facts could not be verified.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from soulwatch import WHOLE_BODY, Api, Connector, Cursor, Endpoint, Identity, OAuth2, Page, Platform, Since

ACCOUNTS = "https://accounts.spotify.com"
API = "https://api.spotify.com/v1"
PLAYS_KEPT = 50
GAP = (
    f"Spotify keeps only the last {PLAYS_KEPT} plays, and all of them are new since the last poll: "
    "earlier ones may be missing. A shorter schedule for recently_played loses fewer."
)


class RecentlyPlayed(Endpoint):
    """The plays since the last poll; says so where there may have been more than Spotify keeps."""

    async def pages(self, api: Api, cursor: Cursor) -> AsyncIterator[Page]:
        """One page is all there is: the `next` link leads to plays that Spotify has already forgotten."""
        async for page in super().pages(api, cursor):
            # `after` excludes the play it names, so a full answer cannot show whether it reached back far enough.
            may_miss_some = cursor.position is not None and len(page.items) >= PLAYS_KEPT
            yield replace(page, message=GAP) if may_miss_some else page


spotify = Connector(
    platform=Platform(
        name="spotify",
        title="Spotify",
        oauth=OAuth2(
            authorize_url=f"{ACCOUNTS}/authorize",
            token_url=f"{ACCOUNTS}/api/token",
            scopes=("user-read-recently-played", "user-read-currently-playing"),
            client_auth="basic",
            # Without the dialog a second connect may pass on the old consent, and its six months, unseen.
            authorize_params={"show_dialog": "true"},
            rotation="none",
            # "6 months" from the user's consent, which refreshing does not extend; told in no answer. 180 days is the
            # careful reading: no six months are shorter than 181 days.
            grant_lifetime=timedelta(days=180),
        ),
        hosts=("api.spotify.com",),
        # `id` is what development-mode apps of before May 2026 get; `account_id` is made for linking accounts.
        identity=Identity(f"{API}/me", id=("account_id", "id"), name=("display_name", "id")),
        # The daily quota belongs to the developer's account: whoever meets it, everybody has to wait.
        client_limit_reasons=("QUOTA_EXCEEDED",),
        reconnect_hint="Spotify ends every connection six months after it was allowed. Connect again to go on.",
    ),
    endpoints=(
        RecentlyPlayed(
            "recently_played",
            f"{API}/me/player/recently-played",
            key=("played_at", "track.uri"),
            params={"limit": str(PLAYS_KEPT)},
            since=Since("after", at="cursors.after"),
            schedule="*/30 * * * *",
            scopes=("user-read-recently-played",),
        ),
        Endpoint(
            "currently_playing",
            f"{API}/me/player/currently-playing",
            items=WHOLE_BODY,
            params={"additional_types": "track,episode"},
            schedule="*/30 * * * *",
            scopes=("user-read-currently-playing",),
            volatile=("progress_ms", "timestamp"),
        ),
    ),
)
