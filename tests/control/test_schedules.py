"""Schedules: what they name, in every zone, against a clock that is walked minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jindou.objects.schedules import Unclear, missed, parse, zone_of

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


def at(text: str, zone: ZoneInfo | None = None) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


def shown(moment: float | None, zone: ZoneInfo | None = None) -> str:
    assert moment is not None
    return datetime.fromtimestamp(moment, zone or UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("text", "after", "then"),
    [
        ("* * * * *", "2026-01-01 10:00", "2026-01-01 10:01"),
        ("*/15 * * * *", "2026-01-01 10:46", "2026-01-01 11:00"),
        ("5-20/5,50 3 * * *", "2026-01-01 03:20", "2026-01-01 03:50"),
        ("10/20 * * * *", "2026-01-01 10:31", "2026-01-01 10:50"),
        ("0 12 * jan-mar MON", "2026-03-30 12:00", "2027-01-04 12:00"),
        ("0 0 13 * fri", "2026-01-02 00:00", "2026-01-09 00:00"),
        ("0 0 13 * ?", "2026-01-02 00:00", "2026-01-13 00:00"),
        ("0 0 29 2 *", "2026-03-01 00:00", "2028-02-29 00:00"),
        ("@hourly", "2026-01-01 10:00", "2026-01-01 11:00"),
        ("@weekly", "2026-01-01 10:00", "2026-01-04 00:00"),
        ("@yearly", "2026-01-01 00:00", "2027-01-01 00:00"),
        ("@every 1h30m", "2026-01-01 10:00", "2026-01-01 11:30"),
        ("59 23 31 12 *", "2026-12-31 23:59", "2027-12-31 23:59"),
    ],
)
def test_the_next_time(text: str, after: str, then: str) -> None:
    assert shown(parse(text, UTC).next(at(after))) == then


def test_a_day_that_never_comes() -> None:
    assert parse("0 0 31 2 *", UTC).next(at("2026-01-01 00:00")) is None


def test_an_hour_that_is_skipped_names_nothing_and_one_that_comes_twice_names_it_twice() -> None:
    nightly = parse("30 2 * * *", BERLIN)
    spring = nightly.next(at("2026-03-28 12:00", BERLIN))
    assert shown(spring, BERLIN) == "2026-03-30 02:30"
    first = nightly.next(at("2026-10-24 12:00", BERLIN))
    assert first is not None
    second = nightly.next(first)
    assert second == first + 3600
    assert shown(first, BERLIN) == shown(second, BERLIN) == "2026-10-25 02:30"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
    ],
)
def test_what_is_no_schedule_is_said_in_the_words_of_the_field(text: str, says: str) -> None:
    with pytest.raises(Unclear) as error:
        parse(text)
    assert str(error.value) == says


@pytest.mark.parametrize("name", ["", "Local", "Mars/Olympus", "../../etc/passwd"])
def test_what_is_no_zone(name: str) -> None:
    with pytest.raises(Unclear, match="unknown time zone"):
        zone_of(name)


def fields(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = st.integers(1, most).map(lambda n: f"*/{n}")
    one = st.one_of(number.map(str), span, step)
    return st.one_of(st.just("*"), st.lists(one, min_size=1, max_size=3).map(",".join))


SCHEDULES = st.tuples(
    fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 6)
).map(" ".join)  # fmt: skip
ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")]
)
MOMENTS = st.integers(int(at("2025-01-01 00:00")), int(at("2027-01-01 00:00")))


def matches(text: str, local: datetime) -> bool:
    """Said another way: each number of a field asked for by itself."""

    def within(field: str, value: int, least: int) -> bool:
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = span.partition("-")
            if span == "*":
                if (value - least) % int(step or 1) == 0:
                    return True
            elif int(first) <= value <= int(last or first):
                return True
        return False

    minute, hour, day, month, weekday = text.split()
    days = within(day, local.day, 1), within(weekday, local.isoweekday() % 7, 0)
    free = any(part in ("*", "*/1") for field in (day, weekday) for part in field.split(","))
    return (
        within(minute, local.minute, 0)
        and within(hour, local.hour, 0)
        and within(month, local.month, 1)
        and (all(days) if free else any(days))
    )


@settings(max_examples=150, deadline=None)
@given(SCHEDULES, ZONES, MOMENTS)
def test_the_next_time_matches_and_none_lies_before_it(
    text: str, zone: ZoneInfo, after: int
) -> None:
    found = parse(text, zone).next(after)
    if found is None:
        return
    assert found > after
    assert matches(text, datetime.fromtimestamp(found, zone))
    moment = datetime.fromtimestamp(after // 60 * 60 + 60, UTC)
    for _ in range(1500):
        if moment.timestamp() >= found:
            break
        assert not matches(text, moment.astimezone(zone))
        moment += timedelta(minutes=1)


@settings(max_examples=100, deadline=None)
@given(SCHEDULES, MOMENTS, st.integers(0, 3 * 86400))
def test_what_was_missed_is_found_without_counting(text: str, earliest: int, waited: int) -> None:
    schedule, now = parse(text, UTC), float(earliest + waited)
    latest, moment = None, schedule.next(earliest)
    while moment is not None and moment <= now:
        latest, moment = moment, schedule.next(moment)
    found = missed(schedule, float(earliest), now)
    assert found.latest == latest
    assert (found.count == 0) == (latest is None)
