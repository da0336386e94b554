from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import repeatable

from soulwatch import (
    CursorExpired,
    Misconfigured,
    NeedsReauth,
    PlatformError,
    PluginError,
    RateLimited,
    SoulwatchError,
    Unavailable,
    UnexpectedAnswer,
)
from soulwatch.host.settling import changes_after, ended, few_of, is_mass, reason_of
from soulwatch.host.timing import RefreshPolicy
from soulwatch.host.vault import KeyUnavailable, SealBroken

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
POLICY = RefreshPolicy()
DEAD = NeedsReauth("dead", code="invalid_grant")


def row(**columns):
    usual = {"fail_count": 0, "is_ambiguous": False, "doubted_at": None, "token_expires_at": NOW + timedelta(hours=1)}
    return SimpleNamespace(**{**usual, **columns})


def after(error, before=None, *, now=NOW, **more):
    return changes_after(before or row(), error, POLICY, now, 0.5, **more)


def s(seconds):
    return timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RateLimited(), "rate_limited"),
        (Unavailable(), "unavailable"),
        (UnexpectedAnswer(), "unavailable"),
        (Misconfigured(), "misconfigured"),
        (PluginError(), "misconfigured"),
        (KeyUnavailable("no key", kid=b"kid!"), "misconfigured"),
        (SealBroken("changed"), "misconfigured"),
        (SoulwatchError("whatever"), "misconfigured"),
    ],
)
def test_the_reason_says_who_can_help(error, reason):
    assert reason_of(error) == reason
    assert after(error)["reason"] == reason


ERRORS = [
    RateLimited("a"),
    RateLimited("b", retry_at=NOW + s(90)),
    Unavailable("c"),
    Unavailable("d", ambiguous=True),
    Unavailable("e", retry_at=NOW + s(90), ambiguous=True),
    UnexpectedAnswer("f"),
    Misconfigured("g"),
    CursorExpired("h"),
    PlatformError("i"),
    PluginError("j"),
    SealBroken("k"),
]
histories = st.lists(st.tuples(st.sampled_from(ERRORS), st.floats(0, 1, exclude_max=True), st.booleans()), max_size=40)


@repeatable
@given(histories)
def test_nothing_but_a_dead_grant_ever_troubles_the_user(history):
    before, now = row(), NOW
    for error, random, is_contradicted in history:
        changes = changes_after(before, error, POLICY, now, random, is_contradicted=is_contradicted)
        assert "status" not in changes
        assert changes["next_refresh_at"] >= now
        before = row(**{name: changes.get(name, value) for name, value in vars(before).items()})
        now = max(now, changes["next_refresh_at"]) + s(1)


def test_failures_are_counted_and_told():
    changes = after(Unavailable("late"), row(fail_count=2))

    assert (changes["fail_count"], changes["error_message"], changes["is_ambiguous"]) == (3, "late", False)
    assert changes["last_attempt_at"] == changes["updated_at"] == NOW
    assert changes["next_refresh_at"] == NOW + s(60 * 0.75)


def test_what_only_time_can_mend_is_tried_every_minute_and_what_a_person_has_to_mend_every_hour():
    often = row(fail_count=20, token_expires_at=None)

    assert after(Unavailable("late"), often)["next_refresh_at"] == NOW + s(60 * 0.75)
    assert after(Misconfigured("moved"), often)["next_refresh_at"] == NOW + s(3600 * 0.75)


def test_a_wait_that_is_asked_for_is_kept_up_to_an_hour():
    assert after(RateLimited(retry_at=NOW + s(600)))["next_refresh_at"] == NOW + s(600)
    assert after(RateLimited(retry_at=NOW + s(86400)))["next_refresh_at"] == NOW + s(3600)
    assert after(Unavailable(retry_at=NOW - s(600)))["next_refresh_at"] == NOW + s(30)


@pytest.mark.parametrize("retry_at", [NOW.replace(tzinfo=None), 600, "later"])
def test_a_wait_of_a_plugins_own_making_harms_nobody(retry_at):
    assert after(Unavailable(retry_at=retry_at))["next_refresh_at"] == NOW + s(30)


