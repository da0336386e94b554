"""The host's own few jobs, each when it is due: `schedule` counts in UTC here, and the loop wakes often enough.

What is due for a connection lives in the database; this only says when to look.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, cast

import anyio
import schedule

from soulwatch.host.clock import Clock
from soulwatch.host.cron import Recurrence, parse_schedule

SLICE_SECONDS = 15.0
"""The longest sleep: monotonic time stands still while a machine is suspended, so wall time is looked at this often."""

logger = logging.getLogger("soulwatch.ticker")


class UtcJob(schedule.Job):
    """A job of `schedule` whose times are aware, UTC and the clock's.

    The library's own are naive and local: where the clock goes back an hour, it waits that hour longer.
    """

    def __init__(self, interval: float, scheduler: UtcScheduler) -> None:
        super().__init__(cast("int", interval), scheduler)
        self.clock = scheduler.clock
        self.tz = scheduler.tz
        self.recurrence: Recurrence | None = None

    @property
    def should_run(self) -> bool:
        """Whether it is due."""
        return self.next_run is not None and self.clock.now() >= self.next_run

    def run(self) -> Any:
        """Do it once, however many turns were missed, and find the next turn."""
        answer = self.job_func() if self.job_func else None
        self.last_run = self.clock.now()
        self._schedule_next_run()
        return answer

    def move_back(self, by: timedelta) -> None:
        """Keep pace with a wall clock that was set back."""
        if self.recurrence is None and self.next_run is not None:
            self.next_run -= by
        else:
            self._schedule_next_run()

    def _schedule_next_run(self) -> None:
        now = self.clock.now()
        if self.recurrence is not None:
            self.next_run = self.recurrence.next(now, tz=self.tz)
            return
        period = self._period()
        due = self.next_run or now
        self.next_run = due + max((now - due) // period + 1, 0) * period

    def _period(self) -> timedelta:
        if self.at_time or self.start_day or self.latest or self.cancel_after:
            raise schedule.ScheduleError("at(), to(), until() and weekdays count in local time; use cron() instead")
        if self.unit is None:
            raise schedule.ScheduleError(f"every({self.interval}) of what? Say so: every({self.interval}).seconds")
        return timedelta(**{self.unit: self.interval})


class UtcScheduler(schedule.Scheduler):
    """The scheduler of `schedule`, counting in UTC by a clock that is handed in, with cron expressions in `tz`."""

    def __init__(self, clock: Clock, *, tz: tzinfo = UTC) -> None:
        super().__init__()
        self.clock = clock
        self.tz = tz
        self._ahead = self._wall_ahead()

    def every(self, interval: float = 1) -> UtcJob:
        """A new job, still without unit and task: `every(5).minutes.do(look)`."""
        return UtcJob(interval, self)

    def cron(self, expression: str) -> UtcJob:
        """A new job, still without task: `cron("*/30 * * * *").do(look)`.

        Raises:
            ValueError: the expression cannot be read.
        """
        job = UtcJob(1, self)
        job.recurrence = parse_schedule(expression)
        return job

    @property
    def idle_seconds(self) -> float | None:
        """Seconds until the next job is due, less than 0 if one is overdue; None if there is none."""
        due = self.get_next_run()
        return None if due is None else (due - self.clock.now()).total_seconds()

    def notice_jump(self) -> None:
        """Look whether the wall clock was set back further than a slice, and then move every job back with it.

        Smaller steps are waited out, so that a clock being corrected does not make a turn come twice.
        """
        ahead = self._wall_ahead()
        back = self._ahead - ahead
        if timedelta(0) < back <= timedelta(seconds=SLICE_SECONDS):
            return
        self._ahead = ahead
        if back > timedelta(0):
            for job in cast("list[UtcJob]", self.get_jobs()):
                job.move_back(back)

    def _wall_ahead(self) -> timedelta:
        return (self.clock.now() - datetime.fromtimestamp(0, UTC)) - timedelta(seconds=self.clock.monotonic())


@dataclass(eq=False)
class _Duty:
    name: str
    job: Callable[[], Awaitable[None]]
    is_running: bool = False
    last_success: datetime | None = None


class Ticker:
    """Runs jobs when they are due, side by side, until it is cancelled.

    Turns missed while the machine slept or the wall clock jumped come as one. A turn that comes while the job is still
    at work is let pass. A job that fails is logged, unless `is_told` knows it, and has its next turn all the same.
    """

    def __init__(
        self, clock: Clock, *, tz: tzinfo = UTC, is_told: Callable[[BaseException], bool] = lambda _: False
    ) -> None:
        self._clock = clock
        self._is_told = is_told
        self._scheduler = UtcScheduler(clock, tz=tz)
        self._duties: dict[str, _Duty] = {}
        self._due: list[_Duty] = []

    def every(self, seconds: float, job: Callable[[], Awaitable[None]], name: str, *, at_once: bool = False) -> None:
        """Do the job every so many seconds from now on, the first time after one interval or else at once.

        Raises:
            ValueError: the interval is no interval, or the name is taken.
        """
        if not seconds > 0:
            raise ValueError(f'job "{name}" cannot run every {seconds} seconds; give a number above 0')
        task = self._scheduler.every(seconds).seconds.do(self._put_forward, self._duty(name, job))
        if at_once:
            task.next_run = self._clock.now()

    def cron(self, expression: str, job: Callable[[], Awaitable[None]], name: str) -> None:
        """Do the job whenever the cron expression says so, in the zone of this ticker.

        Raises:
            ValueError: the expression cannot be read, or the name is taken.
        """
        task = self._scheduler.cron(expression)
        task.do(self._put_forward, self._duty(name, job))

    async def run(self) -> None:
        """Start what is due, sleep, look again. Cancelling it cancels the jobs at work; it may be run again then."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._scheduler.notice_jump()
                self._scheduler.run_pending()
                while self._due:
                    duty = self._due.pop(0)
                    tasks.start_soon(self._do, duty, name=f"ticker: {duty.name}")
                idle = self._scheduler.idle_seconds
                await self._clock.sleep(SLICE_SECONDS if idle is None else min(idle, SLICE_SECONDS))

    def heartbeats(self) -> dict[str, datetime | None]:
        """When each job last ended well, by its name; None for one that has not yet."""
        return {duty.name: duty.last_success for duty in self._duties.values()}

    def _duty(self, name: str, job: Callable[[], Awaitable[None]]) -> _Duty:
        if name in self._duties:
            raise ValueError(f'there is a job "{name}" already; give this one a name of its own')
        duty = self._duties[name] = _Duty(name, job)
        return duty

    def _put_forward(self, duty: _Duty) -> None:
        if duty.is_running:
            logger.debug("job %s is still at work, its turn passes", duty.name)
            return
        duty.is_running = True
        self._due.append(duty)

    async def _do(self, duty: _Duty) -> None:
        try:
            await duty.job()
        except (Exception, anyio.get_cancelled_exc_class()) as trouble:
            # A job may hand on the cancellation of something it awaited; in a task group that would end every job.
            if not isinstance(trouble, Exception) and anyio.get_current_task().has_pending_cancellation():
                raise
            log = logger.debug if self._is_told(trouble) else logger.exception
            log("job %s failed, its next turn comes all the same", duty.name, extra={"job": duty.name})
        else:
            duty.last_success = self._clock.now()
        finally:
            duty.is_running = False
