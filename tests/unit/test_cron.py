import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from soulwatch.host.cron import parse_schedule, phase_of

BERLIN = ZoneInfo("Europe/Berlin")
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PHASES = st.floats(0, 1, exclude_max=True)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given a zone


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(schedule, start, end, *, tz=UTC, phase=0.0):
    recurrence = parse_schedule(schedule)
    found = []
    moment = recurrence.next(start, phase=phase, tz=tz)
    while moment < end:
        found.append(moment)
        moment = recurrence.next(moment, phase=phase, tz=tz)
    return found


def on_the_wall(schedule, day, zone):
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    start, end = midnight.astimezone(UTC), (midnight + DAY).astimezone(UTC)
    found = fires(schedule, start - SECOND, end, tz=ZoneInfo(zone))
    return [f"{fire.astimezone(ZoneInfo(zone)):%H:%M%z}" for fire in found]


# Intervals


def test_an_interval_is_counted_from_the_epoch():
    assert parse_schedule("5m").next(utc("2026-01-01T12:03:20")) == utc("2026-01-01T12:05:00")
    assert parse_schedule("5m").next(utc("2026-01-01T12:05:00")) == utc("2026-01-01T12:10:00")
    assert parse_schedule(timedelta(days=1)).next(utc("1969-07-20T20:17:00")) == utc("1969-07-21T00:00:00")


def test_a_phase_shifts_an_interval_by_its_share():
    assert parse_schedule("1h").next(utc("2026-01-01T12:00:00"), phase=0.25) == utc("2026-01-01T12:15:00")
    assert parse_schedule("1h").next(utc("2026-01-01T12:15:00"), phase=0.25) == utc("2026-01-01T13:15:00")
    assert parse_schedule("1h").next(utc("2026-01-01T12:59:59"), phase=0.999) > utc("2026-01-01T12:59:59")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("30s", "every 30 seconds"),
        ("1s", "every second"),
        ("60s", "every minute"),
        ("5m", "every 5 minutes"),
        ("90m", "every 90 minutes"),
        ("2h", "every 2 hours"),
        (" 24 H ", "every day"),
        ("7d", "every 7 days"),
        (timedelta(seconds=1.5), "every 1.5 seconds"),
        ("*/5 * * * *", "*/5 * * * *"),
        ("@daily", "@daily"),
    ],
)
def test_a_schedule_describes_itself(text, words):
    assert parse_schedule(text).describe() == words


@given(MOMENTS, st.timedeltas(SECOND, timedelta(days=366)), PHASES)
def test_an_interval_never_skips_repeats_or_stands_still(after, period, phase):
    recurrence = parse_schedule(period)
    first = recurrence.next(after, phase=phase)
    assert after < first <= after + period
    assert recurrence.next(first, phase=phase) == first + period
    assert recurrence.next(first - timedelta.resolution, phase=phase) == first


