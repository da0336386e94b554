from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch.host.timing import COOL_DOWNS_S, LONGEST_SPREAD, PROMPT_RETRIES_S, RefreshPolicy

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
POLICY = RefreshPolicy()
MINUTE = timedelta(minutes=1)

lives = st.timedeltas(timedelta(seconds=1), timedelta(days=400))
names = st.uuids().map(str)
failures = st.integers(1, 500)
chances = st.floats(0, 1, exclude_max=True)


def s(seconds):
    return timedelta(seconds=seconds)


# When a token is refreshed


@repeatable
@given(names, lives)
def test_a_token_is_refreshed_in_its_margin_before_its_end_but_not_before_half_of_its_life(name, life):
    at = POLICY.next_refresh(name, NOW, NOW + life)
    margin = min(timedelta(minutes=10), life / 2)

    assert at <= max(NOW + life - margin, NOW + POLICY.floor_for(NOW, NOW + life))
    assert at >= NOW + life - margin - min(LONGEST_SPREAD, life / 10)
    assert NOW < at < NOW + life


@repeatable
@given(names, lives)
def test_a_token_is_never_refreshed_in_a_loop(name, life):
    assert POLICY.next_refresh(name, NOW, NOW + life) - NOW >= min(POLICY.floor, life / 2)


@repeatable
@given(names, lives, lives)
def test_a_token_that_lives_longer_is_not_refreshed_earlier(name, one, other):
    short, long = sorted([one, other])

    assert POLICY.next_refresh(name, NOW, NOW + short) <= POLICY.next_refresh(name, NOW, NOW + long)


def test_an_hour_is_refreshed_about_ten_minutes_before_its_end():
    at = [POLICY.next_refresh(str(n), NOW, NOW + 60 * MINUTE) - NOW for n in range(1000)]

    assert max(at) <= 50 * MINUTE
    assert min(at) >= 48 * MINUTE
    # A thousand connected together are spread over the whole of it.
    assert max(sum(start <= one < start + s(12) for one in at) for start in sorted(at)) < 200


def test_the_place_of_a_connection_is_always_the_same():
    assert POLICY.next_refresh("c-1", NOW, NOW + 60 * MINUTE) == POLICY.next_refresh("c-1", NOW, NOW + 60 * MINUTE)
    assert POLICY.next_refresh("c-1", NOW, NOW + 60 * MINUTE) != POLICY.next_refresh("c-2", NOW, NOW + 60 * MINUTE)


def test_a_token_without_end_is_never_refreshed():
    assert POLICY.next_refresh("c-1", NOW, None) is None


@repeatable
@given(names, st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_token_that_has_ended_when_it_comes_is_due_at_once(name, ago):
    """An answer that is read again long after a crash."""
    assert POLICY.next_refresh(name, NOW, NOW - ago) <= NOW


# When a failure is tried again


@repeatable
@given(failures, chances)
def test_failures_are_waited_out_longer_and_longer_but_never_longer_than_an_hour(count, random):
    wait = POLICY.next_try(NOW, count, random=random) - NOW
    longest = COOL_DOWNS_S[min(count, len(COOL_DOWNS_S)) - 1]

    assert max(s(longest / 2), POLICY.floor) <= wait <= s(longest)
    assert wait <= timedelta(hours=1)


@repeatable
@given(failures, chances)
def test_two_requests_are_never_closer_than_the_floor(count, random):
    assert POLICY.next_try(NOW, count, random=random) >= NOW + POLICY.floor


@repeatable
@given(failures, chances, st.timedeltas(timedelta(0), timedelta(hours=1)), st.booleans(), st.none() | lives)
def test_nobody_is_asked_before_they_want_to_be(count, random, wait, is_ambiguous, life):
    at = POLICY.next_try(
        NOW,
        count,
        random=random,
        retry_at=NOW + wait,
        is_ambiguous=is_ambiguous,
        expires_at=None if life is None else NOW + life,
    )

    assert at >= NOW + wait
    assert at > NOW


@pytest.mark.parametrize("random", [0, 0.5, 0.999])
def test_three_tries_and_more_fall_before_a_token_ends_however_much_failed_before(random):
    end, now, tries = NOW + 10 * MINUTE, NOW, 0
    while now < end:
        now = POLICY.next_try(now, 50 + tries, random=random, expires_at=end)
        tries += now < end

    assert 3 <= tries <= 20


def test_after_the_end_of_a_token_there_is_no_hurry():
    assert POLICY.next_try(NOW, 7, random=0.5, expires_at=NOW - MINUTE) == NOW + s(3600 * 0.75)


def test_an_outcome_nobody_knows_is_tried_again_promptly_and_then_like_any_failure():
    waits = [(POLICY.next_try(NOW, n, random=0.999, is_ambiguous=True) - NOW).total_seconds() for n in range(1, 14)]

    assert waits[:5] == list(PROMPT_RETRIES_S) == [1, 3, 8, 25, 60]
    assert [round(wait) for wait in waits[5:]] == [30, 60, 120, 300, 900, 1799, 3598, 3598]


def test_an_outcome_nobody_knows_still_waits_where_it_is_told_to():
    assert POLICY.next_try(NOW, 1, random=0, is_ambiguous=True, retry_at=NOW + s(40)) == NOW + s(40)
    assert POLICY.next_try(NOW, 1, random=0, is_ambiguous=True, retry_at=NOW - s(40)) == NOW + s(1)


# How close two requests may be


@repeatable
@given(lives)
def test_the_floor_never_outlasts_the_token(life):
    assert timedelta(0) < POLICY.floor_for(NOW, NOW + life) <= min(POLICY.floor, life / 2)


@pytest.mark.parametrize(("issued_at", "expires_at"), [(None, None), (NOW, None), (None, NOW)])
def test_where_no_life_is_known_the_floor_is_the_usual_one(issued_at, expires_at):
    assert POLICY.floor_for(issued_at, expires_at) == POLICY.floor


def test_a_life_that_cannot_be_has_no_floor():
    assert POLICY.floor_for(NOW, NOW - MINUTE) == timedelta(0)
