"""What a schedule means: when an interval or a cron expression comes round next, in any time zone."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol

from soulwatch.endpoint import Schedule

__all__ = ["CronExpression", "Interval", "Recurrence", "Schedule", "parse_schedule", "phase_of"]

ALIASES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")
SHORTEST_INTERVAL = timedelta(seconds=1)
LONGEST_INTERVAL = timedelta(days=366)
LONGEST_CHARACTERS = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_REMEDY = (
    f'write five cron fields ({" ".join(FIELDS)}) such as "*/30 * * * *", one of {", ".join(ALIASES)}, '
    'or an interval such as "30s", "5m", "2h" or "1d"'
)


class Recurrence(Protocol):
    """Something that comes round again and again."""

    def next(self, after: datetime, *, phase: float = 0.0, tz: tzinfo = UTC) -> datetime:
        """The first time later than `after`, in UTC.

        Args:
            after: an aware datetime.
            phase: a steady place within the interval, in [0, 1); it keeps many from all being due at once.
            tz: the zone a cron expression is read in.

        Raises:
            ValueError: `after` is naive or `phase` out of range.
        """
        ...

    def describe(self) -> str:
        """For people: "every 5 minutes", or the cron expression as it was written."""
        ...


def phase_of(*parts: str) -> float:
    """A place in [0, 1) that depends on the parts alone: the same in every process, on every host, in every version."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return (int.from_bytes(digest.digest()[:8], "big") >> 11) / 2**53


