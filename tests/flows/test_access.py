from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from support.served import on_sqlite

from soulwatch.errors import NotFound
from soulwatch.testing.clock import PlayedClock

HOUR_S = 3600
FOREIGN = (
    "https://evil.example",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "http://localhost.evil.example",
    "null",
    "",
)


def session_cookie(browser):
    (found,) = (cookie for cookie in browser.cookies.jar if "session" in cookie.name)
    return found


async def is_signed_in(browser):
    return (await browser.get("/api/connections")).status_code == 200


async def test_a_login_code_signs_in_once(served):
    code = await served.host.access.login_code()
    first, second = await served.visitor(), await served.visitor()

    assert (await first.post("/sign-in", data={"code": code})).status_code == 303
    refused = await second.post("/sign-in", data={"code": code})

    assert refused.status_code == 403
    assert "wrong, used or older than ten minutes" in refused.text
    assert "set-cookie" not in refused.headers
    assert [await is_signed_in(browser) for browser in (first, second)] == [True, False]


async def test_a_code_shown_twice_at_once_signs_one_in(served):
    code = await served.host.access.login_code()
    answers = []

    async def show():
        browser = await served.visitor()
        answers.append((await browser.post("/sign-in", data={"code": code})).status_code)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(show)
    assert sorted(answers) == [303, 403, 403, 403, 403]


@on_sqlite
async def test_a_code_may_be_typed_as_people_type(served):
    code = await served.host.access.login_code()
    assert len(code) == 14

    browser = await served.visitor()
    assert (await browser.post("/sign-in", data={"code": f"  {code.lower().replace('-', ' ')} "})).status_code == 303


@on_sqlite
async def test_what_is_no_code_signs_nobody_in(served):
    browser = await served.visitor()
    for wrong in ("", "-", "AAAA-AAAA-AAAA", "x" * 100_000, "٣" * 12, "' OR 1=1 --", "\x00"):
        assert (await browser.post("/sign-in", data={"code": wrong})).status_code == 403, wrong[:20]
    for form in ({}, {"Code": "x"}, {str(number): "x" for number in range(10)}):
        assert (await browser.post("/sign-in", data=form)).status_code in (400, 403), form
    assert (await browser.post("/sign-in", files={"code": b"x" * 1000})).status_code in (400, 403)
    assert (
        await browser.post("/sign-in", content=b"\xff\xfe", headers={"Content-Type": "text/plain"})
    ).status_code == 403


