import json
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch.token_answer import LONGEST_LIFE_S, SHORTEST_LIFE_S, Verdict, classify, lifetime_s

HTML = b"<!doctype html><title>Welcome to the hotel</title><p>access_token=abc & error=invalid_grant"
GITHUB = {"bad_refresh_token": "invalid_grant", "incorrect_client_credentials": "invalid_client"}
TOKEN = {"access_token": "a-1", "token_type": "Bearer", "expires_in": 3600}


def said(**members):
    return json.dumps(members).encode()


def encoded(**members):
    return urlencode(members).encode()


@pytest.mark.fault("F18")
@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        pytest.param(200, said(**TOKEN), Verdict.OK, id="2xx with an access token"),
        pytest.param(201, said(access_token="a"), Verdict.OK, id="any 2xx"),
        pytest.param(200, encoded(**TOKEN), Verdict.OK, id="form-encoded, as GitHub answers unless asked for JSON"),
        pytest.param(200, b"\xef\xbb\xbf" + said(**TOKEN), Verdict.OK, id="behind a byte order mark"),
        pytest.param(200, said(**TOKEN, error=None), Verdict.OK, id="an error that is none"),
        pytest.param(200, said(**TOKEN, error=""), Verdict.OK, id="an error that says nothing"),
        pytest.param(200, said(error="bad_refresh_token"), Verdict.GRANT, id="2xx with error: by its code"),
        pytest.param(200, said(**TOKEN, error="bad_refresh_token"), Verdict.GRANT, id="an error beats a token"),
        pytest.param(200, encoded(error="bad_refresh_token"), Verdict.GRANT, id="form-encoded error"),
        pytest.param(200, said(error="incorrect_client_credentials"), Verdict.CLIENT, id="2xx with a client error"),
        pytest.param(200, said(error="server_error"), Verdict.TRANSIENT, id="2xx with a transient error"),
        pytest.param(200, said(**TOKEN, error={"code": 190}), Verdict.MALFORMED, id="2xx with an odd error"),
        pytest.param(200, HTML, Verdict.MALFORMED, id="2xx HTML"),
        pytest.param(200, b"", Verdict.MALFORMED, id="2xx empty"),
        pytest.param(204, b"", Verdict.MALFORMED, id="204"),
        pytest.param(200, b"[]", Verdict.MALFORMED, id="2xx non-object"),
        pytest.param(200, b'"access_token=a"', Verdict.MALFORMED, id="2xx a text"),
        pytest.param(200, b'{"access_token": "\xff"}', Verdict.MALFORMED, id="2xx bad UTF-8"),
        pytest.param(200, b'{"access_token": "a-1", "expi', Verdict.MALFORMED, id="2xx truncated"),
        pytest.param(200, b"[" * 60_000, Verdict.MALFORMED, id="2xx nested beyond reason"),
        pytest.param(200, said(expires_in=3600), Verdict.MALFORMED, id="2xx without access token"),
        pytest.param(200, said(access_token=""), Verdict.MALFORMED, id="2xx with an empty access token"),
        pytest.param(200, said(access_token=7), Verdict.MALFORMED, id="2xx with a number for a token"),
        pytest.param(400, said(error="invalid_grant"), Verdict.GRANT, id="400 invalid_grant"),
        pytest.param(401, said(error="invalid_grant"), Verdict.GRANT, id="401 invalid_grant"),
        pytest.param(403, said(error="invalid_grant"), Verdict.GRANT, id="403 invalid_grant"),
        pytest.param(500, said(error="invalid_grant"), Verdict.TRANSIENT, id="a broken server knows of no grant"),
        pytest.param(503, said(error="invalid_grant"), Verdict.TRANSIENT, id="nor does one that is down"),
        pytest.param(408, said(error="invalid_grant"), Verdict.TRANSIENT, id="nor one that did not read the request"),
        pytest.param(429, said(error="invalid_grant"), Verdict.LIMITED, id="nor one that would not"),
        pytest.param(302, said(error="invalid_grant"), Verdict.CONFIG, id="nor one that sends us elsewhere"),
        pytest.param(400, said(error="invalid_client"), Verdict.CLIENT, id="400 invalid_client"),
        pytest.param(401, said(error="invalid_client"), Verdict.CLIENT, id="401 invalid_client"),
        pytest.param(200, said(error="invalid_client"), Verdict.CLIENT, id="200 invalid_client"),
        pytest.param(500, said(error="invalid_client"), Verdict.CLIENT, id="any invalid_client"),
        pytest.param(400, said(error="unauthorized_client"), Verdict.CLIENT, id="unauthorized_client"),
        pytest.param(401, HTML, Verdict.CLIENT, id="401 without an OAuth body"),
        pytest.param(401, b"", Verdict.CLIENT, id="401 without a body"),
        pytest.param(400, said(error="invalid_request"), Verdict.CONFIG, id="invalid_request"),
        pytest.param(400, said(error="unsupported_grant_type"), Verdict.CONFIG, id="unsupported_grant_type"),
        pytest.param(400, said(error="invalid_scope"), Verdict.CONFIG, id="invalid_scope"),
        pytest.param(400, said(error="what_nobody_knows"), Verdict.CONFIG, id="a code nobody knows"),
        pytest.param(400, said(error="temporarily_unavailable"), Verdict.TRANSIENT, id="temporarily_unavailable"),
        pytest.param(400, said(error="server_error"), Verdict.TRANSIENT, id="server_error"),
        pytest.param(403, said(error="slow_down"), Verdict.TRANSIENT, id="slow_down"),
        pytest.param(408, b"", Verdict.TRANSIENT, id="408"),
        pytest.param(425, b"", Verdict.TRANSIENT, id="425"),
        pytest.param(429, HTML, Verdict.LIMITED, id="429"),
        pytest.param(429, said(error="rate_limited"), Verdict.LIMITED, id="429 with a code"),
        pytest.param(500, HTML, Verdict.TRANSIENT, id="500"),
        pytest.param(502, b"", Verdict.TRANSIENT, id="502"),
        pytest.param(503, said(error="invalid_request"), Verdict.TRANSIENT, id="503 whatever it says"),
        pytest.param(599, b"", Verdict.TRANSIENT, id="599"),
        pytest.param(301, HTML, Verdict.CONFIG, id="301"),
        pytest.param(302, b"", Verdict.CONFIG, id="302"),
        pytest.param(307, b"", Verdict.CONFIG, id="307"),
        pytest.param(308, b"", Verdict.CONFIG, id="308"),
        *[pytest.param(status, HTML, Verdict.CONFIG, id=f"{status} HTML") for status in (400, 403, 404, 405, 410, 451)],
    ],
)
def test_an_answer_has_one_meaning(status, body, verdict):
    assert classify(status, body, aliases=GITHUB).verdict is verdict


