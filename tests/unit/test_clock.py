import inspect
from datetime import UTC, datetime, timedelta, timezone

import anyio
import pytest

from soulwatch.host.clock import Clock, SystemClock
from soulwatch.testing.clock import PlayedClock

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def faces(kind: type) -> dict[str, inspect.Signature]:
    return {name: inspect.signature(getattr(kind, name)) for name in vars(Clock) if not name.startswith("_")}


@pytest.mark.parametrize("kind", [SystemClock, PlayedClock])
def test_every_clock_answers_what_the_host_asks(kind):
    assert faces(kind) == faces(Clock)


async def test_the_system_clock_tells_aware_utc_and_sleeps_by_the_monotonic_clock():
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.02)
    await clock.sleep(-1)
    assert clock.monotonic() - before >= 0.015
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_the_system_clock_draws_chance_from_the_kernel():
    clock = SystemClock()
    assert all(0 <= clock.random() < 1 for _ in range(100))
    assert len({clock.token_bytes(16) for _ in range(100)}) == 100
    assert len(clock.token_bytes(32)) == 32


async def test_a_sleep_of_nothing_can_still_be_cancelled():
    for clock in (SystemClock(), PlayedClock()):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await clock.sleep(0)
        assert scope.cancelled_caught


async def test_a_played_clock_stands_still_until_it_is_advanced():
    clock = PlayedClock(NOON)
    await anyio.sleep(0.01)
    assert (clock.now(), clock.monotonic()) == (NOON, 0.0)
    await clock.advance(90.5)
    assert (clock.now(), clock.monotonic()) == (NOON + timedelta(seconds=90.5), 90.5)


def test_a_played_clock_tells_utc_wherever_it_was_started():
    start = datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert str(PlayedClock(start).now()) == "2026-03-01 12:00:00+00:00"


def test_a_played_clock_refuses_a_naive_start():
    with pytest.raises(ValueError, match="naive"):
        PlayedClock(datetime(2026, 3, 1))  # noqa: DTZ001 - the mistake under test


async def test_sleepers_wake_in_order_each_at_its_own_moment():
    clock = PlayedClock(NOON)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    async with anyio.create_task_group() as tasks:
        for name, seconds in (("late", 30), ("early", 10), ("middle", 20), ("also early", 10)):
            tasks.start_soon(sleeper, name, seconds)
        await clock.advance(20)
        assert woken == [("early", 10.0), ("also early", 10.0), ("middle", 20.0)]
        assert clock.sleeping == 1
        await clock.advance(10)
    assert woken[-1] == ("late", 30.0)


async def test_one_advance_wakes_who_sleeps_again_and_again():
    clock = PlayedClock(NOON)
    woken = []

    async def restless() -> None:
        for _ in range(1000):
            await clock.sleep(0.1)
            woken.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restless)
        await clock.advance(100)
    assert woken == [turn / 10 for turn in range(1, 1001)]


async def test_a_jump_moves_the_wall_clock_alone():
    clock = PlayedClock(NOON)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10)
        await clock.advance(1)
        clock.jump(3600)
        clock.jump(-7200.5)
        await clock.advance(1)
        assert clock.sleeping == 1
        assert (clock.now(), clock.monotonic()) == (NOON + timedelta(seconds=2 - 3600.5), 2.0)
        await clock.advance(8)


async def test_time_does_not_go_back_by_advancing():
    with pytest.raises(ValueError, match="jump"):
        await PlayedClock().advance(-1)


async def test_a_cancelled_sleeper_is_forgotten():
    clock = PlayedClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 10)
        await clock.advance(1)
        tasks.cancel_scope.cancel()
    assert clock.sleeping == 0
    await clock.advance(60)


async def test_the_shortest_sleep_still_takes_time():
    clock = PlayedClock()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(clock.sleep, 1e-9)
        await clock.advance(0)
        assert clock.sleeping == 1
        await clock.advance(1)


async def test_the_woken_are_given_the_time_their_work_takes():
    async def breath() -> None:
        await anyio.sleep(0.02)

    clock = PlayedClock(settle=breath)
    done = []

    async def work() -> None:
        await clock.sleep(1)
        await anyio.to_thread.run_sync(lambda: None)
        done.append(clock.monotonic())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work)
        await clock.advance(5)
    assert done == [1.0]


def test_one_seed_plays_the_same_chance_and_another_another():
    def played(seed: int) -> tuple[float, bytes, float]:
        clock = PlayedClock(seed=seed)
        return clock.random(), clock.token_bytes(8), clock.random()

    assert played(1) == played(1)
    assert played(1) != played(2)
    assert len(played(3)[1]) == 8
