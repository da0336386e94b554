"""Answers that did not come from where they should: nothing is connected, and no token request leaves."""

import re
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest
from support.served import on_sqlite

from soulwatch.testing.clock import PlayedClock

SCRIPTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
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


@on_sqlite
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


@on_sqlite
async def test_a_state_swapped_for_another_browsers_is_refused(served):
    mine, theirs = await served.operator(), await served.operator()
    back, other = [await served.consented(one, "/connect/sandbox?user=ada") for one in (mine, theirs)]

    assert (await mine.get(changed(back, state=query_of(other)["state"][0]))).status_code == 400
    assert served.sandbox.token_requests("sandbox") == []


@on_sqlite
async def test_a_code_swapped_for_another_flows_is_refused_by_the_proof_key(served):
    browser = await served.operator()
    back, other = [await served.consented(browser, "/connect/sandbox?user=ada") for _ in range(2)]

    assert (await browser.get(changed(back, code=query_of(other)["code"][0]))).status_code == 409
    assert await connections_of(served) == []


@on_sqlite
async def test_somebody_who_does_not_consent_is_told_so_and_nothing_is_asked_of_the_platform(served):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada", answer="deny")

    refused = await browser.get(back)

    assert refused.status_code == 400
    assert "consent was not given" in refused.text
    assert served.sandbox.token_requests("sandbox") == []


@on_sqlite
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


@on_sqlite
async def test_nobody_starts_a_flow_for_the_operator_from_elsewhere(served):
    stranger, browser = await served.visitor(), await served.operator()

    assert (await stranger.get("/connect/sandbox?user=ada")).headers["location"] == f"{served.url}/sign-in"
    for site in ("cross-site", "same-site"):
        assert (await browser.get("/connect/sandbox", headers={"Sec-Fetch-Site": site})).status_code == 403
    for site in ("same-origin", "none"):
        assert (await browser.get("/connect/sandbox", headers={"Sec-Fetch-Site": site})).status_code == 303


@pytest.mark.parametrize("user", ["", "x" * 201, "a\x00b", "a\nb"])
@on_sqlite
async def test_a_user_that_cannot_be_one_is_refused(served, user):
    browser = await served.operator()

    assert (await browser.get("/connect/sandbox", params={"user": user})).status_code == 422
