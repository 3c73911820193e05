"""Schedules of five fields, as crontab and CronJobs write them, and the times they name. Pure.

A schedule names every minute that matches it on the clock of its zone: an hour that is skipped when
clocks go forward names nothing, one that comes twice names its minutes twice. Where both days of the
month and days of the week are restricted, one of the two is enough.
Source: https://en.wikipedia.org/wiki/Cron#CRON_expression
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
SHORT = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
LATEST = 253370764800.0  # the beginning of 9999, after which nothing can be told
LONGEST = 2.0**63 / 1e9  # seconds of a duration
DIGITS = 19  # of a number that may be one
YEARS = 5  # how far ahead a next time is looked for
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(?:(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h))")


class Unclear(ValueError):
    """Why a schedule or a time zone can't be understood, in the field's words."""


@dataclass(frozen=True)
class Schedule:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    both: bool  # a day has to match both ways, for one of them is unrestricted
    zone: tzinfo | None  # None: the zone of this machine
    every: float = 0.0  # seconds from one time to the next, whatever the clock says

    def next(self, after: float) -> float | None:
        """The first time after this moment (Unix seconds); None where there is none for years."""
        after = max(after, 0.0)
        if self.every:
            return float(int(after)) + self.every
        moment = float((int(after) // 60 + 1) * 60)
        if not (self.minutes and self.hours and self.months):
            return None
        last = min(after + YEARS * 366 * 86400, LATEST)
        while moment <= last:
            local = datetime.fromtimestamp(moment, self.zone)
            if local.second:  # of a zone that once was seconds off
                moment += 60 - local.second
            elif not self._is_day(local):
                moment = self._next_day(local, moment)
            elif local.hour not in self.hours:
                moment += 60 * (60 - local.minute)
            elif local.minute not in self.minutes:
                later = (m for m in self.minutes if m > local.minute)
                moment += 60 * (min(later, default=60) - local.minute)
            else:
                return moment
        return None

    def _is_day(self, local: datetime) -> bool:
        if local.month not in self.months:
            return False
        day = local.day in self.days
        weekday = local.isoweekday() % 7 in self.weekdays
        return day and weekday if self.both else day or weekday

    def _next_day(self, local: datetime, moment: float) -> float:
        date = local.date() + timedelta(days=1)
        while date.month not in self.months:
            date = (date.replace(day=1) + timedelta(days=31)).replace(day=1)
        start = datetime(date.year, date.month, date.day, tzinfo=self.zone).timestamp()
        return max(start, moment + 60)  # a day that begins twice must not hold us


def parse(text: str, zone: tzinfo | None = None) -> Schedule:
    """Raises Unclear."""
    if not text.strip():
        raise Unclear("empty spec string")
    if text.startswith("@every "):
        return _every(text)
    if text.startswith("@"):
        if text not in SHORT:
            raise Unclear(f"unrecognized descriptor: {text}")
        text = SHORT[text]
    words = text.split()
    if len(words) != 5:
        raise Unclear(f"expected exactly 5 fields, found {len(words)}: [{' '.join(words)}]")
    minutes, _ = _field(words[0], 0, 59)
    hours, _ = _field(words[1], 0, 23)
    days, any_day = _field(words[2], 1, 31)
    months, _ = _field(words[3], 1, 12, {name: n for n, name in enumerate(MONTHS, 1)})
    weekdays, any_weekday = _field(words[4], 0, 6, {name: n for n, name in enumerate(DAYS)})
    return Schedule(minutes, hours, days, months, weekdays, any_day or any_weekday, zone)


def zone_of(name: str) -> tzinfo:
    """Raises Unclear where there is no such zone."""
    try:
        if not name or name.lower() == "local":
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unclear(f"unknown time zone {name}") from None


def _every(text: str) -> Schedule:
    duration = text.removeprefix("@every ")
    parts = DURATION.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise Unclear(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if seconds >= LONGEST:
        raise Unclear(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    nothing: frozenset[int] = frozenset()
    return Schedule(
        nothing, nothing, nothing, nothing, nothing, True, None, max(float(int(seconds)), 1.0)
    )


def _field(
    text: str, least: int, most: int, names: Mapping[str, int] = {}
) -> tuple[frozenset[int], bool]:
    """The numbers, and whether they are unrestricted."""
    found: set[int] = set()
    unrestricted = False
    for part in filter(None, text.split(",")):
        numbers, star = _range(part, least, most, names)
        found.update(numbers)
        unrestricted |= star
    return frozenset(found), unrestricted


def _range(part: str, least: int, most: int, names: Mapping[str, int]) -> tuple[range, bool]:
    span, *steps = part.split("/")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:
        first, last = least, most
    else:
        first = _number(ends[0], names)
        last = first if len(ends) == 1 else _number(ends[1], names)
        if len(ends) > 2:
            raise Unclear(f"too many hyphens: {part}")
    step = 1
    if steps:
        if len(steps) > 1:
            raise Unclear(f"too many slashes: {part}")
        step = _number(steps[0], {})
        if len(ends) == 1:
            last = most
        star = star and step == 1
    if first < least:
        raise Unclear(f"beginning of range ({first}) below minimum ({least}): {part}")
    if last > most:
        raise Unclear(f"end of range ({last}) above maximum ({most}): {part}")
    if first > last:
        raise Unclear(f"beginning of range ({first}) beyond end of range ({last}): {part}")
    if step == 0:
        raise Unclear(f"step of range should be a positive number: {part}")
    return range(first, last + 1, step), star


def _number(text: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if re.fullmatch(r"[+-]?[0-9]+", text):
        if len(text) > DIGITS:
            raise Unclear(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": value out of range')  # fmt: skip
        if text.startswith("-"):
            raise Unclear(f"negative number ({int(text)}) not allowed: {text}")
        return int(text)
    raise Unclear(
        f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    )


# ---------------------------------------------------------------- what was missed


@dataclass(frozen=True)
class Missed:
    latest: float | None  # the last time that has come
    count: int  # how many have come, by the distance of the first two


def missed(schedule: Schedule, earliest: float, now: float) -> Missed:
    """The times after `earliest` that have come, without counting them one by one."""
    first = schedule.next(earliest)
    if first is None or now < first:
        return Missed(None, 0)
    second = schedule.next(first)
    if second is None or now < second:
        return Missed(first, 1)
    distance = int(second - first)
    count = int(now - first) // distance + 1
    latest = None
    moment = schedule.next(first + (count - 2) * distance)
    while moment is not None and moment <= now:
        latest, moment = moment, schedule.next(moment)
    if latest is None:  # the first two lie closer together than those that follow
        back = (schedule.next(now - ahead * 86400.0) for ahead in (1, 8, 32, 367))
        moment = next((one for one in back if one is not None and one <= now), None)
        while moment is not None and moment <= now:
            latest, moment = moment, schedule.next(moment)
    return Missed(latest, count)
