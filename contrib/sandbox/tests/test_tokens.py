from urllib.parse import parse_qs

import httpx
import pytest

from soulwatch import Client, Misconfigured, NeedsReauth, Token
from soulwatch_sandbox import Sandbox, TokenRules, running

from .conftest import client, oauth, signed


def granted(sandbox: Sandbox, pose="sandbox", **about) -> Token:
    issued = sandbox.grant(pose, "mira", **about)
    return Token(issued.access, issued.refresh)


async def is_good(http: httpx.AsyncClient, token: Token, path="/sandbox/v1/me") -> bool:
    return (await http.get(path, headers=signed(token.access))).status_code == 200


async def test_an_access_token_ends(http, sandbox, clock):
    token = granted(sandbox)
    assert await is_good(http, token)

    clock.forward(seconds=900)
    refused = await http.get("/sandbox/v1/me", headers=signed(token.access))
    assert (refused.status_code, refused.json()["message"]) == (401, "The access token expired")
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


async def test_a_refresh_gives_new_tokens(http, base_url, sandbox):
    token = granted(sandbox)
    newer = await oauth(base_url).refresh(token, client(), http)

    assert await is_good(http, newer)
    assert newer.refresh not in (None, token.refresh)


async def test_under_strict_rotation_a_second_use_revokes_the_grant(http, base_url, sandbox):
    token = granted(sandbox)
    newer = await oauth(base_url).refresh(token, client(), http)
    with pytest.raises(NeedsReauth):
        await oauth(base_url).refresh(token, client(), http)

    assert not await is_good(http, newer)
    with pytest.raises(NeedsReauth):
        await oauth(base_url).refresh(newer, client(), http)
    assert sandbox.grants.of()[0].why == "refresh token reused"


async def test_under_rotation_with_grace_the_old_one_works_for_a_while(http, base_url, sandbox, clock):
    sandbox.rules["sandbox"] = TokenRules(rotation="grace", grace=30)
    token = granted(sandbox)
    await oauth(base_url).refresh(token, client(), http)
    clock.forward(seconds=29)
    newest = await oauth(base_url).refresh(token, client(), http)
    assert await is_good(http, newest)

    clock.forward(seconds=2)
    with pytest.raises(NeedsReauth):
        await oauth(base_url).refresh(token, client(), http)


async def test_without_rotation_the_answer_has_no_refresh_token(http, base_url, sandbox):
    sandbox.rules["sandbox"] = TokenRules(rotation="none")
    token = granted(sandbox)
    form = {"grant_type": "refresh_token", "refresh_token": token.refresh}
    basic = httpx.BasicAuth(client().id, client().secret)

    answers = [(await http.post("/sandbox/token", data=form, auth=basic)).json() for _ in range(2)]
    assert [sorted(answer) for answer in answers] == [["access_token", "expires_in", "scope", "token_type"]] * 2


async def test_the_old_access_token_dies_where_the_rules_say_so(http, base_url, sandbox):
    token = granted(sandbox)
    await oauth(base_url).refresh(token, client(), http)
    assert await is_good(http, token)

    sandbox.rules["sandbox"] = TokenRules(old_access_dies=True)
    token = granted(sandbox)
    await oauth(base_url).refresh(token, client(), http)
    assert not await is_good(http, token)


async def test_github_kills_the_old_pair_but_not_the_grant(http, base_url, sandbox):
    token = granted(sandbox, "github")
    newer = await oauth(base_url, "github").refresh(token, client("github"), http)
    with pytest.raises(NeedsReauth):
        await oauth(base_url, "github").refresh(token, client("github"), http)

    assert not await is_good(http, token, "/github/user")
    assert await is_good(http, newer, "/github/user")


@pytest.mark.parametrize("pose", ["sandbox", "spotify", "github"])
async def test_a_wrong_secret_is_the_operators_business(http, base_url, sandbox, pose):
    wrong = Client(client(pose).id, "another invented secret")

    with pytest.raises((Misconfigured, NeedsReauth)) as refusal:
        await oauth(base_url, pose).refresh(granted(sandbox, pose), wrong, http)
    assert refusal.value.code in ("invalid_client", "incorrect_client_credentials")


async def test_each_pose_has_its_own_status_for_a_wrong_client(http):
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "nobody", "client_secret": "x"}
    paths = ("/sandbox/token", "/spotify/api/token", "/github/login/oauth/access_token")

    assert [(await http.post(path, data=form)).status_code for path in paths] == [401, 400, 200]


