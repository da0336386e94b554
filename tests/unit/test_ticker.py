import asyncio
import logging
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import anyio
import pytest
import schedule
from hypothesis import given, settings
from hypothesis import strategies as st

from soulwatch.host.clock import SystemClock
from soulwatch.host.ticker import SLICE_SECONDS, Ticker, UtcScheduler
from soulwatch.testing.clock import PlayedClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR, DAY = 3600, 86400


class Diary:
    """A job that writes down when it was run, on the wall and by monotonic time."""

    def __init__(self, clock: PlayedClock) -> None:
        self.clock = clock
        self.wall: list[datetime] = []
        self.seconds: list[float] = []

    async def __call__(self) -> None:
        self.wall.append(self.clock.now())
        self.seconds.append(self.clock.monotonic())


@asynccontextmanager
async def ticking(ticker: Ticker):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.run)
        yield
        tasks.cancel_scope.cancel()


@pytest.fixture
def clock() -> PlayedClock:
    return PlayedClock(NOON)


@pytest.fixture
def ticker(clock) -> Ticker:
    return Ticker(clock)


@pytest.fixture
def diary(clock) -> Diary:
    return Diary(clock)


async def test_a_job_is_run_every_so_often(clock, ticker, diary):
    ticker.every(300, diary, "sweep")
    async with ticking(ticker):
        await clock.advance(1500)
    assert diary.seconds == [300, 600, 900, 1200, 1500]


async def test_a_job_can_be_run_at_once_and_then_every_so_often(clock, ticker, diary):
    ticker.every(300, diary, "sweep", at_once=True)
    async with ticking(ticker):
        await clock.advance(700)
    assert diary.seconds == [0, 300, 600]


async def test_an_interval_may_be_a_fraction_of_a_second(clock, ticker, diary):
    ticker.every(0.25, diary, "heartbeat")
    async with ticking(ticker):
        await clock.advance(1)
    assert diary.seconds == [0.25, 0.5, 0.75, 1.0]


async def test_a_cron_job_is_run_when_its_expression_says_so(clock, diary):
    ticker = Ticker(clock, tz=ZoneInfo("Asia/Kathmandu"))
    ticker.cron("0 3 * * *", diary, "prune")
    async with ticking(ticker):
        await clock.advance(2 * DAY)
    assert [f"{run:%d %H:%M:%S}" for run in diary.wall] == ["01 21:15:00", "02 21:15:00"]


async def test_intervals_and_cron_jobs_hold_their_pace_through_the_autumn_night():
    clock = PlayedClock(datetime(2026, 10, 24, 22, tzinfo=UTC))
    ticker = Ticker(clock, tz=ZoneInfo("Europe/Berlin"))
    often, half_hours, once = Diary(clock), Diary(clock), Diary(clock)
    ticker.every(300, often, "sweep")
    ticker.cron("*/30 * * * *", half_hours, "look")
    ticker.cron("30 2 * * *", once, "prune")
    async with ticking(ticker):
        await clock.advance(6 * HOUR)
    assert {later - earlier for earlier, later in pairwise(often.seconds)} == {300}
    assert {later - earlier for earlier, later in pairwise(half_hours.seconds)} == {1800}
    assert [f"{run:%H:%M}" for run in once.wall] == ["00:30"]


async def test_a_job_added_while_the_ticker_runs_is_noticed_within_a_slice(clock, ticker, diary):
    async with ticking(ticker):
        await clock.advance(100)
        ticker.every(1, diary, "late")
        await clock.advance(SLICE_SECONDS)
    assert diary.seconds[0] <= 100 + SLICE_SECONDS


# Failures


