import httpx
import pytest

from soulwatch_sandbox import RateLimit, Sandbox, TokenRules, running

from .conftest import signed


async def get(http, access, path, **headers):
    return await http.get(path, headers={**signed(access), **headers})


async def every(http, access, path, next_of) -> list:
    answers = []
    while path:
        answers.append(await get(http, access, path))
        path = next_of(answers[-1])
    return answers


def next_link(answer: httpx.Response) -> str | None:
    return answer.links.get("next", {}).get("url")


async def test_notes_are_read_to_the_end_newest_first(http, sandbox: Sandbox):
    access = sandbox.grant("sandbox", "mira").access
    answers = await every(http, access, "/sandbox/v1/notes?limit=25", lambda one: one.json()["next"])

    moments = [note["written_ms"] for one in answers for note in one.json()["items"]]
    assert [len(one.json()["items"]) for one in answers] == [25, 25, 10]
    assert moments == sorted(set(moments), reverse=True)


async def test_what_is_new_is_found_by_the_cursor(http, sandbox: Sandbox, clock):
    access = sandbox.grant("sandbox", "mira").access
    cursor = (await get(http, access, "/sandbox/v1/notes?limit=1")).json()["cursors"]["newest"]
    path = f"/sandbox/v1/notes?since={cursor}"
    assert (await get(http, access, path)).json() == {"items": [], "next": None, "cursors": {"newest": None}}

    clock.forward(seconds=60)
    [added] = sandbox.add_item("sandbox", "mira")
    moments = [note["written_ms"] for note in (await get(http, access, path)).json()["items"]]
    assert moments == sorted({*(int(cursor) + 20_000 * beat for beat in (1, 2, 3)), added}, reverse=True)


async def test_the_same_seed_invents_the_same_things(clock):
    async def told(seed: str) -> bytes:
        with Sandbox(now=clock, seed=seed) as made:
            access = made.grant("sandbox", "juno").access
            async with running(made) as url, httpx.AsyncClient(base_url=url) as http:
                return (await get(http, access, "/sandbox/v1/notes?limit=5")).content.replace(url.encode(), b"")

    assert await told("one") == await told("one")
    assert await told("one") != await told("another")


async def test_nothing_is_new_where_time_stands_still(clock):
    with Sandbox(now=clock, item_every=None, first_items=3, token_life=90000) as still:
        access = still.grant("sandbox", "juno").access
        async with running(still) as url, httpx.AsyncClient(base_url=url) as http:
            before = (await get(http, access, "/sandbox/v1/notes")).json()["items"]
            clock.forward(days=1)
            assert (await get(http, access, "/sandbox/v1/notes")).json()["items"] == before
            still.add_item("sandbox", "juno", count=2)
            after = (await get(http, access, "/sandbox/v1/notes")).json()["items"]
    assert (len(before), len(after)) == (3, 5)


async def test_notes_have_the_size_of_real_ones(http, sandbox: Sandbox):
    access = sandbox.grant("sandbox", "mira").access
    answer = await get(http, access, "/sandbox/v1/notes?limit=50")

    assert 300 < len(answer.content) / 50 < 1024


async def test_a_mood_may_be_none(http, sandbox: Sandbox, clock):
    sandbox.rules["sandbox"] = TokenRules(life=86400)
    access = sandbox.grant("sandbox", "mira").access
    statuses = set()
    for _ in range(30):
        answer = await get(http, access, "/sandbox/v1/mood")
        statuses.add(answer.status_code)
        clock.forward(minutes=1)
        assert (answer.status_code == 204) == (answer.content == b"")
    assert statuses == {200, 204}


async def test_follows_are_linked_by_header(http, sandbox: Sandbox, clock):
    access = sandbox.grant("sandbox", "mira").access

    async def followed() -> set[str]:
        answers = await every(http, access, "/sandbox/v1/follows?per_page=10", next_link)
        assert [len(one.json()) for one in answers] == [10, 10, 5]
        return {person["id"] for one in answers for person in one.json()}

    before = await followed()
    clock.forward(minutes=10)
    assert len(before ^ await followed()) == 2


async def test_the_archive_is_as_large_as_wished(clock):
    with Sandbox(now=clock, archive_size=250) as made:
        access = made.grant("sandbox", "mira").access
        async with running(made) as url, httpx.AsyncClient(base_url=url) as http:
            start = "/sandbox/v1/archive?per_page=100"

            def following(one: httpx.Response) -> str | None:
                page = one.json()["next_page"]
                return page and f"{start}&page={page}"

            answers = await every(http, access, start, following)
    records = [record for one in answers for record in one.json()["records"]]
    assert len({record["id"] for record in records}) == 250
    assert {one.json()["total"] for one in answers} == {250}
    assert 900 < len(answers[0].content) / 100 < 1100


@pytest.mark.parametrize(
    ("pose", "path"),
    [
        ("sandbox", "/sandbox/v1/notes"),
        ("sandbox", "/sandbox/v1/archive"),
        ("spotify", "/spotify/v1/me/player/recently-played"),
        ("github", "/github/users/mira-vt/events"),
    ],
)
async def test_what_is_unchanged_is_not_sent_again(http, sandbox: Sandbox, pose, path):
    access = sandbox.grant(pose, "mira").access
    first = await get(http, access, path)
    again = await get(http, access, path, **{"If-None-Match": first.headers["etag"]})

    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    sandbox.add_item(pose, "mira")
    changed = await get(http, access, path, **{"If-None-Match": first.headers["etag"]})
    assert changed.status_code == (304 if "archive" in path else 200)


