import time
import zlib
from datetime import UTC, datetime

import httpx
import pytest

from soulwatch import Token
from soulwatch_sandbox import Sandbox
from soulwatch_sandbox.faults import KINDS

from .conftest import client, oauth, signed

NOTES = "/sandbox/v1/notes"


@pytest.fixture
def access(sandbox: Sandbox) -> str:
    return sandbox.grant("sandbox", "mira").access


async def notes(http: httpx.AsyncClient, access: str) -> httpx.Response:
    return await http.get(NOTES, headers=signed(access))


async def test_a_fault_strikes_as_often_as_told(http, sandbox: Sandbox, access):
    fault = sandbox.faults.add("status", pose="sandbox", path="/v1/notes", status=502, times=2, skip=1)

    assert [(await notes(http, access)).status_code for _ in range(4)] == [200, 502, 502, 200]
    assert (fault.struck, sandbox.faults.active) == (2, [])


async def test_a_fault_stays_until_it_is_cleared(http, sandbox: Sandbox, access):
    fault = sandbox.faults.add("status", times=None)
    assert [(await notes(http, access)).status_code for _ in range(3)] == [503, 503, 503]

    sandbox.faults.clear(fault.id)
    assert (await notes(http, access)).status_code == 200


async def test_a_fault_strikes_only_where_told(http, sandbox: Sandbox, access):
    sandbox.faults.add("status", pose="spotify")
    sandbox.faults.add("status", path="/v1/mood")
    sandbox.faults.add("status", person="juno")
    sandbox.faults.add("status", method="POST")
    assert (await notes(http, access)).status_code == 200

    assert (await notes(http, sandbox.grant("sandbox", "juno").access)).status_code == 503


@pytest.mark.parametrize(
    ("said", "header"),
    [
        (7, "7"),
        (2.5, "2.5"),
        ("soon", "soon"),
        (datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC), "Sun, 01 Mar 2026 12:00:30 GMT"),
    ],
)
async def test_a_wait_is_told_in_any_form(http, sandbox: Sandbox, access, said, header):
    sandbox.faults.add("status", status=429, retry_after=said)

    assert (await notes(http, access)).headers["retry-after"] == header


@pytest.mark.parametrize(
    ("kind", "status", "beginning"),
    [("html", 200, "<!doctype html>"), ("malformed", 200, '{"items"'), ("empty", 200, "")],
)
async def test_what_is_answered_may_be_no_json(http, sandbox: Sandbox, access, kind, status, beginning):
    sandbox.faults.add(kind)
    answer = await notes(http, access)

    assert answer.status_code == status
    assert answer.text.startswith(beginning)
    with pytest.raises(ValueError, match=r"."):
        answer.json()


async def test_a_list_may_become_something_else(http, sandbox: Sandbox, access):
    sandbox.faults.add("not_a_list")

    assert (await notes(http, access)).json()["items"] == "another shape"


@pytest.mark.parametrize("kind", ["cut", "drop", "lose_answer"])
async def test_a_connection_may_break(http, sandbox: Sandbox, access, kind):
    sandbox.faults.add(kind, after_bytes=10)

    with pytest.raises(httpx.NetworkError):
        await notes(http, access)
    assert (await notes(http, access)).status_code == 200


async def test_a_cut_answer_has_begun(http, sandbox: Sandbox, access):
    sandbox.faults.add("cut", after_bytes=10)
    async with http.stream("GET", NOTES, headers=signed(access)) as answer:
        with pytest.raises(httpx.NetworkError):
            await answer.aread()
    assert answer.status_code == 200


async def test_a_rotation_may_be_done_and_its_answer_lost(http, base_url, sandbox: Sandbox):
    issued = sandbox.grant("sandbox", "mira")
    sandbox.faults.add("lose_answer", path="/token")
    with pytest.raises(httpx.NetworkError):
        await oauth(base_url).refresh(Token(issued.access, issued.refresh), client(), http)

    assert [(grant.generation, grant.revoked) for grant in sandbox.grants.of()] == [(2, False)]
    [lost] = sandbox.token_requests("sandbox", "refresh_token")
    assert (lost.status, lost.fault, lost.generation) == (None, "lose_answer", 2)


async def test_a_dropped_request_changes_nothing(http, base_url, sandbox: Sandbox):
    issued = sandbox.grant("sandbox", "mira")
    sandbox.faults.add("drop", path="/token")
    with pytest.raises(httpx.NetworkError):
        await oauth(base_url).refresh(Token(issued.access, issued.refresh), client(), http)

    assert sandbox.grants.of()[0].generation == 1


async def test_an_answer_may_come_late(http, sandbox: Sandbox, access):
    sandbox.faults.add("hang", seconds=0.2)
    began = time.monotonic()

    assert (await notes(http, access)).status_code == 200
    assert time.monotonic() - began >= 0.2