@pytest.mark.fault("F60")
async def test_a_failing_job_is_logged_by_name_and_neither_it_nor_others_end(clock, ticker, diary, caplog):
    async def fail() -> None:
        await diary()
        raise RuntimeError("no disk")

    other = Diary(clock)
    ticker.every(60, fail, "prune")
    ticker.every(60, other, "sweep")
    async with ticking(ticker):
        await clock.advance(180)
    assert len(diary.wall) == len(other.wall) == 3
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert {record.name for record in caplog.records} == {"soulwatch.ticker"}
    assert {record.job for record in caplog.records} == {"prune"}
    assert "job prune failed" in caplog.text
    assert "no disk" in caplog.text


@pytest.mark.fault("F60")
@pytest.mark.parametrize("trouble", [asyncio.CancelledError, TimeoutError, lambda: ExceptionGroup("two", [OSError()])])
async def test_a_job_that_ends_oddly_has_its_next_turn(clock, ticker, diary, trouble):
    async def odd() -> None:
        await diary()
        raise trouble()

    ticker.every(60, odd, "odd")
    async with ticking(ticker):
        await clock.advance(180)
    assert diary.seconds == [60, 120, 180]


async def test_heartbeats_tell_when_each_job_last_ended_well(clock, ticker, diary):
    async def fail_later() -> None:
        if clock.monotonic() > 100:
            raise RuntimeError

    async def fail() -> None:
        raise RuntimeError

    ticker.every(60, diary, "sweep")
    ticker.every(60, fail_later, "look")
    ticker.every(60, fail, "prune")
    async with ticking(ticker):
        await clock.advance(130)
    at = [NOON + timedelta(seconds=seconds) for seconds in (120, 60)]
    assert ticker.heartbeats() == {"sweep": at[0], "look": at[1], "prune": None}


async def test_a_job_still_at_work_is_not_started_twice_and_holds_up_no_other(clock, ticker, diary):
    at_work = []

    async def slow() -> None:
        at_work.append("in")
        await clock.sleep(200)
        at_work.append("out")

    ticker.every(60, slow, "slow")
    ticker.every(60, diary, "sweep")
    async with ticking(ticker):
        await clock.advance(310)
    assert at_work == ["in", "out", "in"]
    assert diary.seconds == [60, 120, 180, 240, 300]


async def test_cancelling_ends_the_jobs_at_work_and_it_can_be_run_again(clock, ticker, diary, caplog):
    ended = []

    async def slow() -> None:
        await diary()
        try:
            await clock.sleep(HOUR)
        finally:
            ended.append(clock.monotonic())

    ticker.every(60, slow, "slow")
    async with ticking(ticker):
        await clock.advance(70)
    assert ended == [70]
    assert clock.sleeping == 0
    assert caplog.records == []
    async with ticking(ticker):
        await clock.advance(60)
    assert diary.seconds == [60, 120]


async def test_a_job_that_fails_while_it_is_being_cancelled_is_logged_too(clock, ticker, caplog):
    async def slow() -> None:
        try:
            await clock.sleep(HOUR)
        finally:
            raise RuntimeError("no goodbye")

    ticker.every(60, slow, "slow")
    async with ticking(ticker):
        await clock.advance(70)
    assert "job slow failed" in caplog.text


async def test_a_job_cancelled_before_its_first_step_has_its_next_turn(clock, ticker, diary):
    ticker.every(60, diary, "sweep", at_once=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticker.run)
        tasks.start_soon(ticker_cancelled_at_once, tasks)
    before = list(diary.seconds)
    async with ticking(ticker):
        await clock.advance(60)
    assert [*before, 60] == diary.seconds


async def ticker_cancelled_at_once(tasks):
    tasks.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_an_interval_of_nothing_is_refused(ticker, diary, seconds):
    with pytest.raises(ValueError, match=r'"sweep".*above 0'):
        ticker.every(seconds, diary, "sweep")
    assert ticker.heartbeats() == {}


def test_two_jobs_of_one_name_and_unreadable_expressions_are_refused(ticker, diary):
    ticker.every(60, diary, "sweep")
    with pytest.raises(ValueError, match='a job "sweep" already'):
        ticker.cron("0 3 * * *", diary, "sweep")
    with pytest.raises(ValueError, match="six fields"):
        ticker.cron("0 0 3 * * *", diary, "prune")
    assert set(ticker.heartbeats()) == {"sweep"}