@pytest.mark.parametrize(
    ("status", "body", "ambiguous"),
    [
        pytest.param(200, said(**TOKEN), False, id="a token"),
        pytest.param(200, HTML, True, id="malformed"),
        pytest.param(500, HTML, True, id="5xx"),
        pytest.param(503, said(error="temporarily_unavailable"), True, id="5xx with a code"),
        pytest.param(400, said(error="temporarily_unavailable"), False, id="a refusal"),
        pytest.param(429, b"", False, id="429"),
        pytest.param(400, said(error="invalid_grant"), False, id="invalid_grant"),
        pytest.param(401, b"", False, id="401"),
        pytest.param(307, b"", False, id="3xx"),
    ],
)
def test_only_an_answer_that_leaves_it_open_is_ambiguous(status, body, ambiguous):
    assert classify(status, body).ambiguous is ambiguous


@pytest.mark.fault("F18")
def test_without_its_alias_a_platforms_own_code_ends_nothing():
    assert classify(200, said(error="bad_refresh_token")).verdict is Verdict.CONFIG


def test_the_platforms_own_code_is_what_is_told():
    answer = classify(200, said(error="bad_refresh_token", error_description="It expired"), aliases=GITHUB)

    assert (answer.code, answer.description) == ("bad_refresh_token", "It expired")


@pytest.mark.parametrize("code", ["x" * 60_000, "two\nlines", "a sentence, and not a code"])
def test_what_is_no_code_is_not_told_as_one(code):
    answer = classify(400, said(error=code))

    assert answer.verdict is Verdict.CONFIG
    assert len(answer.code) <= 100
    assert answer.code.split() == [answer.code]


