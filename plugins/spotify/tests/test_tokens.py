from base64 import b64decode
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import HTMLResponse

from soulwatch import Client, Misconfigured, NeedsReauth, RateLimited, Token, Unavailable
from soulwatch_spotify import spotify

OAUTH = spotify.facts.oauth
CALLBACK = "http://127.0.0.1:3001/connect/spotify/callback"
GRANT_ENDS = datetime(2027, 4, 1, tzinfo=UTC)
OLD = Token("BQ-made-up-access-1", "AQ-made-up-refresh-1", datetime(2026, 11, 20, tzinfo=UTC), ("a",), GRANT_ENDS)
BASIC = b"our+client:our+secret%2Fwith%3Dsigns"
"""Client id and secret, form-encoded before Basic encodes them (RFC 6749 section 2.3.1)."""


def test_person_is_asked_with_pkce_for_what_is_read_and_always_sees_the_question(client):
    url = urlsplit(OAUTH.authorization_url(client, CALLBACK, "state-1", "v" * 43))
    asked = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.netloc + url.path == "accounts.spotify.com/authorize"
    assert asked["code_challenge_method"] == "S256"
    assert asked["scope"] == "user-read-recently-played user-read-currently-playing"
    assert (asked["show_dialog"], asked["redirect_uri"], asked["state"]) == ("true", CALLBACK, "state-1")


async def test_code_is_exchanged_with_basic_auth_and_verifier(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token"))
    token = await OAUTH.exchange(client, "code-1", CALLBACK, "v" * 43, http)
    asked = stage.asked[0]
    assert b64decode(asked.headers["authorization"].removeprefix("Basic ")) == BASIC
    assert asked.form == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": CALLBACK,
        "code_verifier": "v" * 43,
    }
    assert (token.access, token.refresh) == ("BQ-made-up-access-1", "AQ-made-up-refresh-1")
    assert token.scopes == ("user-read-currently-playing", "user-read-recently-played")


async def test_grant_ends_180_days_after_consent(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token"))
    before = datetime.now(UTC)
    token = await OAUTH.exchange(client, "code-1", CALLBACK, "v" * 43, http)
    assert timedelta(0) <= token.grant_expires_at - (before + timedelta(days=180)) < timedelta(minutes=1)


async def test_refresh_that_brings_no_refresh_token_keeps_the_old_one_and_the_end_of_the_grant(
    stage, http, client, recorded
):
    stage.says(OAUTH.token_url, recorded("token.refreshed"))
    token = await spotify.refresh_token(OLD, client, http)
    assert stage.asked[0].form == {"grant_type": "refresh_token", "refresh_token": "AQ-made-up-refresh-1"}
    assert (token.access, token.refresh) == ("BQ-made-up-access-2", "AQ-made-up-refresh-1")
    assert token.grant_expires_at == GRANT_ENDS
    assert timedelta(minutes=59) < token.expires_at - datetime.now(UTC) <= timedelta(hours=1)


async def test_refresh_token_that_does_come_is_taken(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token.refreshed", refresh_token="AQ-made-up-refresh-2"))
    assert (await spotify.refresh_token(OLD, client, http)).refresh == "AQ-made-up-refresh-2"


async def test_revoked_grant_is_for_its_user_to_mend(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token_error.400", 400))
    with pytest.raises(NeedsReauth) as refused:
        await spotify.refresh_token(OLD, client, http)
    assert refused.value.code == "invalid_grant"


async def test_wrong_client_secret_is_for_the_operator_to_mend(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token_error.client", 400))
    with pytest.raises(Misconfigured, match="check client id and secret"):
        await spotify.refresh_token(OLD, client, http)


@pytest.mark.parametrize("status", [200, 502, 503])
async def test_web_page_instead_of_a_token_is_tried_again_later(stage, http, client, status):
    stage.says(OAUTH.token_url, HTMLResponse("<h1>Back soon</h1>", status))
    with pytest.raises(Unavailable) as broken:
        await spotify.refresh_token(OLD, client, http)
    assert broken.value.ambiguous


async def test_too_many_token_requests_wait_and_harm_no_connection(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("error.429.quota", 429, {"Retry-After": "30"}))
    with pytest.raises(RateLimited) as limited:
        await spotify.refresh_token(OLD, client, http)
    assert timedelta(seconds=20) < limited.value.retry_at - datetime.now(UTC) <= timedelta(seconds=30)


async def test_spotify_is_not_asked_to_revoke_since_it_has_no_way_to(stage, http, client):
    await OAUTH.revoke(OLD, client, http)
    assert stage.asked == []


async def test_no_secret_is_in_what_is_printed(stage, http, recorded):
    client = Client("our client", "hush-secret")
    stage.says(OAUTH.token_url, recorded("token_error.400", 400))
    with pytest.raises(NeedsReauth) as refused:
        await spotify.refresh_token(OLD, client, http)
    printed = f"{client!r} {OLD!r} {spotify!r} {spotify.facts!r} {refused.value!r} {refused.value}"
    assert not [part for part in ("hush", "made-up") if part in printed]
