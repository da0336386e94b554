import json

import pytest

from soulwatch.host.store.items import storable


@pytest.mark.parametrize(
    ("raw", "stored"),
    [
        (b'{"a": "\\u0000b"}', {"a": "\N{REPLACEMENT CHARACTER}b"}),
        (b'{"a": "\\ud800"}', {"a": "\N{REPLACEMENT CHARACTER}"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\N{GRINNING FACE}"}),
        (b'{"a": "a backslash and \\\\u0000 letters"}', {"a": "a backslash and \\u0000 letters"}),
    ],
)
def test_what_a_database_cannot_take_is_replaced_and_the_rest_stays(raw, stored):
    assert json.loads(storable(raw)) == stored


def test_ordinary_text_is_stored_as_it_came():
    assert storable(b'{"b":  1, "a": "\xc3\xa9"}') == '{"b":  1, "a": "é"}'
