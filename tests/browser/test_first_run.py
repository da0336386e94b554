import time

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MINUTE_S = 60
PATIENCE_MS = 40_000
FROM_REFRESH_TO_REFRESH_MS = 60_000  # half of a demonstration's token's life, and as much again for a busy machine
SEQS = "() => [...document.querySelectorAll('.log li')].map((line) => Number(line.dataset.key.slice('event-'.length)))"
ITEMS = "() => [...document.querySelectorAll('.items > li')].map((item) => item.dataset.key)"
HAS_NEWS = f"(after) => Math.max(...({SEQS})()) > after"
HAS_ANOTHER_ITEM = f"(before) => ({ITEMS})().some((key) => !before.includes(key))"
HAS_REFRESHED = f"""(after) => ({SEQS})().some((seq) => seq > after &&
  document.querySelector(`[data-key=event-${{seq}}] .event-kind`).textContent === "token")"""
COUNTED = "SELECT COUNT(*), COUNT(DISTINCT item_key) FROM user_platform_data WHERE data_type = 'notes'"


async def newest(page):
    """The number of the newest event that is shown."""
    return max(await page.evaluate(SEQS), default=0)


async def another_item(page):
    """Wait until an item is shown that was not."""
    before = await page.evaluate(ITEMS)
    await page.wait_for_function(HAS_ANOTHER_ITEM, arg=before, timeout=PATIENCE_MS)


async def test_a_newcomer_connects_and_watches_and_a_crash_changes_nothing(demo, visit):
    visitor = await visit(demo.url)
    page, heard, sockets = await visitor.context.new_page(), [], []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: heard.append(str(frame))))
    address = await demo.sign_in_address()

    # In: the code is used and gone from the address.
    began = time.monotonic()
    await page.goto(address)
    await expect(page.locator("#live")).to_have_text("Live")
    await page.wait_for_url("/?user=me")
    assert await page.locator(".connection").count() == 0

    # Over to the platform, through its consent page, and back to a clean address.
    await page.get_by_role("link", name="Connect Sandbox").click()
    await page.get_by_role("button", name="Allow").click()
    await expect(page.locator("#notice")).to_contain_text("Sandbox is connected as Mira Vantongeren.")
    await expect(page.locator(".connection .state")).to_have_text("Connected")
    await page.wait_for_url("/?user=me")

    # The first items, stored and shown within a minute of opening the page.
    await page.locator(".items > li").first.wait_for(timeout=MINUTE_S * 1000)
    print(f"first item shown after {time.monotonic() - began:.1f} s")
    assert time.monotonic() - began < MINUTE_S
    assert demo.ask("SELECT COUNT(*) > 0 FROM user_platform_data WHERE user_id = 'me'") == [(1,)]

    # More come, and what is told, over the socket and into the page as it is.
    await page.evaluate("() => { window.isTheSamePage = true; }")
    seen = await newest(page)
    await another_item(page)
    await page.wait_for_function(HAS_NEWS, arg=seen, timeout=PATIENCE_MS)
    assert await page.locator(".log li", has_text="new in notes").count() > 0
    assert any('"type":"ready"' in frame and '"user":"me"' in frame for frame in heard)
    assert any('"type":"new_data"' in frame for frame in heard)
    assert set(sockets) == {f"{demo.url.replace('http', 'ws')}/ws"}, "the ticket is in no address"

    # A crash is said.
    assert visitor.complaints == []
    visitor.forgive("ERR_CONNECTION_|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|WebSocket connection")
    seen = await newest(page)
    await demo.kill()
    await expect(page.locator("#away")).to_contain_text("The host does not answer.")
    await expect(page.locator("#live")).to_have_text("Offline")

    # And over when it is over: the same page goes on by itself, and tokens are refreshed in time.
    await demo.start()
    await expect(page.locator("#live")).to_have_text("Live", timeout=60_000)
    await expect(page.locator("#away")).to_be_hidden()
    complaints = len(visitor.complaints)
    await another_item(page)
    await page.wait_for_function(HAS_NEWS, arg=seen, timeout=PATIENCE_MS)
    await page.wait_for_function(HAS_REFRESHED, arg=seen, timeout=FROM_REFRESH_TO_REFRESH_MS)
    assert await page.evaluate("() => window.isTheSamePage")
    assert visitor.complaints[complaints:] == []

    # Nothing is there twice, and no event is missing.
    await expect(page.locator(".connection .state")).to_have_text("Connected")
    items, events = await page.evaluate(ITEMS), await page.evaluate(SEQS)
    assert len(set(items)) == len(items)
    assert events == list(range(events[0], events[0] - len(events), -1))
    ((count, different),) = demo.ask(COUNTED)
    assert count == different
    assert demo.ask("SELECT DISTINCT status FROM platform_connections WHERE user_id = 'me'") == [("connected",)]


async def test_a_code_is_refused_where_it_is_wrong_and_where_it_was_used(demo, visit):
    visitor = await visit(demo.url)
    visitor.forgive("status of 403")
    code = (await demo.sign_in_address()).partition("#")[2]
    page = await visitor.open("/")
    assert page.url == f"{demo.url}/sign-in"

    await expect(page.locator("#code")).to_be_focused()
    await page.keyboard.type("WRNG-WRNG-WRNG")
    await page.keyboard.press("Enter")
    await expect(page.locator("#problem")).to_contain_text("This code is wrong, used or older than ten minutes.")
    assert "WRNG" not in page.url

    await expect(page.locator("#code")).to_be_focused()
    await page.keyboard.type(code.lower())
    await page.keyboard.press("Enter")
    await expect(page.locator("#live")).to_have_text("Live")

    later = await visit(demo.url)
    later.forgive("status of 403")
    page = await later.open(f"/sign-in#{code}")
    await expect(page.locator("#problem")).to_contain_text("This code is wrong, used or older than ten minutes.")
    assert page.url == f"{demo.url}/sign-in"