@dataclass(frozen=True)
class Interval:
    """Every so often, counted from 1970-01-01T00:00Z, so that all hosts agree and no restart shifts it."""

    period: timedelta

    def __post_init__(self) -> None:
        if self.period <= timedelta(0):
            raise ValueError(f"an interval must be longer than nothing, and {self.period} is not")

    def next(self, after: datetime, *, phase: float = 0.0, tz: tzinfo = UTC) -> datetime:  # noqa: ARG002 - no zone in it
        """The first k * period + phase * period later than `after`, to the microsecond."""
        _check(after, phase)
        period = self.period // _MICROSECOND
        offset = round(phase * period) % period
        elapsed = (after - _EPOCH) // _MICROSECOND
        return _EPOCH + (((elapsed - offset) // period + 1) * period + offset) * _MICROSECOND

    def describe(self) -> str:
        """Such as "every 5 minutes", "every hour", "every 90 seconds": the largest unit that counts it whole."""
        for unit in ("days", "hours", "minutes"):
            count, rest = divmod(self.period, timedelta(**{unit: 1}))
            if not rest:
                return f"every {unit[:-1]}" if count == 1 else f"every {count} {unit}"
        seconds = self.period.total_seconds()
        return "every second" if seconds == 1 else f"every {seconds:g} seconds"


@dataclass(frozen=True)
class CronExpression:
    """Five cron fields as Debian's cron reads them.

    Where minute or hour starts with a star it follows the hands of the clock: an hour that is skipped is left out, one
    that comes twice counts twice. Otherwise it names times of day, each of them once a day: a skipped one comes as soon
    as the clock has moved on, a repeated one the first time round.
    """

    text: str
    fields: str

    def next(self, after: datetime, *, phase: float = 0.0, tz: tzinfo = UTC) -> datetime:
        """The first time later than `after`: a fire of the expression plus `phase` of the gap to the following one."""
        _check(after, phase)
        after = after.astimezone(UTC)
        if not phase:
            return self._fire_after(after, tz)
        fire = self._recent_fire(after, tz) or self._fire_after(after, tz)
        while True:
            following = self._fire_after(fire, tz)
            due = fire + phase * (following - fire)
            if due > after:
                return due
            fire = following

    def describe(self) -> str:
        """The expression as it was written."""
        return self.text

    def _fire_after(self, moment: datetime, tz: tzinfo) -> datetime:
        # Fires lie on whole seconds, so what is later than the second is later than the moment within it.
        moment = moment.replace(microsecond=0)
        minute, hour, *_ = self.fields.split()
        if minute.startswith("*") or hour.startswith("*"):
            return self._fire_by_the_hands(moment, tz)
        return self._fire_by_name(moment, tz)

    def _fire_by_name(self, moment: datetime, tz: tzinfo) -> datetime:
        fire = moment
        wall = _wall(moment, tz)
        while fire <= moment:
            wall = self._wall_fire(wall)
            fire = _instant(wall, tz)
        return fire

    def _fire_by_the_hands(self, moment: datetime, tz: tzinfo) -> datetime:
        wall = _wall(moment, tz)
        while True:
            fire = moment + (self._wall_fire(wall) - _wall(moment, tz))
            change = _clock_change(moment, fire, tz)
            if change is None:
                return fire
            # Look again from the change on, with the new offset; the moment of the change may itself be a fire.
            moment, wall = change, _wall(change, tz) - _SECOND

    def _wall_fire(self, wall: datetime) -> datetime:
        # cronsim only ever sees a naive clock: on an aware one its steps pass over fires where the zone shifts by
        # half an hour (Lord Howe), and what it gives depends on where it started.
        from cronsim import CronSim  # noqa: PLC0415 - settings and plugins are read without it

        found = next(CronSim(self.fields, wall), None)
        if found is None:
            raise ValueError(f'schedule "{self.text}" has no fire within 50 years of {wall}; {_REMEDY}')
        return found

    def _recent_fire(self, moment: datetime, tz: tzinfo) -> datetime | None:
        from cronsim import CronSim  # noqa: PLC0415 - as above

        for wall in CronSim(self.fields, _wall(moment, tz), reverse=True):
            fire = self._fire_after(_instant(wall, tz) - _SECOND, tz)
            if fire <= moment:
                return fire
        return None


def parse_schedule(schedule: str | timedelta) -> Recurrence:
    """Read a schedule: five cron fields, an alias such as `@daily`, "30s" "5m" "2h" "1d", or a timedelta.

    Raises:
        ValueError: it says what is wrong, in which field, and what to write instead.
    """
    if isinstance(schedule, timedelta):
        return _interval(schedule, repr(schedule))
    if not isinstance(schedule, str):
        raise ValueError(f"schedule {schedule!r} is neither text nor a timedelta; {_REMEDY}")  # noqa: TRY004 - one error to catch
    if len(schedule) > LONGEST_CHARACTERS:
        raise ValueError(f'schedule "{schedule[:40]}..." has more than {LONGEST_CHARACTERS} characters; {_REMEDY}')
    text = " ".join(schedule.split())
    if interval := re.fullmatch(r"([0-9]{1,8}) ?([smhd])", text.lower()):
        return _interval(timedelta(**{_UNITS[interval[2]]: int(interval[1])}), f'"{text}"')
    return _cron(text)


def _interval(period: timedelta, said: str) -> Interval:
    if not SHORTEST_INTERVAL <= period <= LONGEST_INTERVAL:
        raise ValueError(f"schedule {said} is out of range; write an interval from one second to 366 days")
    return Interval(period)


def _cron(text: str) -> CronExpression:
    from cronsim import CronSimError  # noqa: PLC0415 - settings and plugins are read without it

    fields = ALIASES.get(text.lower(), text)
    count = len(fields.split())
    if count == len(FIELDS) + 1:
        # cronsim would read the first of six as seconds, and a poll would come sixty times as often as was meant.
        shorter = fields.split(maxsplit=1)[1]
        raise ValueError(f'schedule "{text}" has six fields, and seconds are not among them; write "{shorter}"')
    if count != len(FIELDS):
        raise ValueError(f'schedule "{text}" has {count} field{"s" * (count != 1)}; {_REMEDY}')
    expression = CronExpression(text, fields)
    try:
        expression.next(_EPOCH)
    except (CronSimError, AssertionError) as refusal:
        raise ValueError(f'schedule "{text}": {_blame(str(refusal), fields)}; {_REMEDY}') from None
    return expression


def _blame(refusal: str, fields: str) -> str:
    for name, said in zip(FIELDS, fields.split(), strict=True):
        if refusal == f"Bad {name}":
            return f'the {name} field "{said}" is not possible'
    return "it cannot be read"


def _check(after: datetime, phase: float) -> None:
    if after.utcoffset() is None:
        raise ValueError(f"next() was asked after the naive {after!r}; pass an aware datetime")
    if not 0 <= phase < 1:
        raise ValueError(f"next() was asked for phase {phase!r}; pass one from 0 up to, not including, 1")


def _wall(moment: datetime, tz: tzinfo) -> datetime:
    return moment.astimezone(tz).replace(tzinfo=None)


def _instant(wall: datetime, tz: tzinfo) -> datetime:
    """When the clock on the wall shows this: the first time where it does twice, the change where it never does."""
    early, late = (wall.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1))
    if early <= late:
        return early
    return _clock_change(late, early, tz) or early


def _clock_change(start: datetime, end: datetime, tz: tzinfo) -> datetime | None:
    """The first second in (start, end] with another UTC offset than `start`; two changes within a day may hide."""
    offset = start.astimezone(tz).utcoffset()
    while start < end:
        probe = min(start + _DAY, end)
        if probe.astimezone(tz).utcoffset() != offset:
            return _bisect_change(start, probe, tz)
        start = probe
    return None


def _bisect_change(before: datetime, changed: datetime, tz: tzinfo) -> datetime:
    offset = before.astimezone(tz).utcoffset()
    while changed - before > _SECOND:
        middle = before + (changed - before) // _SECOND // 2 * _SECOND
        if middle.astimezone(tz).utcoffset() == offset:
            before = middle
        else:
            changed = middle
    return changed