async def test_whoever_does_not_wait_is_not_waited_for(http, sandbox: Sandbox, access):
    sandbox.faults.add("hang", seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        await http.get(NOTES, headers=signed(access), timeout=0.1)

    assert (await notes(http, access)).status_code == 200


async def test_a_hanging_token_request_still_reads_its_form(http, base_url, sandbox: Sandbox):
    issued = sandbox.grant("sandbox", "mira")
    sandbox.faults.add("hang", path="/token", seconds=0.05)

    assert (await oauth(base_url).refresh(Token(issued.access, issued.refresh), client(), http)).refresh


async def test_an_answer_may_drip(http, sandbox: Sandbox, access):
    whole = await notes(http, access)
    sandbox.faults.add("drip", after_bytes=len(whole.content) // 4, seconds=0.05)
    began = time.monotonic()

    assert (await notes(http, access)).content == whole.content
    assert time.monotonic() - began >= 0.2


async def test_the_next_page_may_be_this_page(http, sandbox: Sandbox, access):
    sandbox.faults.add("next_loop", times=None)
    answer = await notes(http, access)
    assert answer.json()["next"] == str(answer.url)

    header = await http.get("/sandbox/v1/follows", headers=signed(access))
    assert header.links["next"]["url"] == str(header.url)
    token = await http.get("/sandbox/v1/archive?page=2", headers=signed(access))
    assert token.json()["next_page"] == "2"


async def test_the_page_after_next_may_be_the_first(http, sandbox: Sandbox, access):
    sandbox.faults.add("next_aba", times=None)
    first = await http.get(f"{NOTES}?limit=5", headers=signed(access))
    second = await http.get(first.json()["next"], headers=signed(access))

    assert second.url != first.url
    assert second.json()["next"] == str(first.url)


@pytest.mark.parametrize("kind", ["invalid_grant", "invalid_client"])
async def test_a_token_endpoint_may_be_wrong(http, base_url, sandbox: Sandbox, kind):
    issued = sandbox.grant("sandbox", "mira")
    form = {"grant_type": "refresh_token", "refresh_token": issued.refresh}
    sandbox.faults.add(kind, path="/token")
    sign = (client().id, client().secret)

    assert (await http.post("/sandbox/token", data=form, auth=sign)).json()["error"] == kind
    assert (await http.post("/sandbox/token", data=form, auth=sign)).status_code == 200


async def test_github_is_wrong_in_its_own_words(http, sandbox: Sandbox):
    sandbox.faults.add("invalid_grant", pose="github")
    answer = await http.post("/github/login/oauth/access_token", data={"grant_type": "refresh_token"})

    assert (answer.status_code, answer.json()["error"]) == (200, "bad_refresh_token")


@pytest.mark.parametrize("value", [None, "900", -1, 0, 1e300, "soon", [], True])
async def test_a_lifetime_may_be_odd_or_missing(http, sandbox: Sandbox, value):
    issued = sandbox.grant("sandbox", "mira")
    form = {"grant_type": "refresh_token", "refresh_token": issued.refresh}
    sandbox.faults.add("expires_in", path="/token", value=value)
    answer = (await http.post("/sandbox/token", data=form, auth=(client().id, client().secret))).json()

    assert answer.get("expires_in") == value
    assert ("expires_in" in answer) == (value is not None)


async def test_a_member_may_be_replaced(http, sandbox: Sandbox, access):
    sandbox.faults.add("set_member", name="next", value="http://elsewhere.invalid/notes")

    assert (await notes(http, access)).json()["next"] == "http://elsewhere.invalid/notes"


async def test_an_answer_may_lie_elsewhere(http, sandbox: Sandbox, access):
    sandbox.faults.add("redirect", to="http://127.0.0.1:9")
    answer = await notes(http, access)

    assert (answer.status_code, answer.headers["location"]) == (307, f"http://127.0.0.1:9{NOTES}")


async def test_a_small_answer_may_unpack_to_a_large_one(http, sandbox: Sandbox, access):
    sandbox.faults.add("gzip_bomb", mib=8)
    async with http.stream("GET", NOTES, headers=signed(access)) as answer:
        packed = b"".join([part async for part in answer.aiter_raw()])

    assert len(packed) < 20_000
    assert len(zlib.decompress(packed, 16 + zlib.MAX_WBITS)) == 8 * 1024 * 1024 + 4


async def test_an_answer_may_be_huge_without_saying_so(http, sandbox: Sandbox, access):
    sandbox.faults.add("huge", mib=3)
    answer = await notes(http, access)

    assert "content-length" not in answer.headers
    assert len(answer.content) == 3 * 1024 * 1024 + 4


async def test_limits_are_told_in_the_platforms_words(http, sandbox: Sandbox, clock):
    spotify, github = (sandbox.grant(pose, "mira").access for pose in ("spotify", "github"))
    sandbox.faults.add("quota", pose="spotify")
    quota = await http.get("/spotify/v1/me", headers=signed(spotify))
    assert (quota.status_code, quota.headers["retry-after"]) == (429, "48925")
    assert quota.json()["error"]["reason"] == "QUOTA_EXCEEDED"

    sandbox.faults.add("limited", pose="github", seconds=60)
    limit = await http.get("/github/user", headers=signed(github))
    assert (limit.status_code, limit.headers["x-ratelimit-remaining"]) == (403, "0")
    assert int(limit.headers["x-ratelimit-reset"]) == clock().timestamp() + 60
    assert "retry-after" not in limit.headers

    sandbox.faults.add("secondary_limit", pose="github")
    secondary = await http.get("/github/user", headers=signed(github))
    assert (secondary.status_code, secondary.headers["retry-after"]) == (403, "60")


def test_an_unknown_fault_is_named(sandbox: Sandbox):
    with pytest.raises(ValueError, match=r"no fault 'typhoon'.*Known are: status"):
        sandbox.faults.add("typhoon")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_lives_through_each_of_them(http, sandbox: Sandbox, access, kind):
    sandbox.faults.add(kind, seconds=0.01, mib=1, after_bytes=5000)
    try:
        await notes(http, access)
    except httpx.NetworkError:
        assert kind in ("cut", "drop", "lose_answer")

    assert (await notes(http, access)).status_code == 200