def test_prompt_retries_begin_with_the_first_outcome_nobody_knows_whatever_failed_before():
    lost = Unavailable("cut", ambiguous=True)
    first = after(lost, row(fail_count=9))
    assert (first["fail_count"], first["is_ambiguous"], first["next_refresh_at"]) == (1, True, NOW + s(1))

    second = after(lost, row(fail_count=1, is_ambiguous=True))
    assert (second["fail_count"], second["next_refresh_at"]) == (2, NOW + s(3))

    # The doubt stays until there is a token, and ends the hurry only after its time.
    later = after(Unavailable("refused"), row(fail_count=5, is_ambiguous=True))
    assert (later["is_ambiguous"], later["fail_count"]) == (True, 6)
    assert later["next_refresh_at"] > NOW + s(29)


@pytest.mark.parametrize("error", [Unavailable("x"), PluginError("x"), SoulwatchError("x"), DEAD])
def test_what_left_this_host_without_an_answer_is_in_doubt_whatever_is_said_of_it(error):
    assert after(error, may_have_been_acted_on=True)["is_ambiguous"]


def test_a_grant_that_is_called_dead_once_is_asked_again_before_its_user_is_told():
    changes = after(DEAD)

    assert "status" not in changes
    assert (changes["doubted_at"], changes["reason"]) == (NOW, "unavailable")
    assert changes["next_refresh_at"] == NOW + POLICY.confirm_after


def test_too_early_a_second_word_does_not_count():
    changes = after(DEAD, row(doubted_at=NOW - s(59)))

    assert "status" not in changes
    assert (changes["doubted_at"], changes["next_refresh_at"]) == (NOW - s(59), NOW + s(1))


def test_a_grant_that_is_called_dead_again_after_a_while_is_its_users_matter():
    changes = after(DEAD, row(doubted_at=NOW - s(60)))

    assert {name: changes[name] for name in ("status", "reason", "next_refresh_at")} == ended("invalid_grant")
    assert ended("invalid_grant") == {"status": "needs_reauth", "reason": "invalid_grant", "next_refresh_at": None}


def test_a_grant_that_died_of_an_answer_that_was_lost_is_told_apart():
    assert after(DEAD, row(doubted_at=NOW - s(60), is_ambiguous=True))["reason"] == "ambiguous_rotation"


def test_an_answer_in_the_journal_is_read_before_anything_is_believed():
    for before in (row(), row(doubted_at=NOW - s(600))):
        changes = after(DEAD, before, is_contradicted=True)
        assert "status" not in changes
        assert changes["next_refresh_at"] == NOW
    assert after(Unavailable("late"), is_contradicted=True)["next_refresh_at"] == NOW
    # A plugin that could not read the one will not read the other: no loop.
    assert after(PluginError("broken"), is_contradicted=True)["next_refresh_at"] > NOW


def test_a_clock_that_was_set_back_does_not_put_off_the_second_look():
    changes = after(DEAD, row(doubted_at=NOW + timedelta(days=30)))

    assert (changes["doubted_at"], changes["next_refresh_at"]) == (NOW, NOW + s(60))


@pytest.mark.parametrize(
    ("outcomes", "is_one"),
    [
        ({}, False),
        ({"NeedsReauth": 20}, False),
        ({"NeedsReauth": 21}, True),
        ({"NeedsReauth": 21, "applied": 49}, False),
        ({"NeedsReauth": 21, "applied": 48}, True),
        ({"applied": 1000}, False),
    ],
)
def test_many_grants_that_die_together_are_the_platforms_matter(outcomes, is_one):
    assert is_mass(outcomes) is is_one


def test_of_a_platform_with_few_places_the_first_are_taken_and_of_others_all():
    rows = [SimpleNamespace(id=number, platform="ab"[number % 2]) for number in range(8)]

    assert [one.id for one in few_of(rows, {"a": 2})] == [0, 1, 2, 3, 5, 7]
    assert few_of(rows, {}) == rows
