from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from sqlalchemy import select
from support.served import on_sqlite, until

from soulwatch.host.store.tables import flows
from soulwatch.testing.clock import PlayedClock

APP = "https://app.example.com"
HOME = f"{APP}/settings/connections"
ELSEWHERE = (
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/settings",
    "",
    "https:evil.example",
    "https:/app.example.com",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://app.example.com.evil.example",
    "https://app.example.com@evil.example",
    "https://evil.example\\@app.example.com",
    "https://app.example.com\\.evil.example",
    "https://user:pass@app.example.com",
    "https://evil.example/https://app.example.com",
    "https://evil.example?https://app.example.com",
    " https://app.example.com",
    "https://app.example.com ",
    "https://app.example.com/\r\nSet-Cookie: a=b",
    "https://app.example\n.com",
    "ht\ttps://app.example.com",
    "\x01https://app.example.com",
    "https://app.example.com/#there",
    "https://app.example.com/\u2028",
    "https://[app.example.com",
    "javascript://app.example.com/%0aalert(1)",
    "data:text/html,hello",
    "https://app.example.com/" + "x" * 2000,
    7,
    None,
    ["https://app.example.com"],
)


@pytest.fixture
async def served(serve):
    async with serve(return_to_origins=APP) as made:
        yield made


async def begun(application, user="ada", return_to=HOME, platform="sandbox"):
    answer = await application.post(
        "/api/connect-sessions", json={"user": user, "platform": platform, "return_to": return_to}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


async def returned(served, url, person="mira"):
    """Somebody opens the link in a browser without a session, consents, and is sent back to the application."""
    browser = await served.visitor()
    arrived = await browser.get(await served.consented(browser, url, person=person))
    assert arrived.status_code == 303, arrived.text
    return arrived.headers["location"]


def code_in(url):
    return parse_qs(urlsplit(url).query)["code"][0]


async def stored_flows(served):
    async with served.host.database.reading() as transaction:
        return (await transaction.execute(select(flows))).all()


async def test_an_applications_user_connects_and_it_counts_once_the_application_has_redeemed_it(served):
    application = await served.application()
    session = await begun(application)
    assert session["url"].startswith(f"{served.url}/connect/sandbox?link=")

    location = await returned(served, session["url"])

    assert location.startswith(f"{HOME}?session={session['id']}&code=")
    assert await served.host.accounts.rows() == []
    assert await served.host.events("ada") == []
    activated = await application.post(
        f"/api/connect-sessions/{session['id']}/activate", json={"code": code_in(location)}
    )
    assert activated.status_code == 201
    assert activated.json()["account"] == {"id": "mira", "name": "Mira Vantongeren"}
    assert [row.id for row in await served.host.accounts.rows(user="ada")] == [activated.json()["id"]]
    assert (await served.host.ensure_fresh_token("ada", "sandbox")).refresh
    assert await stored_flows(served) == []
    assert len(served.sandbox.token_requests("sandbox")) == 1


@on_sqlite
async def test_an_address_with_a_query_of_its_own_keeps_it(served):
    session = await begun(await served.application(), return_to=f"{HOME}?tab=music")

    assert (await returned(served, session["url"])).startswith(f"{HOME}?tab=music&session=")


async def test_what_waits_to_be_redeemed_is_sealed(served):
    session = await begun(await served.application())
    await returned(served, session["url"])

    (flow,) = await stored_flows(served)
    assert flow.verifier is None
    assert not any(text in bytes(flow.found) for text in (b"mira", b"Mira", b"sbx-"))


async def test_a_link_works_once_and_for_the_browser_that_opened_it(served):
    session = await begun(await served.application())
    first, second = await served.visitor(), await served.visitor()

    back = await served.consented(first, session["url"])

    assert (await first.get(session["url"])).status_code == 400
    assert (await second.get(session["url"])).status_code == 400
    assert (await second.get(back)).status_code == 400
    assert served.sandbox.token_requests("sandbox") == []


async def test_of_several_who_open_a_link_at_once_one_goes_on(served):
    session = await begun(await served.application())
    browsers = [await served.visitor() for _ in range(4)]
    answers = []

    async def open_link(browser):
        answers.append((await browser.get(session["url"])).status_code)

    async with anyio.create_task_group() as group:
        for browser in browsers:
            group.start_soon(open_link, browser)
    assert sorted(answers) == [303, 400, 400, 400]


async def test_only_the_application_that_began_a_session_can_redeem_it(served):
    application, other, operator = [
        await served.application("front end"),
        await served.application("another"),
        await served.operator(),
    ]
    session = await begun(application)
    path, said = f"/api/connect-sessions/{session['id']}/activate", {"code": ""}
    said["code"] = code_in(await returned(served, session["url"]))

    assert [(await one.post(path, json=said)).status_code for one in (other, operator)] == [404, 404]
    assert (await application.post(path, json=said)).status_code == 201


async def test_a_code_is_redeemed_once_and_a_wrong_one_never(served):
    application = await served.application()
    session = await begun(application)
    path = f"/api/connect-sessions/{session['id']}/activate"

    assert (await application.post(path, json={"code": "too-early"})).status_code == 400
    code = code_in(await returned(served, session["url"]))
    assert (await application.post(path, json={"code": f"{code[:-1]}-"})).status_code == 400
    answers = []

    async def redeem():
        answers.append((await application.post(path, json={"code": code})).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(redeem)
    assert set(answers) <= {201, 400, 404}
    assert answers.count(201) == 1
    assert len(await served.host.accounts.rows()) == 1
    assert (await application.post(path, json={"code": code})).status_code == 404


async def test_a_code_of_one_session_does_not_redeem_another(served):
    application = await served.application()
    mine, theirs = [await begun(application, user=user) for user in ("ada", "bo")]
    code = code_in(await returned(served, theirs["url"], person="oskar"))
    await returned(served, mine["url"])

    refused = await application.post(f"/api/connect-sessions/{mine['id']}/activate", json={"code": code})

    assert refused.status_code == 400
    assert await served.host.accounts.rows() == []


async def test_what_nobody_redeems_in_ten_minutes_is_revoked_and_forgotten(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(return_to_origins=APP, clock=clock) as served:
        application = await served.application()
        session = await begun(application)
        code = code_in(await returned(served, session["url"]))
        assert [grant.revoked for grant in served.sandbox.grants.of()] == [False]

        await clock.advance(601)
        path = f"/api/connect-sessions/{session['id']}/activate"
        assert (await application.post(path, json={"code": code})).status_code == 400
        await served.host.connecting.prune()

        assert (await application.post(path, json={"code": code})).status_code == 404
        assert [grant.revoked for grant in served.sandbox.grants.of()] == [True]
        assert await stored_flows(served) == []
        assert await served.host.accounts.rows() == []


async def pruning_cut_off(served):
    """A process that is stopped while a platform does not answer whether a grant is revoked."""
    stalled = served.sandbox.faults.add("hang", path="/revoke", seconds=30)
    async with anyio.create_task_group() as group:
        group.start_soon(served.host.connecting.prune)
        await until(lambda: stalled.struck)
        group.cancel_scope.cancel()
    served.sandbox.faults.clear()


async def test_a_process_that_stops_while_it_revokes_what_nobody_redeemed_leaves_it_for_the_next(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(return_to_origins=APP, clock=clock) as served:
        session = await begun(await served.application())
        await returned(served, session["url"])
        await clock.advance(601)

        await pruning_cut_off(served)
        assert [grant.revoked for grant in served.sandbox.grants.of()] == [False]
        assert len(await stored_flows(served)) == 1
        await served.host.connecting.prune()

        assert [grant.revoked for grant in served.sandbox.grants.of()] == [True]
        assert await stored_flows(served) == []


async def test_who_redeems_and_stands_still_for_too_long_stores_no_revoked_grant(serve, monkeypatch):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(return_to_origins=APP, clock=clock) as served:
        application = await served.application()
        session = await begun(application)
        code = code_in(await returned(served, session["url"]))
        store = served.host.accounts.store

        async def much_later(*args, **kwargs):
            await clock.advance(601)
            await served.host.connecting.prune()
            return await store(*args, **kwargs)

        monkeypatch.setattr(served.host.accounts, "store", much_later)
        late = await application.post(f"/api/connect-sessions/{session['id']}/activate", json={"code": code})

        assert late.status_code == 400
        assert [grant.revoked for grant in served.sandbox.grants.of()] == [True]
        assert await served.host.accounts.rows() == []


async def test_a_link_that_nobody_opens_in_ten_minutes_is_over(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(return_to_origins=APP, clock=clock) as served:
        session = await begun(await served.application())
        await clock.advance(601)

        assert (await (await served.visitor()).get(session["url"])).status_code == 400
        await served.host.connecting.prune()
        assert await stored_flows(served) == []


@on_sqlite
async def test_somebody_who_came_over_a_link_and_does_not_consent_is_not_connected(served):
    session = await begun(await served.application())
    browser = await served.visitor()

    refused = await browser.get(await served.consented(browser, session["url"], answer="deny"))

    assert refused.status_code == 303
    assert refused.headers["location"].startswith(HOME)
    assert refused.headers["location"].endswith(f"session={session['id']}&error=access_denied")
    assert served.sandbox.token_requests("sandbox") == []
    assert await stored_flows(served) == []


@on_sqlite
async def test_nobody_is_sent_back_to_an_address_that_the_operator_has_not_allowed(served):
    application = await served.application()
    for address in ELSEWHERE:
        said = {"user": "ada", "platform": "sandbox", "return_to": address}
        refused = await application.post("/api/connect-sessions", json=said)
        assert refused.status_code == 422, address
        assert "SOULWATCH_RETURN_TO_ORIGINS" in refused.json()["detail"]
    assert await stored_flows(served) == []


@on_sqlite
async def test_without_a_setting_people_are_sent_back_to_the_hosts_own_pages_alone(serve):
    async with serve() as served:
        application = await served.application()
        said = {"user": "ada", "platform": "sandbox", "return_to": HOME}
        refused = await application.post("/api/connect-sessions", json=said)
        taken = await application.post("/api/connect-sessions", json={**said, "return_to": f"{served.url}/"})
    assert (refused.status_code, taken.status_code) == (422, 201)
    assert "SOULWATCH_RETURN_TO_ORIGINS" in refused.json()["detail"]


@on_sqlite
@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"platform": "nowhere"}, 404),
        ({"platform": "soulwatch:broadcaster"}, 404),
        ({"platform": ""}, 422),
        ({"platform": 7}, 422),
        ({"user": ""}, 422),
        ({"user": "x" * 201}, 422),
        ({"user": "a\u0000"}, 422),
        ({"user": None}, 422),
        ({"scopes": ["everything"]}, 422),
        ({"started_by": "page"}, 422),
    ],
)
async def test_a_session_for_nobody_or_nothing_is_refused(served, said, status):
    given = {"user": "ada", "platform": "sandbox", "return_to": HOME, **said}

    assert (await (await served.application()).post("/api/connect-sessions", json=given)).status_code == status