async def test_too_many_requests_are_told_to_wait(http, sandbox: Sandbox, clock):
    sandbox.meter.limits["sandbox"] = RateLimit(requests=2, window_s=30)
    access = sandbox.grant("sandbox", "mira").access
    answers = [await get(http, access, "/sandbox/v1/me") for _ in range(3)]
    assert [one.status_code for one in answers] == [200, 200, 429]

    clock.forward(seconds=int(answers[-1].headers["retry-after"]))
    assert (await get(http, access, "/sandbox/v1/me")).status_code == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "since=yesterday", "limit=%C2%B2"])
async def test_nonsense_in_a_query_is_refused(http, sandbox: Sandbox, query):
    assert (await get(http, sandbox.grant("sandbox", "mira").access, f"/sandbox/v1/notes?{query}")).status_code == 400


async def test_spotify_remembers_fifty_tracks(http, sandbox: Sandbox):
    access = sandbox.grant("spotify", "mira").access
    start = "/spotify/v1/me/player/recently-played"
    answers = await every(http, access, f"{start}?limit=20", lambda one: one.json()["next"])
    first, last = answers[0].json(), answers[-1].json()
    assert [len(one.json()["items"]) for one in answers] == [20, 20, 10]
    assert first["items"][0]["track"]["uri"].startswith("spotify:track:")

    nothing = (await get(http, access, f"{start}?before={last['cursors']['before']}")).json()
    assert (nothing["items"], nothing["next"], nothing["cursors"]) == ([], None, None)
    sandbox.add_item("spotify", "mira")
    newer = (await get(http, access, f"{start}?after={first['cursors']['after']}")).json()
    assert (len(newer["items"]), newer["next"]) == (1, None)


async def test_spotify_may_play_nothing_or_an_advertisement(http, sandbox: Sandbox, clock):
    access = sandbox.grant("spotify", "oskar").access
    seen = set()
    for _ in range(60):
        answer = await get(http, access, "/spotify/v1/me/player/currently-playing")
        playing = answer.json() if answer.status_code == 200 else {}
        seen.add((answer.status_code, playing.get("currently_playing_type"), playing.get("item") is None))
        clock.forward(seconds=20)
    assert seen == {(204, None, True), (200, "ad", True), (200, "track", False)}


async def test_spotify_names_accounts_by_account_id(http, sandbox: Sandbox):
    me = (await get(http, sandbox.grant("spotify", "mira").access, "/spotify/v1/me")).json()

    assert (len(me["account_id"]), me["id"], me["display_name"]) == (10, "sandbox_mira", "Mira Vantongeren")


async def test_spotify_refuses_in_its_own_words(http, sandbox: Sandbox, clock):
    issued = sandbox.grant("spotify", "mira", scope=("user-read-currently-playing",))
    path = "/spotify/v1/me/player/recently-played"
    too_little = (await get(http, issued.access, path)).json()
    clock.forward(hours=1)

    assert too_little == {"error": {"status": 403, "message": "Insufficient client scope"}}
    assert (await get(http, issued.access, path)).json() == {
        "error": {"status": 401, "message": "The access token expired"}
    }


async def test_github_tells_at_most_three_hundred_events(clock):
    with Sandbox(now=clock, first_items=400) as made:
        access = made.grant("github", "mira").access
        async with running(made) as url, httpx.AsyncClient(base_url=url) as http:
            path = "/github/users/mira-vt/events?per_page=100"
            answers = await every(http, access, path, next_link)
            beyond = await get(http, access, f"{path}&page=4")
    assert [len(one.json()) for one in answers] == [100, 100, 100]
    assert {one.headers["x-poll-interval"] for one in answers} == {"60"}
    assert beyond.status_code == 422


async def test_github_counts_what_is_asked_but_not_what_is_unchanged(http, sandbox: Sandbox):
    access = sandbox.grant("github", "mira").access
    path = "/github/users/mira-vt/events"
    first = await get(http, access, path)
    again = await get(http, access, path, **{"If-None-Match": first.headers["etag"]})

    assert [one.headers["x-ratelimit-remaining"] for one in (first, again)] == ["4999", "4999"]


async def test_github_wants_to_know_who_asks(http, sandbox: Sandbox):
    access = sandbox.grant("github", "mira").access

    assert (await get(http, access, "/github/user", **{"User-Agent": ""})).status_code == 403


async def test_github_has_pushes_behind_its_repositories(http, sandbox: Sandbox):
    access = sandbox.grant("github", "mira").access
    repositories = (await get(http, access, "/github/user/repos?sort=pushed")).json()
    pushed = [one["pushed_at"] for one in repositories]
    path = f"/github/repos/{repositories[0]['full_name']}/activity?per_page=5"
    answers = await every(http, access, path, next_link)
    activities = [one for answer in answers for one in answer.json()]

    assert pushed == sorted(pushed, reverse=True)
    assert activities[0]["timestamp"] == pushed[0]
    assert len({one["id"] for one in activities}) == len(activities) > 5


async def test_github_does_not_know_everybody(http, sandbox: Sandbox):
    access = sandbox.grant("github", "mira").access

    assert (await get(http, access, "/github/users/nobody/events")).status_code == 404
    assert (await get(http, "made-up", "/github/user")).json()["message"] == "Bad credentials"


async def test_pages_may_be_linked_as_the_real_platform_does(clock):
    with Sandbox(now=clock, links="documented") as made:
        access = made.grant("spotify", "mira").access
        async with running(made) as url, httpx.AsyncClient(base_url=url) as http:
            answer = await get(http, access, "/spotify/v1/me/player/recently-played")
    assert answer.json()["next"].startswith("https://api.spotify.com/v1/me/player/recently-played?before=")