async def test_real_time_will_do_too():
    ran = anyio.Event()

    async def job() -> None:
        ran.set()

    ticker = Ticker(SystemClock())
    ticker.every(0.02, job, "quick")
    async with ticking(ticker):
        with anyio.fail_after(5):
            await ran.wait()


# A wall clock that jumps


@pytest.mark.fault("F31")
@pytest.mark.parametrize("jump", [HOUR, 30 * DAY])
async def test_what_a_jump_ahead_makes_overdue_is_run_once_within_a_slice(clock, ticker, jump):
    often, hourly = Diary(clock), Diary(clock)
    ticker.every(300, often, "sweep")
    ticker.cron("0 * * * *", hourly, "look")
    async with ticking(ticker):
        await clock.advance(301)
        clock.jump(jump)
        await clock.advance(SLICE_SECONDS)
        assert (len(often.seconds), len(hourly.seconds)) == (2, 1)
        await clock.advance(HOUR)
    assert len(often.seconds) <= 2 + HOUR / 300
    assert len(hourly.seconds) == 2


@pytest.mark.fault("F31")
@pytest.mark.parametrize("jump", [HOUR, 30 * DAY, 2 * HOUR + 7])
async def test_a_jump_back_stalls_nothing(clock, ticker, jump):
    often, hourly = Diary(clock), Diary(clock)
    ticker.every(300, often, "sweep")
    ticker.cron("0 * * * *", hourly, "look")
    async with ticking(ticker):
        await clock.advance(3 * HOUR + 10)
        clock.jump(-jump)
        await clock.advance(HOUR)
    assert {later - earlier for earlier, later in pairwise(often.seconds)} == {300}
    assert {run.minute for run in hourly.wall} == {0}
    assert len(hourly.wall) == 4


async def test_a_small_step_back_makes_no_turn_come_twice(clock, ticker, diary):
    ticker.cron("*/5 * * * *", diary, "look")
    ticker.every(0.1, Diary(clock), "heartbeat")
    async with ticking(ticker):
        await clock.advance(300)
        clock.jump(-2)
        await clock.advance(10)
        assert diary.seconds == [300]
        clock.jump(-10)
        await clock.advance(20)
        clock.jump(-10)
        await clock.advance(300)
    assert diary.seconds == [300, 300 + 300 + 2 + 10 + 10]


async def test_waking_from_suspend_is_noticed_within_a_slice(clock, ticker, diary):
    ticker.every(DAY, diary, "prune")
    async with ticking(ticker):
        await clock.advance(100)
        clock.jump(2 * DAY)  # monotonic time stands still in a suspended machine
        await clock.advance(SLICE_SECONDS)
    assert len(diary.seconds) == 1


JUMPS = st.one_of(st.integers(-3 * HOUR, -16), st.integers(1, 3 * HOUR), st.sampled_from([30 * DAY, -30 * DAY]))
SCRIPTS = st.lists(st.tuples(st.sampled_from(["play", "jump"]), st.integers(1, 900), JUMPS), max_size=12)


@pytest.mark.fault("F31")
@settings(max_examples=60, deadline=None)
@given(SCRIPTS)
def test_an_interval_neither_stalls_nor_storms_whatever_the_wall_clock_does(script):
    clock = PlayedClock(NOON)
    diary = Diary(clock)
    ticker = Ticker(clock)
    ticker.every(300, diary, "sweep")

    async def play() -> None:
        async with ticking(ticker):
            for move, seconds, jump in script:
                if move == "jump":
                    clock.jump(jump)
                await clock.advance(seconds)

    anyio.run(play)
    moments = [0.0, *diary.seconds, clock.monotonic()]
    assert max(later - earlier for earlier, later in pairwise(moments)) <= 300 + SLICE_SECONDS
    ahead = sum(1 for move, _, jump in script if move == "jump" and jump > 0)
    assert len(diary.seconds) <= clock.monotonic() / 300 + 2 * ahead


