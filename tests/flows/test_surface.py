"""What holds for every route: who is let in, which headers go with an answer."""

import logging
import re
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from support.served import PROTOCOL
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from soulwatch.host.app import create_app

OPEN = {"/healthz", "/readyz", "/sign-in", "/static/page.css", "/connect/{platform}/callback"}
"""Routes for which nobody has to prove anything: X2 of the rules of the surface."""
PAGES = {"/", "/connect/{platform}"}
HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture
def database_url(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path}/soulwatch.db"


def walk(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, set[str]]]:
    """Every path and its methods."""
    for route in routes:
        if isinstance(route, Mount) and route.routes:
            yield from walk(route.routes, prefix + route.path)
        elif isinstance(route, Mount):
            yield f"{prefix}{route.path}/page.css", {"GET", "HEAD"}
        elif isinstance(route, Route):
            yield prefix + route.path, set(route.methods or ())
        else:
            assert isinstance(route, WebSocketRoute)


def every_route(served) -> dict[str, set[str]]:
    """Every path with all methods it knows."""
    found: dict[str, set[str]] = {}
    for path, methods in walk(create_app(host=served.host).routes):
        found.setdefault(path, set()).update(methods)
    return found


def filled(path: str) -> str:
    return re.sub(r"{[^}]*}", "x", path)


async def test_no_route_lets_anybody_in_without_proof(served):
    visitor = await served.visitor()
    for path, methods in every_route(served).items():
        for method in methods - {"HEAD"}:
            answer = await visitor.request(method, filled(path))
            if path in PAGES:
                assert answer.headers["location"].endswith("/sign-in"), path
            elif path not in OPEN:
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), (method, path)
                assert answer.headers["content-type"] == "application/problem+json"


async def test_no_route_that_changes_something_is_open_to_a_session_without_its_token(served):
    browser = await served.operator()
    del browser.headers["X-CSRF-Token"]
    for path, methods in every_route(served).items():
        for method in methods - {"GET", "HEAD"}:
            if path not in OPEN:
                assert (await browser.request(method, filled(path), json={})).status_code == 403, (method, path)


async def test_a_method_that_a_route_does_not_know_is_refused_with_those_it_knows(served):
    application = await served.application()
    for path, methods in every_route(served).items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"} - methods:
            refused = await application.request(method, filled(path))
            assert refused.status_code == 405, (method, path)
            assert refused.json()["status"] == 405
            if not path.startswith("/static"):
                assert set(refused.headers["allow"].split(", ")) == methods, path


async def test_a_slash_too_many_leads_nowhere(served):
    application = await served.application()
    for path in ("/api/data/", "/healthz/", "/static", "/api", "//api/data", "/sign-in/"):
        assert (await application.get(path)).status_code == 404, path


async def test_every_answer_carries_the_headers_that_keep_it_safe(served):
    visitor, browser, application = await served.visitor(), await served.operator(), await served.application()
    await broken(served)
    answers = [
        await visitor.get("/"),
        await visitor.get("/sign-in"),
        await visitor.post("/sign-in", data={"code": "wrong"}),
        await visitor.get("/healthz"),
        await visitor.get("/healthz", headers={"Host": "evil.example"}),
        await visitor.get("/nowhere"),
        await visitor.get("/static/nowhere.css"),
        await visitor.get("/api/connections"),
        await visitor.get("/connect/sandbox/callback?state=x"),
        await visitor.put("/healthz"),
        await visitor.post("/sign-in", data={"code": "x" * 2_000_000}),
        await browser.get("/connect/sandbox"),
        await browser.get("/connect/nowhere"),
        await browser.post("/api/ws-tickets", json={"user": "ada"}),
        await browser.post("/sign-out"),
        await application.get("/api/data"),
        await application.get("/api/data?limit=0"),
        await application.get("/api/events?user=ada"),
        await application.post("/api/ws-tickets", content=b"{"),
    ]
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 201, 303, 400, 401, 403, 404, 405, 413, 421, 422, 503}
    for answer in answers:
        assert HEADERS.items() <= dict(answer.headers).items(), answer
        assert answer.headers["referrer-policy"] in ("no-referrer", "same-origin")
        assert answer.headers["x-request-id"]
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in answer.headers
    assert (await visitor.get("/static/page.css")).headers["x-content-type-options"] == "nosniff"


async def broken(served):
    """From now on reading events fails, in a way nobody foresaw."""
    async with served.host.database.writing() as transaction:
        await transaction.execute(text("ALTER TABLE events RENAME TO elsewhere"))


