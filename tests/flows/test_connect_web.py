import hashlib
import re
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from soulwatch.testing.clock import PlayedClock

SCRIPTS = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</title></h1><iframe src=javascript:alert(1)>",
    "{{7*7}}<b>{% raw %}",
    "\u2028<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
)


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


def changed(url: str, **changes: str | None) -> str:
    """The address with these parameters set, or left out where None."""
    params = {name: values[0] for name, values in query_of(url).items()} | changes
    kept = {name: value for name, value in params.items() if value is not None}
    return str(httpx.URL(url).copy_with(query=None).copy_merge_params(kept))


async def connections_of(served, user="ada"):
    return await served.host.accounts.rows(user=user)


async def test_a_person_signs_in_connects_and_comes_back_to_a_clean_address(served):
    browser = await served.visitor()
    assert (await browser.get("/")).headers["location"] == "/sign-in"
    signed_in = await browser.post("/sign-in", data={"code": await served.host.access.login_code()})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, f"{served.url}/")

    back = await served.consented(browser, "/connect/sandbox?user=ada")
    arrived = await browser.get(back)

    (row,) = await connections_of(served)
    assert (row.account_name, row.status) == ("Mira Vantongeren", "connected")
    assert (arrived.status_code, arrived.headers["location"]) == (303, f"{served.url}/?user=ada&connected={row.id}")
    assert arrived.headers["referrer-policy"] == "no-referrer"
    assert arrived.headers["cache-control"] == "no-store"
    assert "Sandbox is connected as Mira Vantongeren" in (await browser.get(arrived.headers["location"])).text


@pytest.mark.parametrize("platform", ["spotify", "github"])
async def test_a_platform_that_names_no_issuer_is_connected_by_state_and_proof_key_alone(served, platform):
    browser = await served.operator()
    back = await served.consented(browser, f"/connect/{platform}?user=ada")

    assert "iss" not in query_of(back)
    assert (await browser.get(back)).status_code == 303
    assert [row.platform for row in await connections_of(served)] == [platform]


async def test_each_flow_has_a_state_and_a_proof_key_of_its_own(served):
    browser = await served.operator()
    first, second = [query_of((await browser.get("/connect/sandbox")).headers["location"]) for _ in range(2)]

    for name in ("state", "code_challenge"):
        assert len(first[name][0]) == 43
        assert first[name] != second[name]
    assert first["code_challenge_method"] == ["S256"]
    assert first["redirect_uri"] == [f"{served.url}/connect/sandbox/callback"]


async def test_the_cookie_that_binds_a_flow_is_for_this_host_alone_and_short_lived(serve, served):
    plain = (await (await served.operator()).get("/connect/sandbox")).headers["set-cookie"]
    assert plain.startswith("soulwatch-connect-")
    assert "__Host-" not in plain
    async with serve(public_url="https://soulwatch.example") as secure:
        browser = await secure.visitor(headers={"Host": "soulwatch.example"})
        signed_in = await browser.post("/sign-in", data={"code": await secure.host.access.login_code()})
        # A client over plain HTTP does not send a Secure cookie by itself.
        browser.headers["Cookie"] = signed_in.headers["set-cookie"].partition(";")[0]
        guarded = (await browser.get("/connect/sandbox")).headers["set-cookie"]
    assert guarded.startswith("__Host-soulwatch-connect=")
    assert "Secure" in guarded
    assert "Domain" not in guarded
    for cookie in (plain, guarded):
        assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=600"} <= set(cookie.split("; "))


