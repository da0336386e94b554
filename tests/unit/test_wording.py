from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from soulwatch.host.web.wording import distance, line_of, state_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def connection(**differs: Any) -> dict[str, Any]:
    plain = {"title": "Spotify", "status": "connected", "reason": None, "message": None, "polls": []}
    return {**plain, **differs}


def poll(reason: str | None) -> dict[str, Any]:
    return {"data_type": "plays", "reason": reason}


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (-1, "just now"),
        (-42, "42 s ago"),
        (-125, "2 min ago"),
        (-3 * 3600 - 125, "3 h ago"),
        (-3 * 86_400, "3 days ago"),
        (9, "in 9 s"),
        (250, "in 4 min 10 s"),
        (240, "in 4 min"),
        (3 * 3600 + 120, "in 3 h 2 min"),
        (171 * 86_400, "in 171 days"),
    ],
)
def test_times_are_told_as_distances(seconds: int, said: str) -> None:
    assert distance(NOW + timedelta(seconds=seconds), NOW) == said


def test_a_connection_without_trouble_is_connected_and_says_no_more() -> None:
    state = state_of(connection(polls=[poll(None)]))

    assert (state.tone, state.word, state.meaning) == ("good", "Connected", "")


@pytest.mark.parametrize("reason", ["rate_limited", "unavailable", "misconfigured", "paused"])
def test_what_is_not_the_users_to_mend_does_not_ask_to_connect_again(reason: str) -> None:
    assert not state_of(connection(reason=reason)).is_mended_by_connecting


@pytest.mark.parametrize("reason", ["reauth_soon", "scope_missing"])
def test_what_connecting_again_mends_says_so(reason: str) -> None:
    assert state_of(connection(reason=reason)).is_mended_by_connecting


def test_an_ended_connection_passes_on_what_its_plugin_says_about_connecting_again() -> None:
    state = state_of(connection(status="needs_reauth", reason="invalid_grant", message="Six months are over."))

    assert (state.word, state.meaning, state.is_mended_by_connecting) == ("Connect again", "Six months are over.", True)


def test_trouble_with_some_endpoints_shows_on_the_connection() -> None:
    assert state_of(connection(polls=[poll(None), poll("unavailable")])).word == "Partly read"
    assert state_of(connection(polls=[poll("unavailable"), poll("unavailable")])).word == "Not reached"


def test_a_reason_nobody_here_knows_is_told_as_it_is() -> None:
    assert state_of(connection(reason="lunch_break")).word == "Lunch break"


@pytest.mark.parametrize(
    ("event", "kind", "text"),
    [
        ({"type": "new_data", "dataType": "plays", "count": 3}, "new data", "3 new in plays"),
        (
            {"type": "extraction_progress", "dataType": "plays", "done": 1200, "total": 20_000},
            "reading",
            "1,200 of 20,",
        ),
        ({"type": "extraction_progress", "dataType": "plays", "done": 9, "total": None}, "reading", "plays: 9 read"),
        ({"type": "token_refresh", "message": "Spotify: token refreshed"}, "token", "Spotify: token refreshed"),
        ({"type": "connection_status", "reason": "rate_limited", "message": ""}, "status", "rate limited"),
        ({"type": "greeting", "text": "hello", "seq": 7, "at": "now"}, "greeting", "text: hello"),
        ({"type": "greeting", "message": {"odd": [1]}}, "greeting", "odd"),
    ],
)
def test_an_event_is_one_line(event: dict[str, Any], kind: str, text: str) -> None:
    line = line_of(event)

    assert line.kind == kind
    assert text in line.text


def test_a_sync_without_news_is_quiet() -> None:
    assert line_of({"type": "platform_sync", "dataType": "plays", "count": 0}).is_quiet
    assert not line_of({"type": "platform_sync", "dataType": "plays", "count": 2}).is_quiet
