from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch.waiting import LONGEST_WAIT, parse_retry_after, retry_after, seconds

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("120", 120),
        (" 120 ", 120),
        ("0", 0),
        ("2.5", 2.5),
        ("-5", 0),
        ("48925", 48925),
        ("99999999999999", LONGEST_WAIT.total_seconds()),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30),
        ("Sunday, 01-Mar-26 12:00:30 GMT", 30),
        ("Sun Mar  1 12:00:30 2026", 30),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_a_wait_is_understood_in_every_form(text, wait_s):
    assert parse_retry_after(text, NOW) == timedelta(seconds=wait_s)


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "inf", "NaN", "1e999", "120, 120", "Sun, 99 Mar 2026 12:00:30 GMT", "12:00", "\x00", "٣٠ s"],
)
def test_a_wait_that_cannot_be_read_is_none(text):
    assert parse_retry_after(text, NOW) is None


@repeatable
@given(st.text() | st.from_regex(r"\A\w{3}, \d+ \w{3} \d+ \d+:\d+:\d+ ([+-]\d{1,6}|\w+)\Z"))
@example("Sun, 01 Mar 2026 12:00:30 +9999")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
def test_no_text_breaks_the_reading(text):
    wait = parse_retry_after(text, NOW)

    assert wait is None or wait >= timedelta(0)


@repeatable
@given(st.text())
def test_no_header_asks_for_more_than_a_month(text):
    for headers in ({"retry-after": text}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": text}):
        until = retry_after(headers, NOW)
        assert until is None or NOW <= until <= NOW + LONGEST_WAIT


def test_a_date_beyond_reason_is_cut():
    far = format_datetime(NOW + timedelta(days=4000), usegmt=True)

    assert retry_after({"retry-after": far}, NOW) == NOW + LONGEST_WAIT


def test_github_says_it_as_a_moment_once_nothing_remains():
    reset = str(int(NOW.timestamp()) + 90)

    assert retry_after({"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}, NOW) == NOW + timedelta(seconds=90)
    assert retry_after({"x-ratelimit-remaining": "7", "x-ratelimit-reset": reset}, NOW) is None
    assert retry_after({"x-ratelimit-remaining": "0"}, NOW) is None


def test_retry_after_goes_before_the_platforms_own_header():
    reset = str(int(NOW.timestamp()) + 90)
    headers = {"retry-after": "5", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset}

    assert retry_after(headers, NOW) == NOW + timedelta(seconds=5)


def test_nothing_said_is_nothing():
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize("text", ["9" * 5000, "1e308"])
def test_seconds_are_bounded_whatever_is_said(text):
    assert seconds(text) in (None, LONGEST_WAIT)
