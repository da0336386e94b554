from datetime import timedelta

import pytest
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from soulwatch import Cursor, Misconfigured, RateLimited, Unavailable, UnexpectedAnswer
from soulwatch_spotify import API, spotify

PLAYS = f"{API}/me/player/recently-played"
PLAYING = f"{API}/me/player/currently-playing"
LAST_PLAYED_MS = "1795199467412"


def plays(count):
    """As many plays as asked for, none of them twice."""
    return [
        {"track": {"uri": f"spotify:track:{n}"}, "played_at": f"2026-11-20T17:{n:02}:00.000Z", "context": None}
        for n in range(count)
    ]


async def test_first_poll_asks_for_all_that_is_kept_and_remembers_the_newest_play(stage, poll, recorded):
    stage.says(PLAYS, recorded("recently_played"))
    (page,) = await poll("recently_played")
    assert stage.asked[0].query == {"limit": "50"}
    assert stage.asked[0].headers["authorization"] == "Bearer made-up-access-1"
    assert page.items[0].key == "2026-11-20T18:31:07.412Z|spotify:track:2CsaltOnTheSill00000x2"
    assert len({item.key for item in page.items}) == 3
    assert Cursor(LAST_PLAYED_MS) == page.cursor


async def test_next_poll_asks_only_for_what_came_after(stage, poll, recorded):
    stage.says(PLAYS, recorded("recently_played"))
    await poll("recently_played", Cursor(LAST_PLAYED_MS))
    assert stage.asked[0].query == {"limit": "50", "after": LAST_PLAYED_MS}


async def test_link_to_older_plays_is_not_followed(stage, poll, recorded):
    stage.says(PLAYS, recorded("recently_played"))
    await poll("recently_played")
    assert len(stage.asked) == 1


async def test_answer_without_plays_and_with_null_cursors_keeps_the_old_position(stage, poll, recorded):
    stage.says(PLAYS, recorded("recently_played.empty"))
    (page,) = await poll("recently_played", Cursor(LAST_PLAYED_MS))
    assert ((), Cursor(LAST_PLAYED_MS)) == (page.items, page.cursor)


async def test_person_who_never_played_anything_has_no_position(stage, poll, recorded):
    stage.says(PLAYS, recorded("recently_played.empty"))
    (page,) = await poll("recently_played")
    assert ((), Cursor()) == (page.items, page.cursor)


async def test_play_keeps_its_text_as_spotify_sent_it(stage, poll, recorded):
    answer = recorded("recently_played")
    stage.says(PLAYS, answer)
    (page,) = await poll("recently_played")
    assert "Salté on the Sill" in page.items[0].raw.decode()
    assert page.items[0].raw in answer.body


async def test_gap_is_told_when_all_that_is_kept_is_new_since_the_last_poll(stage, poll, recorded):
    stage.says(PLAYS, recorded("recently_played", items=plays(50)))
    (page,) = await poll("recently_played", Cursor(LAST_PLAYED_MS))
    assert "may be missing" in page.message
    assert len(page.items) == 50


@pytest.mark.parametrize(("count", "position"), [(49, LAST_PLAYED_MS), (50, None)])
async def test_no_gap_is_told_on_fewer_plays_or_on_the_first_poll(stage, poll, recorded, count, position):
    stage.says(PLAYS, recorded("recently_played", items=plays(count)))
    (page,) = await poll("recently_played", Cursor(position))
    assert page.message is None


async def test_play_without_a_track_is_kept_and_stops_nobody_else(stage, poll, recorded, caplog):
    stage.says(PLAYS, recorded("recently_played", items=[*plays(1), {"track": None, "played_at": "2026-11-20"}]))
    (page,) = await poll("recently_played")
    assert page.items[1].key.startswith("content:")
    assert "without played_at, track.uri" in caplog.text