async def test_a_code_is_good_for_ten_minutes(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        in_time, too_late = [await served.host.access.login_code() for _ in range(2)]
        browser = await served.visitor()
        await clock.advance(599)
        assert (await browser.post("/sign-in", data={"code": in_time})).status_code == 303
        await clock.advance(2)
        assert (await browser.post("/sign-in", data={"code": too_late})).status_code == 403


async def test_a_session_ends_after_twelve_idle_hours(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        browser = await served.operator()
        for _ in range(3):
            await clock.advance(11 * HOUR_S)
            assert await is_signed_in(browser)
        await clock.advance(12 * HOUR_S)
        assert not await is_signed_in(browser)


async def test_a_session_ends_after_seven_days_however_much_it_is_used(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        browser = await served.operator()
        for _ in range(15):
            await clock.advance(11 * HOUR_S)
            await served.session_of(browser)
        assert await is_signed_in(browser)
        await clock.advance(3 * HOUR_S)
        assert not await is_signed_in(browser)


async def test_after_signing_out_the_cookie_opens_nothing(served):
    browser = await served.operator()
    kept = session_cookie(browser)

    signed_out = await browser.post("/sign-out")

    assert (signed_out.status_code, signed_out.headers["location"]) == (303, f"{served.url}/sign-in")
    assert not browser.cookies.jar
    thief = await served.visitor(cookies={kept.name: kept.value})
    assert not await is_signed_in(thief)
    assert (await thief.get("/")).status_code == 303


@on_sqlite
async def test_signing_out_ends_no_other_session(served):
    one, other = await served.operator(), await served.operator()
    await one.post("/sign-out")

    assert await is_signed_in(other)


@on_sqlite
async def test_the_session_cookie_is_for_this_host_alone_and_no_script_reads_it(serve, served):
    browser = await served.visitor()
    plain = await browser.post("/sign-in", data={"code": await served.host.access.login_code()})
    async with serve(public_url="https://soulwatch.example/watch") as secure:
        browser = await secure.visitor(headers={"Host": "soulwatch.example"})
        guarded = await browser.post("/sign-in", data={"code": await secure.host.access.login_code()})

    assert guarded.headers["location"] == "https://soulwatch.example/watch/"
    assert guarded.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in plain.headers
    plain_parts, guarded_parts = [set(answer.headers["set-cookie"].split("; ")) for answer in (plain, guarded)]
    assert any(part.startswith("__Host-soulwatch-session=") for part in guarded_parts)
    for parts, extra in ((plain_parts, set()), (guarded_parts, {"Secure"})):
        flags = {
            part for part in parts if not part.partition("=")[0].endswith(("session", str(served.host.settings.port)))
        }
        assert flags == {"HttpOnly", "Max-Age=604800", "Path=/", "SameSite=lax", *extra}


@on_sqlite
async def test_what_changes_something_needs_the_token_of_its_own_session(served):
    browser, other = await served.operator(), await served.operator()
    good = browser.headers.pop("X-CSRF-Token")

    for wrong in (None, "", "x", good[:-1], good.upper(), other.headers["X-CSRF-Token"], session_cookie(browser).value):
        headers = {} if wrong is None else {"X-CSRF-Token": wrong}
        for method, path in (("POST", "/api/ws-tickets"), ("POST", "/sign-out"), ("DELETE", "/api/connections/x")):
            refused = await browser.request(method, path, headers=headers)
            assert (refused.status_code, "X-CSRF-Token" in refused.json()["detail"]) == (403, True), (wrong, path)
    assert await is_signed_in(browser), "what only reads needs none"
    ticket = await browser.post("/api/ws-tickets", json={"user": "ada"}, headers={"X-CSRF-Token": good})
    assert ticket.status_code == 201


@on_sqlite
async def test_the_page_holds_the_token_that_its_script_sends(served):
    browser = await served.operator()

    assert f'data-csrf="{browser.headers["X-CSRF-Token"]}"' in (await browser.get("/")).text


@on_sqlite
async def test_what_changes_something_has_to_come_from_our_own_pages(served):
    browser, visitor = await served.operator(), await served.visitor()
    for origin in FOREIGN:
        headers = {"Origin": origin}
        assert (await browser.post("/api/ws-tickets", json={"user": "ada"}, headers=headers)).status_code == 403, origin
        code = await served.host.access.login_code()
        assert (await visitor.post("/sign-in", data={"code": code}, headers=headers)).status_code == 403, origin
    mine = {"Origin": served.url}
    assert (await browser.post("/api/ws-tickets", json={"user": "ada"}, headers=mine)).status_code == 201


@on_sqlite
async def test_behind_a_proxy_our_own_pages_have_the_public_origin(serve):
    async with serve(public_url="https://soulwatch.example/watch") as served:
        visitor = await served.visitor(headers={"Host": "soulwatch.example"})
        for origin, status in (("https://soulwatch.example", 303), ("http://soulwatch.example", 403)):
            code = await served.host.access.login_code()
            answer = await visitor.post("/sign-in", data={"code": code}, headers={"Origin": origin})
            assert answer.status_code == status, origin


async def test_an_api_key_opens_until_it_is_revoked(served):
    key_id, key = await served.host.access.new_key("front end")
    application = await served.visitor(headers={"Authorization": f"bearer  {key}"})
    (before,) = await served.host.access.keys()
    assert (before.name, before.last_used_at) == ("front end", None)

    assert (await application.get("/api/connections")).status_code == 200
    (used,) = await served.host.access.keys()
    assert used.last_used_at is not None
    await served.host.access.revoke_key(key_id)

    refused = await application.get("/api/connections")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "opens nothing" in refused.json()["detail"]
    with pytest.raises(NotFound):
        await served.host.access.revoke_key(key_id)


@on_sqlite
async def test_of_secrets_only_hashes_are_kept(served, tmp_path: Path):
    _, key = await served.host.access.new_key("front end")
    browser, ticket = await served.operator(), await served.ticket()
    code = await served.host.access.login_code()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("*.db*"))  # noqa: ASYNC240  - small files

    for secret in (key, session_cookie(browser).value, ticket, code, code.replace("-", "")):
        assert secret.encode() not in stored
    assert b"front end" in stored


@on_sqlite
async def test_what_is_no_key_opens_nothing(served):
    _, key = await served.host.access.new_key("front end")
    browser = await served.operator()
    for wrong in ("Bearer", "Bearer None", "Bearer undefined", f"Bearer {key[:-1]}", f"Bearer {key.lower()}"):
        refused = await browser.get("/api/connections", headers={"Authorization": wrong})
        assert refused.status_code == 401, f"{wrong}: a wrong key is not made good by a session"
    visitor = await served.visitor()
    for wrong in (key, f"Basic {key}", f"Bearer{key}", "", "\xe9\xff"):
        refused = await visitor.get("/api/connections", headers={"Authorization": wrong.encode("latin-1")})
        assert refused.status_code == 401, wrong
    assert (await visitor.get(f"/api/connections?api_key={key}&access_token={key}")).status_code == 401


async def test_what_has_ended_is_pruned(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        browser = await served.operator()
        await served.ticket()
        await served.host.access.login_code()
        await clock.advance(601)
        assert await served.host.access.prune() == 2
        assert await is_signed_in(browser)
        await clock.advance(13 * HOUR_S)
        assert await served.host.access.prune() == 1