@pytest.mark.parametrize("members", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 7}])
def test_where_a_new_refresh_token_has_to_come_an_answer_without_it_is_malformed(members):
    body = said(**TOKEN, **members)

    assert classify(200, body).verdict is Verdict.OK
    assert classify(200, body, must_rotate=True).verdict is Verdict.MALFORMED
    assert classify(200, said(**TOKEN, refresh_token="r"), must_rotate=True).verdict is Verdict.OK


def test_an_answer_hides_its_members():
    assert "a-1" not in repr(classify(200, said(**TOKEN)))


texts = st.text(max_size=30)
members = st.dictionaries(
    st.sampled_from(["access_token", "refresh_token", "error", "error_description", "expires_in", "scope"]) | texts,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=6,
)
bodies = st.one_of(
    st.binary(max_size=300),
    members.map(lambda value: json.dumps(value).encode()),
    members.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.dictionaries(texts, texts, max_size=120).map(lambda value: urlencode(value, errors="replace").encode()),
)
statuses = st.integers(100, 599)


@repeatable
@given(statuses, bodies, st.booleans())
@example(200, b"&" * 5000 + b"=", False)
@example(200, b"a=1" + b"&a=1" * 99, False)
@example(200, b"1" * 5000, False)
def test_any_answer_gets_a_verdict(status, body, must_rotate):
    answer = classify(status, body, aliases=GITHUB, must_rotate=must_rotate)

    assert answer.verdict in Verdict
    if answer.verdict is Verdict.OK:
        assert answer.fields["access_token"]
        assert not answer.ambiguous


@repeatable
@given(st.lists(st.tuples(statuses, bodies)), st.booleans())
def test_nothing_but_invalid_grant_speaks_of_the_grant(answers, must_rotate):
    for status, body in answers:
        if b"invalid_grant" not in body and b"bad_refresh_token" not in body:
            assert classify(status, body, aliases=GITHUB, must_rotate=must_rotate).verdict is not Verdict.GRANT


@repeatable
@given(statuses.filter(lambda status: status >= 500 or status in (408, 425, 429) or 300 <= status < 400), bodies)
@example(500, b'{"error": "invalid_grant"}')
def test_no_answer_of_a_platform_that_is_not_well_speaks_of_the_grant(status, body):
    assert classify(status, body, aliases=GITHUB).verdict is not Verdict.GRANT


@repeatable
@given(statuses, members, st.sampled_from([None, 1, 4]))
def test_the_order_of_members_and_white_space_mean_nothing(status, value, indent):
    plain = classify(status, json.dumps(value).encode(), aliases=GITHUB)
    turned = json.dumps(dict(reversed(value.items())), indent=indent).encode()

    other = classify(status, b"\r\n " + turned + b"\n", aliases=GITHUB)
    assert (other.verdict, other.code, other.ambiguous) == (plain.verdict, plain.code, plain.ambiguous)


DAY = 86400.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (3600.5, 3600.5),
        (28800, 28800),
        (1, SHORTEST_LIFE_S),
        ("30", 30),
        (10 * 365 * DAY, 10 * 365 * DAY),
    ],
)
def test_a_lifetime_is_what_is_said(value, seconds):
    assert lifetime_s(value, 7200) == seconds


@pytest.mark.fault("F19")
@pytest.mark.parametrize(
    "value",
    [
        *(0, -1, "0", "-3600", 1e308, float("nan"), float("inf"), float("-inf"), "NaN", "inf", 10 * 365 * DAY + 1),
        *(10**400, "9" * 5000, None, True, False, "", "soon", "3600s", "0x10", [], [3600], {}, {"seconds": 3600}),
    ],
)
def test_a_lifetime_that_cannot_be_is_the_usual_one_and_never_endless(value):
    assert lifetime_s(value, 7200) == 7200


@pytest.mark.fault("F19")
@repeatable
@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_any_lifetime_is_long_enough_not_to_loop_and_short_enough_to_end(value):
    assert SHORTEST_LIFE_S <= lifetime_s(value, 3600) <= LONGEST_LIFE_S
