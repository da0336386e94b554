from base64 import b64decode
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from soulwatch import Client, Misconfigured, NeedsReauth, Token, Unavailable
from soulwatch_github import github

OAUTH = github.facts.oauth
CALLBACK = "http://127.0.0.1:3001/connect/github/callback"
OLD = Token("gho_made_up_access_1", "ghr_made_up_refresh_1", datetime(2026, 11, 20, tzinfo=UTC), ("read:user",))
ENDLESS = Token("gho_made_up_access_1")
A_MINUTE = timedelta(minutes=1)
REVOKE = "https://api.github.com/applications/our client/token"


async def exchange(http, client):
    return await OAUTH.exchange(client, "code-1", CALLBACK, "v" * 43, http)


def test_person_is_asked_with_pkce_for_a_token_that_ends(client):
    url = urlsplit(OAUTH.authorization_url(client, CALLBACK, "state-1", "v" * 43))
    asked = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert url.netloc + url.path == "github.com/login/oauth/authorize"
    assert (asked["code_challenge_method"], asked["scope"]) == ("S256", "read:user offline_access")


async def test_code_is_exchanged_with_secret_and_verifier_in_the_body_and_json_asked_for(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token.expiring"))
    await exchange(http, client)
    assert stage.asked[0].headers["accept"] == "application/json"
    assert "authorization" not in stage.asked[0].headers
    assert stage.asked[0].form == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": CALLBACK,
        "code_verifier": "v" * 43,
        "client_id": "our client",
        "client_secret": "our secret/with=signs",
    }


async def test_token_that_ends_is_known_by_the_answer(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token.expiring"))
    before = datetime.now(UTC)
    token = await exchange(http, client)
    assert timedelta(0) <= token.expires_at - (before + timedelta(hours=8)) < A_MINUTE
    assert timedelta(0) <= token.grant_expires_at - (before + timedelta(days=184)) < A_MINUTE
    assert token.refresh == "ghr_made_up_refresh_1"
    assert token.scopes == ("offline_access", "read:user")


async def test_token_without_end_is_known_by_the_answer(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token"))
    token = await exchange(http, client)
    assert (token.expires_at, token.refresh, token.grant_expires_at) == (None, None, None)
    assert token.scopes == ("read:user",)


async def test_token_without_end_is_never_sent_to_be_refreshed(stage, http, client):
    with pytest.raises(NeedsReauth):
        await github.refresh_token(ENDLESS, client, http)
    assert stage.asked == []


async def test_answer_in_form_encoding_is_read_too(stage, http, client):
    stage.says(OAUTH.token_url, PlainTextResponse("access_token=gho_made_up&scope=read%3Auser&token_type=bearer"))
    assert (await exchange(http, client)).access == "gho_made_up"


async def test_refresh_brings_both_tokens_anew_and_moves_the_end_of_the_grant(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token.refreshed"))
    before = datetime.now(UTC)
    token = await github.refresh_token(OLD, client, http)
    assert stage.asked[0].form["refresh_token"] == "ghr_made_up_refresh_1"
    assert (token.access, token.refresh) == ("gho_made_up_access_2", "ghr_made_up_refresh_2")
    assert token.grant_expires_at >= before + timedelta(days=184)


async def test_refresh_that_brings_no_refresh_token_is_doubted(stage, http, client, recorded):
    stage.says(OAUTH.token_url, recorded("token"))
    with pytest.raises(Unavailable) as broken:
        await github.refresh_token(OLD, client, http)
    assert broken.value.ambiguous


def test_host_is_told_that_a_used_refresh_token_and_the_old_access_token_are_dead():
    assert (OAUTH.rotation, OAUTH.must_rotate, OAUTH.old_access_dies) == ("strict", True, True)


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("bad_refresh_token", NeedsReauth),
        ("bad_verification_code", NeedsReauth),
        ("unverified_user_email", NeedsReauth),
        ("incorrect_client_credentials", Misconfigured),
        ("redirect_uri_mismatch", Misconfigured),
    ],
)
async def test_error_is_an_error_even_in_an_answer_that_says_ok(stage, http, client, code, error, status):
    stage.says(OAUTH.token_url, JSONResponse({"error": code, "error_description": "No."}, status))
    with pytest.raises(error) as refused:
        await github.refresh_token(OLD, client, http)
    assert refused.value.code == code


async def test_wrong_client_secret_is_told_from_a_wrong_request(stage, http, client):
    stage.says(OAUTH.token_url, JSONResponse({"error": "incorrect_client_credentials"}))
    with pytest.raises(Misconfigured, match="check client id and secret"):
        await exchange(http, client)


@pytest.mark.parametrize("status", [200, 502])
async def test_web_page_instead_of_a_token_is_tried_again_later(stage, http, client, status):
    stage.says(OAUTH.token_url, HTMLResponse("<h1>Unicorn!</h1>", status))
    with pytest.raises(Unavailable) as broken:
        await github.refresh_token(OLD, client, http)
    assert broken.value.ambiguous


@pytest.mark.parametrize("status", [204, 404, 422])
async def test_token_is_revoked_at_the_api_and_one_that_is_unknown_counts_as_revoked(stage, http, client, status):
    stage.says(REVOKE, Response(status_code=status))
    await OAUTH.revoke(OLD, client, http)
    (asked,) = stage.asked
    assert (asked.method, asked.url) == ("DELETE", REVOKE)
    assert b64decode(asked.headers["authorization"].removeprefix("Basic ")) == b"our client:our secret/with=signs"
    assert asked.json == {"access_token": "gho_made_up_access_1"}
    assert asked.headers["x-github-api-version"] == "2022-11-28"


async def test_revoking_with_a_wrong_secret_is_for_the_operator_to_mend(stage, http, client, recorded):
    stage.says(REVOKE, recorded("error.401", 401))
    with pytest.raises(Misconfigured, match="check client id and secret"):
        await OAUTH.revoke(OLD, client, http)


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_revoking_that_has_to_wait_says_until_when(stage, http, client, status):
    stage.says(REVOKE, Response(status_code=status, headers={"retry-after": "60"}))
    with pytest.raises(Unavailable) as broken:
        await OAUTH.revoke(OLD, client, http)
    assert timedelta(seconds=50) < broken.value.retry_at - datetime.now(UTC) <= A_MINUTE


async def test_no_secret_is_in_what_is_printed(stage, http):
    client = Client("our client", "hush-secret")
    stage.says(OAUTH.token_url, JSONResponse({"error": "bad_refresh_token", "error_description": OLD.refresh}))
    with pytest.raises(NeedsReauth) as refused:
        await github.refresh_token(OLD, client, http)
    printed = f"{client!r} {OLD!r} {github!r} {github.facts!r} {refused.value!r} {refused.value}"
    assert [part for part in ("hush", "made_up") if part in printed] == []