async def test_what_is_playing_is_one_state(stage, poll, recorded):
    stage.says(PLAYING, recorded("currently_playing"))
    (page,) = await poll("currently_playing")
    assert stage.asked[0].query == {"additional_types": "track,episode"}
    assert [item.key for item in page.items] == ["currently_playing"]


async def test_state_is_the_same_later_in_the_track_and_another_when_paused(stage, poll, recorded):
    stage.says(
        PLAYING,
        recorded("currently_playing"),
        recorded("currently_playing", progress_ms=99_000, timestamp=1795199529101),
        recorded("currently_playing", is_playing=False),
    )
    first, later, paused = [(await poll("currently_playing"))[0].items[0].digest for _ in range(3)]
    assert first == later
    assert first != paused


async def test_silence_is_no_item_and_no_error(stage, poll):
    stage.says(PLAYING, Response(status_code=204))
    (page,) = await poll("currently_playing", Cursor("kept"))
    assert ((), Cursor("kept")) == (page.items, page.cursor)


async def test_advertisement_is_a_state_without_a_track(stage, poll, recorded):
    stage.says(PLAYING, recorded("currently_playing.ad"))
    (page,) = await poll("currently_playing")
    assert b'"item":null' in page.items[0].raw


async def test_refused_token_is_tried_once_more_with_a_newer_one(stage, poll, recorded):
    stage.says(PLAYS, recorded("error.401", 401), recorded("recently_played"))
    (page,) = await poll("recently_played")
    assert stage.asked[1].headers["authorization"] == "Bearer made-up-access-2"
    assert len(page.items) == 3


async def test_fresh_token_refused_again_blames_no_user(stage, poll, recorded):
    stage.says(PLAYS, recorded("error.401", 401))
    with pytest.raises(Unavailable):
        await poll("recently_played")
    assert len(stage.asked) == 2


async def test_daily_quota_stops_the_whole_client_for_as_many_hours_as_spotify_says(stage, poll, recorded, now):
    stage.says(PLAYS, recorded("error.429.quota", 429, {"Retry-After": "52531"}))
    with pytest.raises(RateLimited) as limited:
        await poll("recently_played")
    assert (limited.value.whole, limited.value.code) == ("client", "QUOTA_EXCEEDED")
    assert now + timedelta(seconds=52531) == limited.value.retry_at


async def test_short_limit_makes_only_this_connection_wait(stage, poll, recorded, now):
    stage.says(PLAYS, recorded("error.429", 429, {"Retry-After": "7"}))
    with pytest.raises(RateLimited) as limited:
        await poll("recently_played")
    assert ("connection", now + timedelta(seconds=7)) == (limited.value.whole, limited.value.retry_at)


@pytest.mark.parametrize("form", ["json", "text"])
async def test_person_whom_the_app_may_not_read_is_the_operators_business(stage, poll, recorded, form):
    text = PlainTextResponse("User not registered in the Developer Dashboard", 403)
    stage.says(PLAYS, recorded("error.403", 403) if form == "json" else text)
    with pytest.raises(Misconfigured, match="403"):
        await poll("recently_played")


@pytest.mark.parametrize(("status", "error"), [(200, UnexpectedAnswer), (502, Unavailable)])
async def test_web_page_instead_of_json_is_not_taken_for_data(stage, poll, status, error):
    stage.says(PLAYS, HTMLResponse("<h1>Back soon</h1>", status))
    with pytest.raises(error, match=r"api\.spotify\.com"):
        await poll("recently_played")


@pytest.mark.parametrize(
    ("name", "account"),
    [("me", ("qV7mTidewater4", "Ilse Ferrowby")), ("me.without_account_id", ("ilse.ferrowby", "ilse.ferrowby"))],
)
async def test_account_is_known_by_account_id_and_else_by_id(stage, api, recorded, name, account):
    identity = spotify.facts.identity
    stage.says(identity.url, recorded(name))
    found = identity.read((await api.get(identity.url)).value())
    assert account == (found.id, found.name)
