import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch import jsontext
from soulwatch.jsontext import decode, dig, digest, texts

NO_JSON = [
    b"",
    b" ",
    b"<!doctype html>",
    b'{"items": [{"id": "half-a-',
    b"[1,]",
    b'{"a": NaN}',
    b"[Infinity]",
    b"1e999",
    b'"\xff"',
    b'"a\tb"',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1" * 5000,
]


@pytest.fixture(params=["msgspec", "the standard library"])
def reader(request, monkeypatch):
    """Both ways of reading; a connector's own environment holds the second one alone."""
    if request.param != "msgspec":
        monkeypatch.setattr(jsontext, "msgspec", None)


def both(monkeypatch, read, *args):
    fast = read(*args)
    with monkeypatch.context() as alone:
        alone.setattr(jsontext, "msgspec", None)
        return fast, read(*args)


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("body", NO_JSON, ids=lambda body: repr(body[:20]))
def test_what_is_no_json_is_a_value_error_and_nothing_else(body):
    with pytest.raises(ValueError, match=r"."):
        decode(body)


@pytest.mark.usefixtures("reader")
def test_items_keep_the_text_they_came_as():
    body = '{"page": {"list": [{"id": 1, "é": "☃"}, null, [2], "three"]}, "list": []}'.encode()
    value = decode(body)
    found = dig(value, "page.list")

    raws = texts(body, "page.list", found)
    assert [json.loads(raw) for raw in raws] == found
    assert texts(b"[]", "", []) == []


def test_with_the_host_there_the_text_is_kept_to_the_byte():
    body = b'[ {"id":  1.50, "id2": 1e2} ,2]'

    assert texts(body, "", decode(body)) == [b'{"id":  1.50, "id2": 1e2}', b"2"]


@pytest.mark.usefixtures("reader")
def test_half_a_character_spoils_nothing_but_itself():
    body = rb'{"items": [{"id": "1", "title": "cut \ud83d"}, {"id": "2", "title": "\ud83d\ude00 whole \\ud83d"}]}'
    found = decode(body)["items"]

    assert [one["title"] for one in found] == ["cut ?", "\U0001f600 whole \\ud83d"]
    assert [json.loads(raw)["id"] for raw in texts(body, "items", found)] == ["1", "2"]
    assert [len(digest(one)) for one in found] == [16, 16]


@pytest.mark.usefixtures("reader")
def test_a_byte_order_mark_is_no_part_of_a_text():
    body = b'\xef\xbb\xbf[{"id": 1}]'

    assert decode(body) == [{"id": 1}]
    assert [json.loads(raw) for raw in texts(body, "", decode(body))] == [{"id": 1}]


# Exponents are spelled differently by the two, which no digest that is stored ever sees.
numbers = st.integers(-(2**70), 2**70) | st.floats(-1e15, 1e15).map(lambda number: round(number, 3))
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@repeatable
@given(st.lists(values), st.sampled_from([None, 2]), st.booleans())
def test_both_ways_of_reading_see_the_same(found, indent, ascii_only):
    body = json.dumps({"a": {"b": found}}, indent=indent, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        fast, plain = both(patch, decode, body)
        assert fast == plain == {"a": {"b": found}}
        fast, plain = both(patch, texts, body, "a.b", found)
        assert [json.loads(raw) for raw in fast] == [json.loads(raw) for raw in plain] == found
        fast, plain = both(patch, digest, found)
        assert fast == plain


@repeatable
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_both_ways_of_reading_refuse_the_same(body):
    def read(text):
        try:
            return decode(text)
        except ValueError:
            return ValueError

    with pytest.MonkeyPatch.context() as patch:
        fast, plain = both(patch, read, body)
    # UTF-16 is no JSON on the wire (RFC 8259 section 8.1), though the standard library guesses it.
    assert fast == plain or b"\x00" in body


@pytest.mark.usefixtures("reader")
def test_a_digest_knows_equal_values_whatever_their_order():
    one = decode(b'{"a": 1, "b": [1, {"c": 2, "d": null}]}')
    same = decode(b'{"b":[1,{"d":null,"c":2}],"a":1}')

    assert digest(one) == digest(same)
    assert len(digest(one)) == 16
    assert digest(one) != digest(decode(b'{"a": 1, "b": [{"c": 2, "d": null}, 1]}'))


@pytest.mark.usefixtures("reader")
def test_a_digest_leaves_out_what_changes_without_meaning():
    first, later = {"id": 1, "progress": 5, "in": {"progress": 1}}, {"id": 1, "progress": 9, "in": {"progress": 1}}

    assert digest(first, ("progress",)) == digest(later, ("progress",))
    assert digest(first) != digest(later)
    assert digest({"in": {"progress": 1}}, ("progress",)) != digest({"in": {"progress": 2}}, ("progress",))
    assert digest([first], ("progress",)) != digest([later], ("progress",))


def test_digging_goes_along_names_and_never_raises():
    value = {"a": {"b": {"c": 7}}, "list": [{"b": 1}], "n": None}

    assert dig(value, "a.b.c") == 7
    assert dig(value, "") is value
    assert [dig(value, path) for path in ("a.x", "a.b.c.d", "list.b", "n.x", "nothing")] == [None] * 5
    assert dig([1], "a") is None