# Cron expressions: what is read, and what is refused


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("@hourly", "2026-01-01T13:00:00"),
        ("@daily", "2026-01-02T00:00:00"),
        ("@weekly", "2026-01-04T00:00:00"),
        ("@Monthly", "2026-02-01T00:00:00"),
        ("15 14 1 * *", "2026-02-01T14:15:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 9 * * mon-fri", "2026-01-02T09:00:00"),
        ("0 0 L * *", "2026-01-31T00:00:00"),
    ],
)
def test_cron_expressions_and_aliases(alias, expected):
    after = utc("2026-01-01T12:00:00") if alias != "15 14 1 * *" else utc("2026-01-01T14:15:00")
    assert parse_schedule(alias).next(after) == utc(expected)


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ("0 */5 * * * *", 'six fields.*write "\\*/5 \\* \\* \\* \\*"'),
        ("* * * *", "has 4 fields; write five cron fields"),
        ("", "has 0 fields"),
        ("300", 'has 1 field;.*"30s"'),
        ("@reboot", "@hourly, @daily, @weekly, @monthly"),
        ("61 * * * *", 'minute field "61"'),
        ("0 24 * * *", 'hour field "24"'),
        ("0 0 0 * *", 'day-of-month field "0"'),
        ("0 0 * 13 *", 'month field "13"'),
        ("0 0 * * 8", 'day-of-week field "8"'),
        ("*/0 * * * *", 'minute field "\\*/0"'),
        ("0 0 31 2 *", 'day-of-month field "31"'),
        ("0 0 */15 * MON#2", "no fire within 50 years"),
        ("0s", "one second to 366 days"),
        ("367d", "one second to 366 days"),
        (timedelta(0), "one second to 366 days"),
        (timedelta(days=-1), "one second to 366 days"),
        ("9" * 5000 + " * * * *", "more than 200 characters"),
        (None, "neither text nor a timedelta"),
        (300, "neither text nor a timedelta"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_refused_with_the_remedy(schedule, complaint):
    with pytest.raises(ValueError, match=complaint) as refusal:
        parse_schedule(schedule)
    assert "write" in str(refusal.value)


@given(st.lists(st.text("0123456789*/,-#LW@smhd JANMON", max_size=8), max_size=6).map(" ".join))
def test_any_text_is_a_schedule_or_a_value_error(text):
    start = utc("2026-01-01T00:00:00")
    try:
        recurrence = parse_schedule(text)
    except ValueError:
        return
    assert recurrence.next(start) > start


def test_a_naive_time_and_a_phase_out_of_range_are_refused():
    for recurrence in (parse_schedule("5m"), parse_schedule("*/5 * * * *")):
        with pytest.raises(ValueError, match="naive"):
            recurrence.next(datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake under test
        for phase in (-0.1, 1.0, float("nan")):
            with pytest.raises(ValueError, match="phase"):
                recurrence.next(utc("2026-01-01T00:00:00"), phase=phase)


def test_schedules_are_cheap_to_import():
    program = "import sys, soulwatch.host.cron; sys.exit('cronsim' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# Daylight saving and zones


@pytest.mark.parametrize(
    ("schedule", "day", "zone", "expected"),
    [
        ("30 2 * * *", "2026-03-29", "Europe/Berlin", ["03:00+0200"]),
        ("15,45 2 * * *", "2026-03-29", "Europe/Berlin", ["03:00+0200"]),
        ("0 2,3 * * *", "2026-03-29", "Europe/Berlin", ["03:00+0200"]),
        ("30 2 * * *", "2026-10-25", "Europe/Berlin", ["02:30+0200"]),
        ("0 1-3 * * *", "2026-10-25", "Europe/Berlin", ["01:00+0200", "02:00+0200", "03:00+0100"]),
        ("*/30 2 * * *", "2026-10-25", "Europe/Berlin", ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
        ("30 1 * * *", "2026-03-08", "America/New_York", ["01:30-0500"]),
        ("30 1 * * *", "2026-11-01", "America/New_York", ["01:30-0400"]),
        ("*/20 2 * * *", "2026-10-04", "Australia/Lord_Howe", ["02:40+1100"]),
        ("*/20 1 * * *", "2026-04-05", "Australia/Lord_Howe", ["01:00+1100", "01:20+1100", "01:40+1100", "01:40+1030"]),
        ("10 2 * * *", "2026-10-04", "Australia/Lord_Howe", ["02:30+1100"]),
        ("0 0 * * *", "2018-11-04", "America/Sao_Paulo", ["01:00-0200"]),
        ("30 23 * * *", "2018-02-17", "America/Sao_Paulo", ["23:30-0200"]),
        ("0 12 * * *", "2011-12-29", "Pacific/Apia", ["12:00-1000"]),
    ],
)
def test_each_fire_comes_once_on_the_day_the_clocks_change(schedule, day, zone, expected):
    assert on_the_wall(schedule, day, zone) == expected


def test_a_repeated_hour_does_not_bring_back_what_it_has_brought():
    in_the_second_pass = utc("2026-10-25T01:10:00")
    assert parse_schedule("15,45 2 * * *").next(in_the_second_pass, tz=BERLIN) == utc("2026-10-26T01:15:00")


def test_a_day_that_a_zone_leaves_out_is_made_good_as_the_next_one_begins():
    found = fires("0 12 * * *", utc("2011-12-29T00:00:00"), utc("2012-01-01T00:00:00"), tz=ZoneInfo("Pacific/Apia"))
    assert [f"{fire.astimezone(ZoneInfo('Pacific/Apia')):%d %H:%M}" for fire in found] == [
        "29 12:00", "31 00:00", "31 12:00", "01 12:00"
    ]  # fmt: skip


@pytest.mark.parametrize("schedule", ["*/30 * * * *", "17 * * * *"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu"])
def test_what_follows_the_hands_keeps_its_pace_through_every_change(schedule, zone):
    for month in ("2018-03", "2018-10", "2018-11", "2018-02"):
        start = utc(f"{month}-01T00:00:00")
        found = fires(schedule, start, start + 32 * DAY, tz=ZoneInfo(zone))
        assert len({later - earlier for earlier, later in pairwise(found)}) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Casablanca", "Asia/Kathmandu", "UTC"])
@pytest.mark.parametrize("schedule", ["30 2 * * *", "0 */2 * * *", "0 0-4 * * sun", "7 3 29 2 *", "5,50 1,2,3 * * *"])
def test_two_years_of_fires_are_those_that_cronsim_walks_through(schedule, zone):
    start, end = utc("2027-06-01T00:00:00"), utc("2029-06-01T00:00:00")
    walked = []
    for fire in CronSim(schedule, start.astimezone(ZoneInfo(zone))):
        if fire >= end:
            break
        walked.append(fire.astimezone(UTC))
    assert fires(schedule, start, end, tz=ZoneInfo(zone)) == walked


MINUTES = {"*": range(60), "*/7": range(0, 60, 7), "0": {0}, "15,45": {15, 45}, "30": {30}, "59": {59}}
HOURS = {"*": range(24), "*/2": range(0, 24, 2), "2": {2}, "1-3": {1, 2, 3}, "0": {0}, "0,23": {0, 23}}
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("America/Sao_Paulo", "2018-02-18T02:00"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("America/Havana", "2026-11-01T05:00"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Asia/Pyongyang", "2018-05-04T15:00"),
]


@cache
def watched_wall(zone: str, change: str) -> dict[datetime, datetime]:
    """What a clock on the wall showed, at each minute of eight days around a change."""
    start = utc(change) - 4 * DAY
    minutes = (start + count * MINUTE for count in range(8 * 24 * 60))
    return {minute: minute.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for minute in minutes}


@cache
def expected_fires(zone: str, change: str, minute: str, hour: str) -> list[datetime]:
    wall = watched_wall(zone, change)
    wanted = {shown for shown in wall.values() if shown.minute in MINUTES[minute] and shown.hour in HOURS[hour]}
    if "*" in (minute[0], hour[0]):
        return [moment for moment, shown in wall.items() if shown in wanted]
    first_shown: dict[datetime, datetime] = {}
    highest = min(wall.values()) - MINUTE
    for moment, shown in wall.items():
        while highest < shown:
            highest += MINUTE
            first_shown[highest] = moment
    named = (shown for shown in first_shown if shown.minute in MINUTES[minute] and shown.hour in HOURS[hour])
    return sorted({first_shown[shown] for shown in named})


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(CHANGES), st.sampled_from(sorted(MINUTES)), st.sampled_from(sorted(HOURS)),
    st.one_of(st.integers(-7200, 7200), st.integers(-86400, 86400)), PHASES,
)  # fmt: skip
def test_fires_are_those_seen_by_watching_a_clock_through_its_change(change, minute, hour, seconds, phase):
    zone, moment = change
    seen = expected_fires(zone, moment, minute, hour)
    after = utc(moment) + seconds * SECOND
    recurrence = parse_schedule(f"{minute} {hour} * * *")
    assert recurrence.next(after, tz=ZoneInfo(zone)) == next(fire for fire in seen if fire > after)
    delayed = (fire + phase * (following - fire) for fire, following in pairwise(seen))
    assert recurrence.next(after, phase=phase, tz=ZoneInfo(zone)) == next(due for due in delayed if due > after)


# Phases


def test_a_phase_delays_each_fire_by_its_share_of_the_gap_to_the_following_one():
    found = fires("0 0,6 * * *", utc("2026-01-01T00:00:00"), utc("2026-01-02T12:00:00"), phase=0.5)
    assert found == [utc("2026-01-01T03:00:00"), utc("2026-01-01T15:00:00"), utc("2026-01-02T03:00:00")]


@settings(deadline=None)
@given(
    st.sampled_from(["*/5 * * * *", "30 2 * * *", "@monthly", "1,2 3 * * *", "0 0 29 2 *", "0 12 * * mon-fri"]),
    MOMENTS, PHASES, st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]).map(ZoneInfo),
)  # fmt: skip
def test_the_next_time_is_later_each_time_and_the_same_whoever_asks(schedule, after, phase, tz):
    recurrence = parse_schedule(schedule)
    first = recurrence.next(after, phase=phase, tz=tz)
    second = recurrence.next(first, phase=phase, tz=tz)
    assert after < first < second
    for moment in (after, after + (first - after) / 2, first - timedelta.resolution):
        assert recurrence.next(moment, phase=phase, tz=tz) == first
        assert recurrence.next(moment.astimezone(BERLIN), phase=phase, tz=tz) == first


@settings(deadline=None)
@given(
    st.sampled_from(["*/10 * * * *", "30 2 * * *", "0 */3 * * *", "20m", "1d"]), PHASES,
    st.lists(st.tuples(st.sampled_from([1, 600, 3600, 86400]), st.floats(0.1, 3)), max_size=40),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]).map(ZoneInfo),
)  # fmt: skip
def test_what_is_due_is_done_exactly_once_however_time_jumps_on(schedule, phase, script, tz):
    recurrence = parse_schedule(schedule)
    start = now = utc("2026-03-27T00:00:00")
    due = recurrence.next(start, phase=phase, tz=tz)
    answered = []
    for unit, count in script:
        now += unit * count * SECOND
        if due <= now:
            answered.append((due, now))
            due = recurrence.next(now, phase=phase, tz=tz)
    slots = fires(schedule, start, now + SECOND, tz=tz, phase=phase)
    covered = [[slot for slot in slots if due <= slot <= at] for due, at in answered]
    assert [slot for group in covered for slot in group] == [slot for slot in slots if slot <= now]
    assert [group[0] for group in covered] == [due for due, _ in answered]


def test_a_phase_is_the_same_in_every_process_and_version():
    assert phase_of("u1", "spotify", "recently_played") == 0.142670603484374
    assert phase_of("ab", "c") != phase_of("a", "bc")
    assert 0 <= phase_of() < 1


def test_phases_spread_evenly():
    tenths = [int(phase_of("user", str(number)) * 10) for number in range(10_000)]
    assert all(850 < tenths.count(tenth) < 1150 for tenth in range(10))
