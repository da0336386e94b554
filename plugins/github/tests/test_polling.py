import json
from datetime import timedelta

import pytest
from starlette.responses import HTMLResponse, JSONResponse, Response

from soulwatch import Cursor, Misconfigured, RateLimited, Unavailable, UnexpectedAnswer
from soulwatch_github import API, github

USER = f"{API}/user"
EVENTS = f"{API}/users/oda-brack/events"
NEXT_EVENTS = f"{API}/user/90210007/events"
"""Links lead to another path of the same host."""
REPOS = f"{API}/user/repos"
ETAG = '"a18c3bded88eb5dbb5c849a489412bf3"'


@pytest.fixture(autouse=True)
def person(stage, recorded):
    stage.says(USER, recorded("user"))


def events(*numbers, **headers):
    """An answer with these events, as little as tells them apart."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return JSONResponse([{"id": str(number), "type": "WatchEvent", "actor": {}} for number in numbers], 200, named)


def to_page(number):
    return f'<{NEXT_EVENTS}?per_page=100&page={number}>; rel="next", <{NEXT_EVENTS}?per_page=100&page=3>; rel="last"'


async def test_events_are_known_by_their_id(stage, poll, recorded):
    stage.says(EVENTS, recorded("events"))
    (page,) = await poll("events")
    assert [item.key for item in page.items] == ["58012345703", "58012345702", "58012345701", "58012345700"]
    assert stage.asked[-1].query == {"per_page": "100"}


async def test_each_request_names_version_and_caller(stage, poll, recorded):
    stage.says(EVENTS, recorded("events"))
    await poll("events")
    for asked in stage.asked:
        assert asked.headers["accept"] == "application/vnd.github+json"
        assert asked.headers["x-github-api-version"] == "2022-11-28"
        assert asked.headers["user-agent"] == "soulwatch-github"
        assert asked.headers["authorization"] == "Bearer made-up-access-1"


async def test_all_pages_are_read_and_the_first_one_is_what_the_next_poll_asks_about(stage, poll):
    stage.says(EVENTS, events(300, etag=ETAG, link=to_page(2)))
    stage.says(NEXT_EVENTS, events(200, etag='"second"', link=to_page(3)), events(100, etag='"third"'))
    pages = await poll("events")
    assert [item.key for page in pages for item in page.items] == ["300", "200", "100"]
    assert [asked.query.get("page") for asked in stage.asked[1:]] == [None, "2", "3"]
    assert pages[-1].cursor == Cursor(etag=ETAG)


async def test_unchanged_events_cost_no_more_than_the_question(stage, poll):
    def unchanged(request):
        assert request.headers["if-none-match"] == ETAG
        return Response(status_code=304, headers={"X-Poll-Interval": "90"})

    stage.says(EVENTS, unchanged)
    (page,) = await poll("events", Cursor(etag=ETAG))
    assert page.items == ()
    assert page.cursor == Cursor(etag=ETAG)
    assert page.wait == timedelta(seconds=90)


async def test_events_that_came_late_are_found_below_known_ones(stage, poll):
    stage.says(EVENTS, events(300, 200, etag=ETAG), events(300, 250, 200, etag='"new"'))
    await poll("events")
    (page,) = await poll("events", Cursor(etag=ETAG))
    assert [item.key for item in page.items] == ["300", "250", "200"]


async def test_github_says_how_soon_events_may_be_asked_for_again(stage, poll):
    stage.says(EVENTS, events(1, **{"x-poll-interval": "60"}))
    (page,) = await poll("events")
    assert page.wait == timedelta(minutes=1)


async def test_person_who_changed_login_is_followed_to_the_new_one(stage, poll, recorded):
    stage.says(USER, recorded("user", login="oda-b"))
    stage.says(f"{API}/users/oda-b/events", events(7))
    (page,) = await poll("events")
    assert [item.key for item in page.items] == ["7"]


async def test_new_avatar_makes_no_old_event_new(stage, poll, recorded):
    repainted = json.loads(recorded("events").body)
    for event in repainted:
        event["actor"]["avatar_url"] = "https://avatars.githubusercontent.com/u/90210007?v=9"
    stage.says(EVENTS, recorded("events"), JSONResponse(repainted))
    before, after = [(await poll("events"))[0].items for _ in range(2)]
    assert [item.digest for item in before] == [item.digest for item in after]


async def test_page_that_leads_back_to_itself_ends_the_poll(stage, poll):
    stage.says(EVENTS, events(1, link=to_page(2)))
    stage.says(NEXT_EVENTS, events(1, link=to_page(2)))
    with pytest.raises(UnexpectedAnswer, match="paging does not end"):
        await poll("events")


async def test_repos_come_latest_pushed_first_so_that_known_ones_end_the_reading(stage, poll, recorded):
    stage.says(REPOS, recorded("repos"))
    (page,) = await poll("repos")
    assert [item.key for item in page.items] == ["880031", "880044"]
    assert stage.asked[-1].query == {"sort": "pushed", "per_page": "100"}
    assert next(endpoint for endpoint in github.endpoints if endpoint.name == "repos").until_known


async def test_credential_in_a_repo_is_neither_kept_nor_a_change(stage, poll, recorded):
    other = recorded("repos").body.replace(b"MADEUPCLONETOKENFORTESTS7", b"MADEUPCLONETOKENFORTESTS8")
    stage.says(REPOS, recorded("repos"), Response(other, media_type="application/json"))
    first, second = [(await poll("repos"))[0].items[1] for _ in range(2)]
    assert b"MADEUPCLONETOKEN" not in first.raw + second.raw
    assert json.loads(first.raw)["full_name"] == "oda-brack/glaze-notes"
    assert first.digest == second.digest


async def test_refused_token_is_tried_once_more_with_a_newer_one(stage, poll, recorded):
    stage.says(REPOS, recorded("error.401", 401), recorded("repos"))
    (page,) = await poll("repos")
    assert stage.asked[1].headers["authorization"] == "Bearer made-up-access-2"
    assert len(page.items) == 2


async def test_primary_limit_waits_until_the_hour_that_github_names(stage, poll, recorded, now):
    reset = now + timedelta(minutes=41)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(reset.timestamp()))}
    stage.says(REPOS, recorded("error.403.primary", 403, headers))
    with pytest.raises(RateLimited) as limited:
        await poll("repos")
    assert (limited.value.retry_at, limited.value.whole) == (reset, "connection")


@pytest.mark.parametrize("status", [403, 429])
async def test_secondary_limit_waits_as_long_as_github_asks(stage, poll, recorded, now, status):
    stage.says(REPOS, recorded("error.403.secondary", status, {"retry-after": "7200"}))
    with pytest.raises(RateLimited) as limited:
        await poll("repos")
    assert limited.value.retry_at == now + timedelta(hours=2)


async def test_secondary_limit_that_only_its_prose_names_is_a_limit_too(stage, poll, recorded):
    stage.says(REPOS, recorded("error.403.secondary", 403))
    with pytest.raises(RateLimited) as limited:
        await poll("repos")
    assert limited.value.retry_at is None


async def test_what_the_app_may_not_read_is_the_operators_business(stage, poll, recorded):
    stage.says(REPOS, recorded("error.403", 403, {"x-ratelimit-remaining": "4999", "x-ratelimit-reset": "1795203900"}))
    with pytest.raises(Misconfigured, match="Resource not accessible"):
        await poll("repos")


@pytest.mark.parametrize(("status", "error"), [(200, UnexpectedAnswer), (502, Unavailable)])
async def test_web_page_instead_of_json_is_not_taken_for_data(stage, poll, status, error):
    stage.says(REPOS, HTMLResponse("<h1>Unicorn!</h1>", status))
    with pytest.raises(error, match=r"api\.github\.com"):
        await poll("repos")


async def test_account_is_known_by_its_number_which_outlives_its_login(api):
    identity = github.facts.identity
    found = identity.read((await api.get(identity.url)).value())
    assert (found.id, found.name) == ("90210007", "oda-brack")
