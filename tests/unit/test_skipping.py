"""The clock of long hours is looked at, too: one that skipped work would call every host in time."""

import time

import anyio
from support.skipping import SkippingClock


async def test_a_rest_takes_no_time_and_whoever_rests_wakes_in_order():
    clock, woken = SkippingClock(), []

    async def rest(seconds):
        await clock.sleep(seconds)
        woken.append((seconds, round(clock.monotonic() - begun)))

    begun, really = clock.monotonic(), time.monotonic()
    async with clock.running(), anyio.create_task_group() as group:
        for seconds in (7200, 60, 3600):
            group.start_soon(rest, seconds)
    assert woken == [(60, 60), (3600, 3600), (7200, 7200)]
    assert clock.skipped_s > 7199 - (time.monotonic() - really)


async def test_while_somebody_is_at_work_nothing_is_skipped():
    clock, late_s = SkippingClock(), []

    async def rest():
        planned = clock.monotonic() + 0.2
        await clock.sleep(0.2)
        late_s.append(clock.monotonic() - planned)

    async with clock.running(), anyio.create_task_group() as group:
        with clock.at_work():
            group.start_soon(rest)
            await anyio.sleep(0.01)
            time.sleep(0.5)  # noqa: ASYNC251  - work that keeps everybody waiting
            await anyio.sleep(0.01)
    assert clock.skipped_s == 0
    assert late_s[0] > 0.2
