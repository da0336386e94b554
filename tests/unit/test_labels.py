import json

import pytest

from soulwatch.host.web.labels import LONGEST_TITLE, Label, label_of


def test_a_title_of_its_own_comes_before_one_further_in() -> None:
    assert label_of({"title": "About rain", "track": {"name": "Rain"}}) == Label("About rain")


def test_a_title_further_in_brings_along_who_made_it() -> None:
    played = {"played_at": "2026-11-20T09:12:31Z", "track": {"name": "Kettle Hours", "artists": [{"name": "Tern"}]}}

    assert label_of(played) == Label("Kettle Hours", "Tern")


def test_the_name_of_a_person_is_not_taken_for_the_title() -> None:
    event = {"type": "PushEvent", "actor": {"name": "Oda"}, "repo": {"name": "oda-brack/kiln-log"}}

    assert label_of(event) == Label("oda-brack/kiln-log", "PushEvent")


def test_a_text_stands_beside_a_title_and_takes_its_place_where_there_is_none() -> None:
    assert label_of({"title": "A walk", "text": "Far\n too far."}) == Label("A walk", "Far too far.")
    assert label_of({"id": "7", "snippet": "Dear all"}) == Label("Dear all")


def test_data_without_a_title_are_told_by_their_first_fields() -> None:
    assert label_of({"mood": "calm", "energy": 4, "silent": False, "tags": []}) == Label("mood: calm · energy: 4")


@pytest.mark.parametrize("raw", [None, [], {}, {"tags": []}, {"item": None}, {"name": "  "}, {"name": 7, "ok": True}])
def test_whatever_the_data_are_there_is_something_to_call_them(raw: object) -> None:
    assert label_of(raw, "key-1").title


def test_a_long_title_is_cut() -> None:
    title = label_of({"title": "long " * 100}).title

    assert len(title) <= LONGEST_TITLE
    assert title.endswith("…")


def test_deep_data_are_not_searched_to_their_end() -> None:
    deep = json.loads('{"a":' * 50 + '{"name": "deep"}' + "}" * 50)

    assert label_of(deep, "key-1") == Label("key-1")