async def test_only_forms_are_read(http):
    answer = await http.post("/sandbox/token", json={"grant_type": "refresh_token"})

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_token_answer_is_not_to_be_stored(http, sandbox):
    form = {"grant_type": "refresh_token", "refresh_token": granted(sandbox).refresh}
    answer = await http.post("/sandbox/token", data=form, auth=(client().id, client().secret))

    assert answer.headers["cache-control"] == "no-store"


async def test_a_refresh_token_belongs_to_its_client(http, base_url, sandbox):
    sandbox.register("sandbox", "another", "another-invented-secret", ["http://127.0.0.1/"])

    with pytest.raises(NeedsReauth):
        await oauth(base_url).refresh(granted(sandbox), Client("another", "another-invented-secret"), http)


async def test_revoking_ends_the_grant_and_never_complains(http, base_url, sandbox):
    token = granted(sandbox)
    await oauth(base_url).revoke(token, client(), http)
    await oauth(base_url).revoke(Token("never", "issued"), client(), http)

    assert not await is_good(http, token)


async def test_a_person_may_revoke_and_a_test_may_expire(http, base_url, sandbox):
    token = granted(sandbox)
    assert sandbox.expire("mira") == [sandbox.grants.of()[0].id]
    assert not await is_good(http, token)
    newer = await oauth(base_url).refresh(token, client(), http)
    assert await is_good(http, newer)

    sandbox.revoke_user("mira", "sandbox")
    assert not await is_good(http, newer)


async def test_github_answers_forms_to_whoever_wants_no_json(http, sandbox):
    form = {
        "client_id": client("github").id,
        "client_secret": client("github").secret,
        "grant_type": "refresh_token",
        "refresh_token": granted(sandbox, "github").refresh,
    }
    path = "/github/login/oauth/access_token"
    first = await http.post(path, data=form, headers={"Accept": "*/*"})
    second = await http.post(path, data=form, headers={"Accept": "*/*"})

    assert parse_qs(first.text)["expires_in"] == ["28800"]
    assert parse_qs(first.text)["refresh_token_expires_in"] == ["15897600"]
    assert (second.status_code, parse_qs(second.text)["error"]) == (200, ["bad_refresh_token"])


async def test_github_tokens_end_only_when_asked_for(sandbox):
    endless = sandbox.grant("github", "mira", scope=("read:user", "repo"))
    ending = sandbox.grant("github", "mira", scope=("read:user", "offline_access"))
    sandbox.register("github", "modern", "invented", ["http://127.0.0.1/"], expires=True)
    by_app = sandbox.grant("github", "mira", scope=(), client_id="modern")

    assert [(one.expires_in, one.refresh is None) for one in (endless, ending, by_app)] == [
        (None, True),
        (28800, False),
        (28800, False),
    ]


async def test_whatever_was_issued_outlives_a_restart(tmp_path, clock):
    state = tmp_path / "sandbox.db"
    with Sandbox(state, now=clock, rotation="strict") as before:
        token = granted(before)
        async with running(before) as url, httpx.AsyncClient(base_url=url) as http:
            newer = await oauth(url).refresh(token, client(), http)
            notes = (await http.get("/sandbox/v1/notes", headers=signed(newer.access))).json()["items"]

    with Sandbox(state, now=clock, rotation="strict") as after:
        async with running(after) as url, httpx.AsyncClient(base_url=url) as http:
            assert await is_good(http, newer)
            assert (await http.get("/sandbox/v1/notes", headers=signed(newer.access))).json()["items"] == notes
            newest = await oauth(url).refresh(newer, client(), http)
            assert await is_good(http, newest)
            with pytest.raises(NeedsReauth):
                await oauth(url).refresh(token, client(), http)
    assert after.control_key == before.control_key


async def test_github_apps_may_check_and_end_tokens(http, base_url, sandbox):
    token = granted(sandbox, "github")
    path = f"/github/applications/{client('github').id}/token"
    about = {"json": {"access_token": token.access}, "auth": (client("github").id, client("github").secret)}

    assert (await http.post(path, **about)).json()["user"]["login"] == "mira-vt"
    assert (await http.request("DELETE", path, **about)).status_code == 204
    assert not await is_good(http, token, "/github/user")
    assert (await http.post(path, **about)).status_code == 404