@settings(max_examples=60, deadline=None)
@given(SCRIPTS)
def test_each_slot_that_a_jumping_clock_passes_is_answered_exactly_once(script):
    clock = PlayedClock(NOON)
    diary = Diary(clock)
    ticker = Ticker(clock)
    ticker.cron("*/10 * * * *", diary, "look")
    passages: list[list[datetime]] = []

    async def play() -> None:
        start = clock.now()
        async with ticking(ticker):
            for move, seconds, jump in script:
                if move == "jump":
                    clock.jump(jump)
                    if jump < 0:
                        passages.append(list(diary.wall))
                        diary.wall.clear()
                    await clock.advance(SLICE_SECONDS)
                    start = clock.now() if jump < 0 else start
                await clock.advance(seconds)
                settled(start)
        passages.append(diary.wall)

    def settled(start: datetime) -> None:
        last = slot(diary.wall[-1]) if diary.wall else slot(start)
        assert last == slot(clock.now())

    anyio.run(play)
    for passage in passages:
        assert all(slot(earlier) < slot(later) for earlier, later in pairwise(passage))


def slot(moment: datetime) -> int:
    return int(moment.timestamp()) // 600


# The library itself, as a comparison

AUTUMN_NIGHT = """
import datetime, sys, types
from zoneinfo import ZoneInfo
import schedule
from soulwatch.host.ticker import UtcScheduler

class Played:
    epoch = datetime.datetime(2026, 10, 24, 23, tzinfo=datetime.UTC).timestamp()
    def now(self): return datetime.datetime.fromtimestamp(self.epoch, datetime.UTC)
    def monotonic(self): return self.epoch

class LocalTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None): return datetime.datetime.fromtimestamp(clock.epoch, tz)

clock = Played()
schedule.datetime = types.SimpleNamespace(datetime=LocalTime, timedelta=datetime.timedelta, time=datetime.time)
scheduler = {"plain": schedule.Scheduler, "utc": lambda: UtcScheduler(clock)}[sys.argv[1]]()
runs = []
scheduler.every(5).minutes.do(lambda: runs.append(clock.epoch))
for _ in range(4 * 60):
    clock.epoch += 60
    scheduler.run_pending()
print(int(max(later - earlier for earlier, later in zip(runs, runs[1:])) / 60))
"""


@pytest.mark.parametrize(("kind", "minutes"), [("plain", 65), ("utc", 5)])
def test_the_longest_wait_in_the_autumn_night(kind, minutes):
    there = {**os.environ, "TZ": "Europe/Berlin"}
    command = [sys.executable, "-c", AUTUMN_NIGHT, kind]
    answer = subprocess.run(command, env=there, capture_output=True, text=True, check=True)
    assert int(answer.stdout) == minutes


def test_the_scheduler_keeps_aware_utc(clock):
    scheduler = UtcScheduler(clock)
    assert scheduler.idle_seconds is None
    job = scheduler.every(5).minutes.do(lambda: None)
    assert job.next_run == NOON + timedelta(minutes=5)
    assert scheduler.idle_seconds == 300
    clock.jump(1500)
    assert scheduler.idle_seconds == -1200
    scheduler.run_pending()
    assert job.last_run == NOON + timedelta(seconds=1500)
    assert job.next_run == NOON + timedelta(minutes=30)


def test_what_the_library_counts_in_local_time_is_refused(clock):
    for job in (
        UtcScheduler(clock).every().day.at("10:30"),
        UtcScheduler(clock).every(5).to(10).minutes,
        UtcScheduler(clock).every().monday,
    ):
        with pytest.raises(schedule.ScheduleError, match=r"cron\(\)"):
            job.do(print)
    with pytest.raises(schedule.ScheduleError, match="of what"):
        UtcScheduler(clock).every(5).do(print)