async def test_every_refusal_is_a_problem_with_the_id_that_the_log_knows(served, caplog):
    application = await served.application()
    await broken(served)
    with caplog.at_level(logging.ERROR):
        failed = await application.get("/api/events?user=ada", headers={"X-Request-Id": "given-1.2_3"})
    refusals = [failed, await application.get("/api/nowhere"), await application.get("/api/connections/nowhere")]

    for refused in refusals:
        assert refused.headers["content-type"] == "application/problem+json"
        said = refused.json()
        assert said.keys() == {"type", "title", "status", "detail", "request_id"}
        assert said["status"] == refused.status_code
        assert said["request_id"] == refused.headers["x-request-id"]
    assert (failed.status_code, failed.json()["request_id"]) == (503, "given-1.2_3")
    assert "elsewhere" not in failed.text
    assert "SELECT" not in failed.text
    (record,) = (record for record in caplog.records if record.name == "soulwatch.web")
    assert record.request_id == "given-1.2_3"


async def test_a_request_id_that_could_forge_a_log_line_is_replaced(served):
    visitor = await served.visitor()
    for given in ("a b", "a" * 65, '"', "é".encode()):
        answer = await visitor.get("/healthz", headers={"X-Request-Id": given})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"]), given


async def test_only_names_that_are_ours_are_answered_to(serve):
    async with serve(allowed_hosts="soulwatch.internal", public_url="https://watch.example/path") as served:
        visitor = await served.visitor()
        for host in (
            "127.0.0.1",
            "localhost:3001",
            "[::1]:80",
            "soulwatch.internal",
            "WATCH.example",
            "watch.example:443",
        ):
            assert (await visitor.get("/healthz", headers={"Host": host})).status_code == 200, host
        for host in (
            "evil.example",
            "",
            "127.0.0.1.evil.example",
            "watch.example.",
            "x@127.0.0.1",
            "[::2]",
            "watch.example:1:2",
        ):
            refused = await visitor.get("/healthz", headers={"Host": host, "X-Forwarded-Host": "127.0.0.1"})
            assert refused.status_code == 421, host
            assert "SOULWATCH_ALLOWED_HOSTS" in refused.json()["detail"]
        port = served.host.settings.port
        with pytest.raises(InvalidStatus, match="403"):
            await connect("ws://evil.example/ws", host="127.0.0.1", port=port, subprotocols=[PROTOCOL], proxy=None)


async def test_other_origins_may_read_only_where_the_operator_allows_it(serve, served):
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    mine, other = {"Origin": "https://app.example"}, {"Origin": "https://app.example.evil.example"}
    closed = await served.application()
    assert "access-control-allow-origin" not in (await closed.get("/api/data", headers=mine)).headers
    assert (await closed.options("/api/data", headers={**mine, **preflight})).status_code == 405
    async with serve(cors_origins="https://app.example") as opened:
        application = await opened.application()
        allowed = await application.options("/api/ws-tickets", headers={**mine, **preflight})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://app.example")
        for answer in (
            allowed,
            await application.get("/api/data", headers=mine),
            await application.get("/api/x", headers=mine),
        ):
            assert answer.headers["access-control-allow-origin"] == "https://app.example"
            assert "access-control-allow-credentials" not in answer.headers
            assert "Origin" in answer.headers["vary"]
        assert (await application.options("/api/data", headers={**other, **preflight})).status_code == 400
        assert "access-control-allow-origin" not in (await application.get("/api/data", headers=other)).headers


async def test_tokens_go_to_nobody_but_the_access_token_to_an_application(served):
    browser, application = await served.operator(), await served.application()
    socket = await served.listening("ada")
    arrived = await browser.get(await served.consented(browser, "/connect/sandbox?user=ada"))
    (row,) = await served.host.accounts.rows()
    answers = [arrived, await browser.get("/?user=ada")]
    for method, path in (("POST", "/poll"), ("POST", "/refresh"), ("GET", "")):
        address = f"/api/connections/{row.id}{path}"
        answers += [await caller.request(method, address) for caller in (browser, application)]
    answers.append(await browser.post("/api/users/ada/token", json={"platform": "sandbox"}))
    answers += [
        await application.get(f"/api/{name}?user=ada") for name in ("connections", "data", "data/counts", "events")
    ]
    answers += [await application.get("/api/plugins"), await application.delete(f"/api/connections/{row.id}")]
    asked = await served.host.events("ada")
    told = "".join([await socket.recv() for _ in asked])

    assert {answer.status_code for answer in answers} == {200, 303}
    said = told + "".join(answer.text + str(answer.headers) for answer in answers)
    for secret in ("sbx-refresh", "sbx-access", "invented-sandbox-secret", "sbx-code"):
        assert secret not in said


async def test_an_application_gets_the_access_token_and_not_the_other(served):
    browser, application = await served.operator(), await served.application()
    await browser.get(await served.consented(browser, "/connect/sandbox?user=ada"))

    given = await application.post("/api/users/ada/token", json={"platform": "sandbox"})

    assert given.json().keys() == {"access_token", "expires_at", "scopes"}
    assert given.json()["access_token"].startswith("sbx-access-")
    assert "sbx-refresh" not in given.text
