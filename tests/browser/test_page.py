from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import expect

from soulwatch.host.timing import RefreshPolicy
from soulwatch.host.web.wording import distance

pytestmark = pytest.mark.browser

TELEPHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
FOCUSED = "() => document.activeElement.textContent.trim()"
WIDTH = "() => document.documentElement.scrollWidth"
HOUR_S, DAY_S = 3600, 86_400
EDGES_S = (0, 1, 2, 59, 60, 61, 119, 250, HOUR_S - 1, HOUR_S, HOUR_S + 59, 3 * HOUR_S + 120, 2 * DAY_S - 1, 2 * DAY_S)
PARTS_S = (0, 0.4, 0.499, 0.5, 0.501, 0.999)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def tab_to(page, name):
    """Go from one thing to the next as far as the one of this name."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate(FOCUSED) == name:
            return
    pytest.fail(f"the keyboard does not get to {name!r}")


async def test_a_connection_is_polled_refreshed_and_ended_by_keyboard_alone(world, served, operator):
    connection = await world.connect(served.host)
    page = await operator.open("/?user=ada")
    card = page.locator(".connection")
    await expect(page.locator("#live")).to_have_text("Live")

    await tab_to(page, "Poll now")
    await page.keyboard.press("Enter")
    await expect(card.locator("output")).to_contain_text("60 new in notes")
    await expect(page.locator(".items > li").first).to_be_visible()

    await tab_to(page, "Refresh token")
    await page.keyboard.press("Space")
    await expect(card.locator("output")).to_contain_text("Token refreshed; it expires in")
    await expect(page.locator(".log li", has_text="Sandbox: token refreshed")).to_be_visible()

    # What ends something asks first, and the key that is pressed by mistake ends nothing.
    await tab_to(page, "Disconnect")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog", name="Disconnect Sandbox, Mira Vantongeren?")).to_be_visible()
    await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(card.get_by_role("button", name="Disconnect")).to_be_focused()
    assert (await served.host.accounts.row(connection.id)).status == "connected"

    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    await tab_to(page, "Disconnect")
    await page.keyboard.press("Enter")
    await expect(page.locator("#said")).to_have_text("Disconnected, and revoked at the platform.")
    await expect(card).to_have_count(0)
    await expect(page.locator("#connections-title")).to_be_focused()
    assert (await served.host.accounts.row(connection.id)).status == "disconnected"
    assert [grant.revoked for grant in world.sandbox.grants.of("mira")] == [True]


async def test_a_question_asked_again_at_once_is_not_answered_by_the_one_before(world, served, operator):
    connection = await world.connect(served.host)
    page = await operator.open("/?user=ada")
    await page.locator(".connection").get_by_role("button", name="Disconnect").click()
    # The browser tells that a dialog was closed a moment later, when this one is already open again.
    await page.evaluate(
        "() => { document.getElementById('confirm').close('no');"
        " document.querySelector('.connection [data-act=disconnect]').click(); }"
    )
    await page.get_by_role("dialog").get_by_role("button", name="Disconnect").click()
    await expect(page.locator("#said")).to_have_text("Disconnected, and revoked at the platform.")
    assert (await served.host.accounts.row(connection.id)).status == "disconnected"


@pytest.mark.parametrize("served", [RefreshPolicy()], ids=["usual policy"], indirect=True)
async def test_a_token_that_was_refreshed_only_just_now_is_not_called_refreshed_again(world, served, operator):
    await world.connect(served.host)
    page = await operator.open("/?user=ada")
    card = page.locator(".connection")
    await expect(page.locator("#live")).to_have_text("Live")

    await card.get_by_role("button", name="Refresh token").click()
    await expect(card.locator("output")).to_contain_text("Token refreshed; it expires in")
    await card.get_by_role("button", name="Refresh token").click()
    await expect(card.locator("output")).to_contain_text("No new token was given; the present one expires in")
    assert len(world.sandbox.token_requests("sandbox", "refresh_token")) == 1


async def test_who_revoked_the_access_is_asked_to_connect_again_and_then_all_goes_on(world, served, operator):
    await world.connect(served.host)
    page = await operator.open("/?user=ada")
    card = page.locator(".connection")
    state, output = card.locator(".state"), card.locator("output")
    await expect(page.locator("#live")).to_have_text("Live")

    world.sandbox.revoke_user("mira")
    await card.get_by_role("button", name="Poll now").click()
    await expect(state).to_have_text("Connect again")
    await expect(page.locator(".log .event-help").first).to_contain_text("no longer honours this connection")
    await expect(card.get_by_role("button", name="Poll now")).to_have_count(0)

    await card.get_by_role("link", name="Connect Sandbox again").click()
    await page.get_by_role("button", name="Allow").click()
    await expect(state).to_have_text("Connected")
    await card.get_by_role("button", name="Poll now").click()
    await expect(output).to_contain_text("60 new in notes")


async def test_who_changes_their_mind_at_the_platform_is_told_that_nothing_was_connected(served, operator):
    operator.forgive("status of 4")
    page = await operator.open("/?user=ada")

    await page.get_by_role("link", name="Connect Sandbox").click()
    await page.get_by_role("button", name="Deny").click()

    await expect(page.get_by_role("heading")).to_have_text("Not connected")
    await page.get_by_role("link", name="Back to the page").click()
    await expect(page.locator("#connections")).to_contain_text("No account is connected for me yet.")
    assert not await served.host.accounts.rows()


async def test_what_a_reader_opened_stays_open_under_their_eyes_while_news_arrive(world, served, operator):
    connection = await world.connect(served.host)
    await served.host.poll_connection(connection.id, "notes")
    page = await operator.open("/?user=ada")
    await expect(page.locator("#live")).to_have_text("Live")
    third = page.locator(".items > li").nth(2)
    key = await third.get_attribute("data-key")
    await third.locator("summary").focus()
    await page.keyboard.press("Enter")
    await expect(third.locator("details")).to_have_attribute("open", "")

    world.sandbox.add_item("sandbox", "mira")
    await served.host.poll_connection(connection.id, "notes")

    await expect(page.locator(".items > li[data-new]")).to_have_count(1)
    await expect(page.locator(".items > li").first).to_have_attribute("data-new", "")
    moved = page.locator(f".items > li[data-key={key}]")
    await expect(moved.locator("details")).to_have_attribute("open", "")
    await expect(moved.locator("summary")).to_be_focused()
    await expect(page.locator(".items > li")).to_have_count(20)


async def test_news_that_could_not_be_fetched_are_fetched_again(served, operator):
    operator.forgive("ERR_FAILED|status of 503")
    page = await operator.open("/?user=ada")
    await expect(page.locator("#live")).to_have_text("Live")
    await page.wait_for_load_state("networkidle")  # going live has fetched the page once more
    refused, policy = [], {"content-security-policy": "default-src 'none'"}

    async def refuse(route):
        refused.append(route)
        await (route.abort() if len(refused) == 1 else route.fulfill(status=503, headers=policy))

    await page.route("**/?user=ada", refuse, times=2)
    await served.host.send_to_user("ada", {"type": "hello", "message": "once"})

    await expect(page.locator(".event-text")).to_have_text("once")
    assert len(refused) == 2


async def test_what_others_say_is_shown_and_never_becomes_a_part_of_the_page(served, operator):
    user = '"><img src=x onerror=alert(1)>'
    page = await operator.open("/?user=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E")
    await expect(page.locator("#live")).to_have_text("Live")

    await served.host.send_to_user(user, {"type": "<b>hello", "message": "<script>alert(1)</script> and `<img src=x>`"})

    await expect(page.locator(".event-kind")).to_have_text("<b>hello")
    await expect(page.locator(".event-text")).to_have_text("<script>alert(1)</script> and `<img src=x>`")
    await expect(page.locator("#user")).to_have_value(user)
    assert await page.locator("img, main script, main b").count() == 0


async def test_nothing_is_wider_than_a_telephone(world, served, visit):
    visitor = await visit(served.url, **TELEPHONE)
    visitor.forgive("status of 4")
    page = await visitor.open("/sign-in")
    assert await page.evaluate(WIDTH) == 390
    page = await visitor.sign_in(await served.host.access.login_code())
    assert await page.evaluate(WIDTH) == 390

    user = "ada-" + "x" * 196
    connection = await world.connect(served.host, user=user)
    await served.host.poll_connection(connection.id)
    await served.host.send_to_user(user, {"type": "t" * 80, "message": "m" * 299, "long": "l" * 500})
    await page.goto(f"/?user={user}")
    await expect(page.locator("#live")).to_have_text("Live")
    assert await page.evaluate(WIDTH) == 390

    await page.locator(".items summary").first.click()
    await expect(page.get_by_role("region", name="Raw data")).to_be_visible()
    assert await page.evaluate(WIDTH) == 390
    await page.locator(".connection").get_by_role("button", name="Disconnect").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await page.evaluate(WIDTH) == 390

    await page.goto(f"/connect/sandbox/callback?state={'s' * 300}")
    await expect(page.get_by_role("heading")).to_have_text("Not connected")
    assert await page.evaluate(WIDTH) == 390


async def test_without_a_script_the_page_still_shows_what_there_is(world, served, operator, visit):
    connection = await world.connect(served.host)
    await served.host.poll_connection(connection.id, "notes")
    plain = await visit(served.url, storage_state=await operator.context.storage_state(), java_script_enabled=False)

    page = await plain.open("/?user=ada")

    await expect(page.locator(".connection .state")).to_have_text("Connected")
    await expect(page.locator(".items > li")).to_have_count(20)
    await expect(page.locator("[data-act=poll]")).to_be_hidden()
    await page.locator("#user").fill("grace")
    await page.keyboard.press("Enter")
    await expect(page.locator("#connections")).to_contain_text("No account is connected for grace yet.")


async def test_who_signs_out_is_signed_out_in_every_tab(served, operator):
    operator.forgive("status of 401")
    first, second = await operator.open("/?user=ada"), await operator.open("/?user=ada")
    await expect(first.locator("#live")).to_have_text("Live")

    await second.get_by_role("button", name="Sign out").click()
    await second.wait_for_url("/sign-in")
    await first.bring_to_front()
    await served.host.send_to_user("ada", {"type": "hello"})

    await expect(first.locator("#away")).to_contain_text("You are signed out.")
    await expect(first.locator("#live")).to_have_text("Signed out")
    await first.get_by_role("link", name="Sign in again").click()
    await expect(first.locator("#code")).to_be_focused()


async def test_the_script_tells_times_in_the_very_words_of_the_host(served, visit):
    seconds = [sign * (edge + part) for edge in EDGES_S for part in PARTS_S for sign in (-1, 1)]
    page = await (await visit(served.url)).open("/sign-in")

    told = await page.evaluate(
        """async ([now, seconds]) => {
          const { setClock, distance } = await import("/static/clock.js");
          Date.now = () => 86_400_000;  // this browser's clock is far behind
          document.documentElement.dataset.now = now;
          setClock(document);
          return seconds.map((one) => distance(Date.parse(now) + Math.round(one * 1000)));
        }""",
        [NOW.isoformat(), seconds],
    )

    expected = [distance(NOW + timedelta(milliseconds=round(one * 1000)), NOW) for one in seconds]
    assert dict(zip(seconds, expected, strict=True)) == dict(zip(seconds, told, strict=True))
