import json

import pytest
from playwright.async_api import expect
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from support.served import free_port, running

pytestmark = pytest.mark.browser

USER = "strangers"
PLAIN = "<!doctype html><html lang=en><title>You have won</title><link rel=icon href='data:,'>"
TRY_SOCKET = """([address, offered, said]) => new Promise((resolve) => {
  const socket = new WebSocket(address, offered);
  socket.onopen = () => said && socket.send(JSON.stringify(said));
  socket.onmessage = (message) => { resolve(JSON.parse(message.data).type); socket.close(); };
  socket.onclose = (event) => resolve(`closed with ${event.code}`);
})"""
NEW_TICKET = """async (user) => {
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": document.getElementById("main").dataset.csrf };
  const answer = await fetch("/api/ws-tickets", { method: "POST", headers, body: JSON.stringify({ user }) });
  return (await answer.json()).ticket;
}"""
REFUSED = "closed with 1006"
"""How a browser says that a socket never opened."""


async def bait(request: Request) -> HTMLResponse:
    """A page of somebody else's, that may show another one in a frame."""
    shown = request.query_params.get("show")
    frame = f"<iframe src='{shown}'></iframe>" if shown else ""
    return HTMLResponse(f"{PLAIN}<h1>You have won</h1>{frame}")


@pytest.fixture
async def elsewhere():
    """The port of a server that is not ours."""
    listener = free_port()
    async with running(Starlette(routes=[Route("/", bait)]), listener):
        yield listener.getsockname()[1]


@pytest.fixture
async def operator(demo, visit):
    return await demo.operator(visit)


@pytest.fixture(params=["127.0.0.1", "stranger.example"], ids=["other port", "other site"])
async def stranger(request, operator, elsewhere):
    """A page of another origin, open beside ours in the operator's browser; at another port it is the same site."""
    page = await operator.context.new_page()
    await page.goto(f"http://{request.param}:{elsewhere}/")
    return page


async def ticket(operator):
    page = await operator.open(f"/?user={USER}")
    return page, await page.evaluate(NEW_TICKET, USER)


async def hear(page, demo, *tickets, said=None):
    """What a page gets to hear from our socket."""
    address = demo.url.replace("http", "ws") + "/ws"
    return await page.evaluate(TRY_SOCKET, [address, ["soulwatch.v1", *(f"ticket.{one}" for one in tickets)], said])


async def test_a_ticket_opens_one_socket_of_our_own_page_and_no_second(demo, operator):
    operator.forgive("WebSocket connection")
    page, good = await ticket(operator)

    assert await hear(page, demo, good) == "ready"
    assert await hear(page, demo, good) == REFUSED
    assert await hear(page, demo, said={"type": "auth", "ticket": good}) == "closed with 4401"
    assert await hear(page, demo, "made-up") == REFUSED


async def test_a_page_of_another_origin_hears_nothing_with_or_without_a_ticket(demo, operator, stranger):
    operator.forgive("WebSocket connection")
    page, stolen = await ticket(operator)

    assert await hear(stranger, demo) == REFUSED
    assert await hear(stranger, demo, stolen) == REFUSED
    assert await hear(stranger, demo, said={"type": "auth", "ticket": stolen}) == REFUSED
    assert await hear(page, demo, stolen) == "ready", "it was good, and only where it was stolen from"
    assert await hear(stranger, demo, stolen) == REFUSED


async def test_a_page_of_another_origin_reads_and_does_nothing_with_the_operators_session(demo, operator, stranger):
    operator.forgive("CORS policy|ERR_FAILED|NotSameOrigin|status of 40[134]")
    ask = """async ([address, options]) => {
      try { return (await fetch(address, { credentials: "include", ...options })).type; } catch { return "failed"; }
    }"""
    for path, options in [
        ("/?user=me", {}),
        ("/api/connections", {}),
        ("/api/ws-tickets", {"method": "POST", "body": json.dumps({"user": USER})}),
        ("/sign-out", {"method": "POST"}),
        ("/sign-out", {"method": "POST", "mode": "no-cors"}),
        ("/", {"mode": "no-cors"}),
    ]:
        assert await stranger.evaluate(ask, [demo.url + path, options]) == "failed", path

    elsewhere_url = stranger.url
    # Nor does a form of theirs, or a link that would begin to connect an account of the attacker's choice.
    await stranger.evaluate(
        """(address) => {
          const form = Object.assign(document.createElement("form"), { method: "post", action: address });
          document.body.append(form);
          form.submit();
        }""",
        demo.url + "/sign-out",
    )
    await stranger.wait_for_url(f"{demo.url}/sign-out")
    # From another site the browser does not even send the cookie along.
    is_same_site = "127.0.0.1" in elsewhere_url
    refused = "are not taken with a session" if is_same_site else "Sign in with a one-time code"
    await expect(stranger.locator("body")).to_contain_text(refused)
    await stranger.go_back()
    await stranger.evaluate("(address) => { location.href = address; }", demo.url + "/connect/sandbox?user=me")
    await expect(stranger.get_by_role("heading")).to_have_text("Not started here")
    page = await operator.open(f"/?user={USER}")
    await expect(page.locator("#live")).to_have_text("Live")


async def test_no_page_of_ours_is_shown_within_another(demo, operator, stranger):
    operator.forgive("frame-ancestors|Framing")
    for path in ("/", "/sign-in"):
        await stranger.goto(f"{stranger.url.partition('?')[0]}?show={demo.url}{path}")
        frame = stranger.frame_locator("iframe")
        await expect(frame.locator("#platforms, #code")).to_have_count(0)
        assert [one.url for one in stranger.frames[1:]] == ["chrome-error://chromewebdata/"]
    assert any("frame-ancestors 'none'" in said for said in operator.complaints)


async def test_a_foreign_name_that_leads_to_this_host_is_not_answered_to(demo, operator):
    operator.forgive("status of 421|WebSocket connection|Cross-Origin-Opener-Policy header has been ignored")
    port = demo.url.rpartition(":")[2]
    page = await operator.context.new_page()

    arrived = await page.goto(f"http://rebound.example:{port}/sign-in")
    assert arrived is not None
    assert arrived.status == 421
    await expect(page.locator("body")).to_contain_text("not known as 'rebound.example")

    # The attacker's page, that came from that name before it led here, shares its origin with us, it thinks.
    await page.route("**/bait", lambda route: route.fulfill(content_type="text/html", body=PLAIN))
    await page.goto(f"http://rebound.example:{port}/bait")
    ask = "async (path) => { const answer = await fetch(path); return [answer.status, await answer.text()]; }"
    for path in ("/", "/sign-in", "/api/connections", "/healthz", "/static/page.js"):
        status, said = await page.evaluate(ask, path)
        assert status == 421, path
        assert "SOULWATCH_ALLOWED_HOSTS" in said
    assert await page.evaluate(TRY_SOCKET, [f"ws://rebound.example:{port}/ws", ["soulwatch.v1"], None]) == REFUSED