REFUSED = {
    "no state": lambda url: changed(url, state=None),
    "an empty state": lambda url: changed(url, state=""),
    "a wrong state": lambda url: changed(url, state="A" * 43),
    "a state of other letters": lambda url: changed(url, state="é\x00\u2028"),
    "its state twice": lambda url: f"{url}&state={query_of(url)['state'][0]}",
    "no code": lambda url: changed(url, code=None),
    "an empty code": lambda url: changed(url, code=""),
    "its code twice": lambda url: f"{url}&code=another",
    "no issuer": lambda url: changed(url, iss=None),
    "an empty issuer": lambda url: changed(url, iss=""),
    "another issuer": lambda url: changed(url, iss="https://evil.example/sandbox"),
    "an issuer that only looks the same": lambda url: changed(url, iss=f"{query_of(url)['iss'][0]}/"),
    "its issuer twice": lambda url: f"{url}&iss={query_of(url)['iss'][0]}",
    "an error beside the code": lambda url: changed(url, error="server_error"),
    "another platform's address": lambda url: url.replace("/connect/sandbox/", "/connect/spotify/"),
    "no platform's address": lambda url: url.replace("/connect/sandbox/", "/connect/nowhere/"),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("alter", REFUSED.values(), ids=REFUSED.keys())
async def test_an_answer_that_is_not_as_it_should_be_is_refused_before_any_token_request(served, alter):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")

    refused = await browser.get(alter(back))

    assert refused.status_code == 400
    assert "Not connected" in refused.text
    assert await connections_of(served) == []
    assert [served.sandbox.token_requests(pose) for pose in ("sandbox", "spotify", "github")] == [[], [], []]


async def test_an_answer_counts_once(served):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")

    assert [(await browser.get(back)).status_code for _ in range(3)] == [303, 400, 400]
    assert len(served.sandbox.token_requests("sandbox")) == 1
    assert len(await connections_of(served)) == 1


async def test_of_two_answers_at_once_one_is_exchanged(served):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")
    answers = []

    async def come_back():
        answers.append((await browser.get(back)).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(come_back)

    assert sorted(answers) == [303, 400, 400, 400, 400]
    assert len(served.sandbox.token_requests("sandbox")) == 1
    assert len(await connections_of(served)) == 1


async def test_the_same_account_connected_twice_at_once_is_one_connection(served):
    browser = await served.operator()
    ways_back = [await served.consented(browser, "/connect/sandbox?user=ada") for _ in range(3)]
    answers = []

    async def come_back(url):
        answers.append(await browser.get(url))

    async with anyio.create_task_group() as group:
        for url in ways_back:
            group.start_soon(come_back, url)

    (row,) = await connections_of(served)
    assert [answer.headers["location"].partition("connected=")[2] for answer in answers] == [row.id] * 3
    assert (await served.host.tokens.fresh(row.id)).access


async def test_a_flow_that_took_longer_than_ten_minutes_is_over(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        browser = await served.operator()
        in_time = await served.consented(browser, "/connect/sandbox?user=bo")
        await clock.advance(599)
        assert (await browser.get(in_time)).status_code == 303
        too_late = await served.consented(browser, "/connect/sandbox?user=ada")
        await clock.advance(601)
        assert (await browser.get(too_late)).status_code == 400
        assert len(served.sandbox.token_requests("sandbox")) == 1
        assert await connections_of(served) == []


async def test_only_the_browser_that_left_may_come_back(served):
    browser, other, stranger = await served.operator(), await served.operator(), await served.visitor()
    await served.consented(other, "/connect/sandbox?user=eve")  # it has a cookie, for a flow of its own

    for somebody in (other, stranger):
        back = await served.consented(browser, "/connect/sandbox?user=ada")
        assert (await somebody.get(back)).status_code == 400
        assert (await browser.get(back)).status_code == 400, "an answer that went astray is not good any more"

    assert served.sandbox.token_requests("sandbox") == []
    assert await connections_of(served) == []


async def test_a_state_swapped_for_another_browsers_is_refused(served):
    mine, theirs = await served.operator(), await served.operator()
    back, other = [await served.consented(one, "/connect/sandbox?user=ada") for one in (mine, theirs)]

    assert (await mine.get(changed(back, state=query_of(other)["state"][0]))).status_code == 400
    assert served.sandbox.token_requests("sandbox") == []


async def test_a_code_swapped_for_another_flows_is_refused_by_the_proof_key(served):
    browser = await served.operator()
    back, other = [await served.consented(browser, "/connect/sandbox?user=ada") for _ in range(2)]

    assert (await browser.get(changed(back, code=query_of(other)["code"][0]))).status_code == 409
    assert await connections_of(served) == []


async def test_two_flows_of_one_browser_do_not_disturb_each_other(served):
    browser = await served.operator()
    first = await served.consented(browser, "/connect/sandbox?user=ada")
    second = await served.consented(browser, "/connect/github?user=ada")

    assert [(await browser.get(url)).status_code for url in (second, first)] == [303, 303]


async def test_somebody_who_does_not_consent_is_told_so_and_nothing_is_asked_of_the_platform(served):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada", answer="deny")

    refused = await browser.get(back)

    assert refused.status_code == 400
    assert "consent was not given" in refused.text
    assert served.sandbox.token_requests("sandbox") == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_a_platform_or_a_stranger_writes_is_shown_as_text_or_not_at_all(served):
    browser = await served.operator()
    for script in SCRIPTS:
        back = await served.consented(browser, "/connect/sandbox", answer="deny")
        quoted = httpx.QueryParams({"user": script})
        pages = [
            await browser.get(changed(back, error=script, error_description=script, error_uri=script)),
            await browser.get("/connect/sandbox/callback", params={"state": script, "error": script}),
            await browser.get("/connect/sandbox", params={"link": script}),
            await browser.get(f"/?{quoted}&connected={httpx.QueryParams({'': script})}"),
            await browser.post("/sign-in", data={"code": script}),
            await browser.get(f"/connect/{httpx.URL(path=script).raw_path.decode().replace('/', '%2F')}"),
        ]
        for page in pages:
            tag = re.search(r"<(script>|img src=x|svg/|iframe|b>|script src=//)", page.text, re.IGNORECASE)
            assert tag is None, (page.url, tag)
            assert "49" not in re.findall(r"<p>(.*?)</p>", page.text)
            assert "unsafe" not in page.headers["content-security-policy"]


async def test_the_same_account_connected_again_stays_one_connection_and_another_account_is_a_second(served):
    browser = await served.operator()

    async def connect(person):
        back = await served.consented(browser, "/connect/sandbox?user=ada", person=person)
        return (await browser.get(back)).headers["location"].partition("connected=")[2]

    first, again, other = [await connect(person) for person in ("mira", "mira", "oskar")]

    assert first == again
    assert {row.id: row.account_id for row in await connections_of(served)} == {first: "mira", other: "oskar"}


async def test_what_was_unticked_on_the_consent_page_is_not_stored_as_granted(served):
    browser = await served.operator()
    await browser.get(await served.consented(browser, "/connect/sandbox?user=ada", scope=["mood"]))

    (row,) = await connections_of(served)
    assert row.scopes == "mood"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "status", "path": "/token", "status": 500}, 503),
        ({"kind": "html", "path": "/token"}, 503),
        ({"kind": "malformed", "path": "/token"}, 503),
        ({"kind": "empty", "path": "/token"}, 503),
        ({"kind": "drop", "path": "/token"}, 503),
        ({"kind": "redirect", "path": "/token"}, 502),
        ({"kind": "limited", "path": "/token"}, 503),
        ({"kind": "invalid_client", "path": "/token"}, 502),
        ({"kind": "invalid_grant", "path": "/token"}, 409),
        ({"kind": "status", "path": "/v1/me", "status": 500}, 503),
        ({"kind": "html", "path": "/v1/me"}, 502),
        ({"kind": "set_member", "path": "/v1/me", "name": "id", "value": None}, 502),
    ],
    ids=lambda value: f"{value['kind']} {value['path']}" if isinstance(value, dict) else str(value),
)
async def test_a_platform_that_fails_at_the_end_leaves_no_connection_and_says_what_to_do(served, fault, status):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")
    served.sandbox.faults.add(**fault, times=None)

    failed = await browser.get(back)

    assert failed.status_code == status
    assert "Not connected" in failed.text
    assert await connections_of(served) == []


