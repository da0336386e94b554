import hashlib
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from soulwatch import NeedsReauth
from soulwatch_sandbox import Sandbox, answer_consent
from soulwatch_sandbox.consent_page import STYLE

from .conftest import CALLBACK, VERIFIER, client, oauth, signed


def authorize_url(base_url, pose="sandbox", **changes):
    url = oauth(base_url, pose).authorization_url(client(pose), CALLBACK.format(pose), "a-state", VERIFIER)
    params = dict(httpx.URL(url).params) | changes
    return str(httpx.URL(url).copy_with(params={name: value for name, value in params.items() if value is not None}))


def answered(location: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


async def code_for(http, base_url, pose="sandbox", **changes) -> str:
    return answered(await answer_consent(http, authorize_url(base_url, pose, **changes)))["code"]


@pytest.mark.parametrize("pose", ["sandbox", "spotify", "github"])
async def test_a_person_who_allows_it_is_connected(http, base_url, pose):
    code = await code_for(http, base_url, pose)
    token = await oauth(base_url, pose).exchange(client(pose), code, CALLBACK.format(pose), VERIFIER, http)

    me = {"sandbox": "/sandbox/v1/me", "spotify": "/spotify/v1/me", "github": "/github/user"}[pose]
    assert (await http.get(me, headers=signed(token.access))).json().get("id") in ("mira", "sandbox_mira", 9000001)


async def test_the_answer_says_who_gave_it(http, base_url):
    location = await answer_consent(http, authorize_url(base_url))

    assert answered(location)["iss"] == f"{base_url}/sandbox"
    assert answered(location)["state"] == "a-state"
    assert location.startswith(CALLBACK.format("sandbox"))


async def test_whoever_is_picked_is_connected(http, base_url):
    location = await answer_consent(http, authorize_url(base_url), person="oskar")
    token = await oauth(base_url).exchange(
        client(), answered(location)["code"], CALLBACK.format("sandbox"), VERIFIER, http
    )

    assert (await http.get("/sandbox/v1/me", headers=signed(token.access))).json()["name"] == "Oskar Pellwood"


async def test_denying_is_told_to_the_application(http, base_url):
    said = answered(await answer_consent(http, authorize_url(base_url), answer="deny"))

    assert said == {"error": "access_denied", "state": "a-state", "iss": f"{base_url}/sandbox"}


async def test_a_scope_that_was_unticked_is_not_granted(http, base_url):
    location = await answer_consent(http, authorize_url(base_url), scope=["mood"])
    token = await oauth(base_url).exchange(
        client(), answered(location)["code"], CALLBACK.format("sandbox"), VERIFIER, http
    )

    refused = await http.get("/sandbox/v1/notes", headers=signed(token.access))
    assert token.scopes == ("mood",)
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"scope": "notes everything"}, "invalid_scope"),
    ],
)
async def test_a_wrong_request_is_told_to_the_application(http, base_url, changes, error):
    assert answered(await answer_consent(http, authorize_url(base_url, **changes)))["error"] == error


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "somebody-else"},
        {"redirect_uri": "https://elsewhere.invalid/connect/sandbox/callback"},
        {"redirect_uri": "http://127.0.0.1:4711/connect/sandbox/callback/more"},
        {"redirect_uri": "http://127.0.0.1:4711@elsewhere.invalid/connect/sandbox/callback"},
        {"redirect_uri": "http://127.0.0.1:port/connect/sandbox/callback"},
        {"redirect_uri": None},
    ],
)
async def test_an_unknown_callback_is_never_redirected_to(http, base_url, changes):
    answer = await http.get(authorize_url(base_url, **changes))

    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    ("pose", "redirect_uri", "status"),
    [
        ("spotify", "http://localhost:4711/connect/spotify/callback", 400),
        ("spotify", "http://[::1]:4711/connect/spotify/callback", 200),
        ("github", "http://127.0.0.1:4711/connect/github/callback/deeper", 200),
        ("github", "http://127.0.0.1:4711/connect/github/callbackwards", 400),
    ],
)
async def test_each_pose_has_its_own_mind_about_callbacks(http, base_url, pose, redirect_uri, status):
    assert (await http.get(authorize_url(base_url, pose, redirect_uri=redirect_uri))).status_code == status


async def test_the_page_has_no_script_and_a_strict_policy(http, base_url):
    page = await http.get(authorize_url(base_url, client_id="invented-sandbox-client"))

    policy = page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert len(hashlib.sha256(STYLE.encode()).digest()) == 32
    assert re.search(r"style-src 'sha256-[\w+/=]{44}'", policy)
    assert re.search(r'<html lang="en">.*<main>\s*<h1>', page.text, re.DOTALL)
    assert page.text.count("<label>") == 3 + 4


async def test_what_an_application_calls_itself_is_no_markup(http, base_url, sandbox: Sandbox):
    sandbox.register("sandbox", "<b>bold</b>", None, [CALLBACK.format("sandbox")])

    assert "<b>" not in (await http.get(authorize_url(base_url, client_id="<b>bold</b>"))).text


async def test_a_wrong_verifier_gets_nothing(http, base_url):
    code = await code_for(http, base_url)

    with pytest.raises(NeedsReauth):
        await oauth(base_url).exchange(client(), code, CALLBACK.format("sandbox"), "x" * 43, http)


async def test_a_code_is_bound_to_its_callback(http, base_url):
    code = await code_for(http, base_url)

    with pytest.raises(NeedsReauth):
        await oauth(base_url).exchange(client(), code, CALLBACK.format("else"), VERIFIER, http)


async def test_a_code_lives_for_a_minute(http, base_url, clock):
    code = await code_for(http, base_url)
    clock.forward(seconds=61)

    with pytest.raises(NeedsReauth):
        await oauth(base_url).exchange(client(), code, CALLBACK.format("sandbox"), VERIFIER, http)


async def test_a_replayed_code_revokes_what_was_granted(http, base_url, sandbox: Sandbox):
    code = await code_for(http, base_url)
    token = await oauth(base_url).exchange(client(), code, CALLBACK.format("sandbox"), VERIFIER, http)
    with pytest.raises(NeedsReauth):
        await oauth(base_url).exchange(client(), code, CALLBACK.format("sandbox"), VERIFIER, http)

    assert (await http.get("/sandbox/v1/me", headers=signed(token.access))).status_code == 401
    assert [grant.why for grant in sandbox.grants.of()] == ["code replayed"]