async def test_nobody_starts_a_flow_for_the_operator_from_elsewhere(served):
    stranger, browser = await served.visitor(), await served.operator()

    assert (await stranger.get("/connect/sandbox?user=ada")).headers["location"] == f"{served.url}/sign-in"
    for site in ("cross-site", "same-site"):
        assert (await browser.get("/connect/sandbox", headers={"Sec-Fetch-Site": site})).status_code == 403
    for site in ("same-origin", "none"):
        assert (await browser.get("/connect/sandbox", headers={"Sec-Fetch-Site": site})).status_code == 303


async def test_a_platform_that_cannot_be_connected_says_why(serve):
    platforms = {"spotify": {"enabled": False}}
    async with serve(clients={"spotify": {"id": "x", "secret": "y"}}, platforms=platforms) as served:
        browser = await served.operator()
        answers = {
            name: await browser.get(f"/connect/{name}") for name in ("nowhere", "broadcaster", "sandbox", "spotify")
        }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "nowhere": 404,
        "broadcaster": 404,
        "sandbox": 502,
        "spotify": 502,
    }
    assert "SANDBOX_CLIENT_ID" in answers["sandbox"].text
    assert "switched off" in answers["spotify"].text


@pytest.mark.parametrize("user", ["", "x" * 201, "a\x00b", "a\nb"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_user_that_cannot_be_one_is_refused(served, user):
    browser = await served.operator()

    assert (await browser.get("/connect/sandbox", params={"user": user})).status_code == 422


async def test_the_verifier_is_stored_sealed_and_gone_when_the_flow_has_ended(served):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")
    challenge = served.sandbox.requests.of("sandbox", "/authorize")[0].query["code_challenge"]
    (flow,) = await flows_of(served)

    assert bytes(flow.state_hash) == hashlib.sha256(query_of(back)["state"][0].encode()).digest()
    assert challenge.encode() not in bytes(flow.verifier)
    await browser.get(back)
    assert await flows_of(served) == []


async def flows_of(served):
    from sqlalchemy import select

    from soulwatch.host.store.tables import flows

    async with served.host.database.reading() as transaction:
        return (await transaction.execute(select(flows))).all()
