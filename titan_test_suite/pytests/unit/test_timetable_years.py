"""Cron over five years and six time zones, against a count of every minute that knows nothing of the real code.

The count has its own reading of cron expressions, and does at a change of the clock what Debian's daemon does: it
walks through real time minute by minute, and looks at a clock on the wall. A job at a fixed time is due when the
clock shows a minute for the first time; minutes that it has jumped over count as shown in the minute after. Any
other job is due whenever the clock shows a minute that matches.
"""

from __future__ import annotations

import calendar
import random
from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from titan_core.protocol.messages import Timing
from titan_core.timetable import Timetable, latest_at, timetable

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour is skipped, and repeated
    "Asia/Kathmandu",  # five hours and 45 minutes from UTC
    "Pacific/Apia",
    "UTC",
]

SPARSE = [
    "30 2 * * *",
    "0 2 * * *",
    "45 1 * * *",
    "15 1-3 * * *",
    "0,30 2 * * *",
    "0,15,30 1,2,3 * * SAT,SUN",
    "*/10 2 * * *",
    "59 23 28-31 * *",
    "0 0 29 2 *",
    "0 12 * * 1-5",
    "0 0 1,15 * 5",
    "0 0 */2 * 1",
    "30 1 * * SUN#2",
    "15 2 * 3,4,9-11 SUN",
    "0 3 L * *",
    "0 4 LW JAN-JUN *",
    "0 0 * * 5L",
    "* 2 L 3,10 *",
    "0 30 2 * * *",
    "0,20 0,30 1-2 * * SUN",
]
"""Compared over all five years."""

DENSE = ["* * * * *", "0 * * * *", "*/15 * * * *", "7-59/13 * * * *", "0-59/3 0-23 * * *", "*/30 */15 * * * *"]
"""Compared round each change of the clock, and on some other days."""

YEARS = (2026, 2031)
MINUTE = 60
DAY_MINUTES = 1440
SEED = 20261025


def seconds(year: int, month: int = 1, day: int = 1) -> int:
    return calendar.timegm((year, month, day, 0, 0, 0))


# ── the count ─────────────────────────────────────────────────────────────────────────────────────

NAMES = {
    name: number
    for names, first in (("SUN MON TUE WED THU FRI SAT", 0), ("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", 1))
    for number, name in enumerate(names.split(), first)
}


def numbers(field: str, lowest: int, highest: int) -> set[int]:
    """The plain numbers among what a field allows."""
    found: set[int] = set()
    for term in field.split(","):
        body, _, step = term.partition("/")
        low, _, high = body.partition("-")
        if body == "*":
            low, high = str(lowest), str(highest)
        if low in NAMES or low.isdigit():
            begin = NAMES.get(low) if low in NAMES else int(low)
            end = int(NAMES.get(high, high)) if high else (highest if step else begin)
            found.update(range(begin, end + 1, int(step or 1)))
    return found


def is_day_of_month(field: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    working = [n for n in range(last - 3, last + 1) if date(day.year, day.month, n).weekday() < 5]
    return (
        day.day in numbers(field, 1, 31)
        or ("L" in field.split(",") and day.day == last)
        or ("LW" in field.split(",") and day.day == working[-1])
    )


def is_weekday(field: str, day: date) -> bool:
    weekday = (day.weekday() + 1) % 7
    plain = ",".join(term for term in field.split(",") if "#" not in term and not term.endswith("L"))
    if weekday in {number % 7 for number in numbers(plain, 0, 6)}:
        return True
    for term in field.split(","):
        name, _, which = term.partition("#")
        if which and numbers(name, 0, 7) == {weekday}:
            return (day.day - 1) // 7 + 1 == int(which)
        if term.endswith("L") and int(term[:-1]) % 7 == weekday:
            return (day + timedelta(days=7)).month != day.month
    return False


def is_day(fields: list[str], day: date) -> bool:
    of_month, month, of_week = fields[-3:]
    if day.month not in numbers(month, 1, 12):
        return False
    both = [is_day_of_month(of_month, day), is_weekday(of_week, day)]
    return all(both) if of_month.startswith("*") or of_week.startswith("*") else any(both)


@lru_cache(maxsize=4)
def shown_minutes(expression: str, years: tuple[int, int]) -> bytes:
    """A 1 for each minute, as a clock may show it, that the expression means; a day more at both ends of the years.

    As if no clock were ever changed, so it is the same for all zones.
    """
    fields = expression.split()
    minutes, hours = numbers(fields[-5], 0, 59), numbers(fields[-4], 0, 23)
    on = bytes(hour in hours and minute in minutes for hour in range(24) for minute in range(60))
    off, day, days = bytes(DAY_MINUTES), date(years[0], 1, 1) - timedelta(days=1), []
    while day <= date(years[1], 1, 1):
        days.append(on if is_day(fields, day) else off)
        day += timedelta(days=1)
    return b"".join(days)


@cache
def segments(zone: str, years: tuple[int, int]) -> list[tuple[int, int]]:
    """(minute, offset): from which minute on the zone is ahead of UTC by how many minutes.

    Looked at every hour, and every minute of an hour at whose end it is different.
    """
    found: list[tuple[int, int]] = []
    tz = ZoneInfo(zone)

    def offset(minute: int) -> int:
        ahead = datetime.fromtimestamp(minute * MINUTE, tz).utcoffset()
        assert ahead is not None
        return int(ahead.total_seconds()) // MINUTE

    first, last = seconds(years[0]) // MINUTE, seconds(years[1]) // MINUTE
    for hour in range(first, last, 60):
        if not found:
            found.append((hour, offset(hour)))
        if offset(hour + 60) != found[-1][1]:
            minute = next(m for m in range(hour, hour + 61) if offset(m) != found[-1][1])
            found.append((minute, offset(minute)))
    return found


def counted(expression: str, zone: str, begin: int, end: int, years: tuple[int, int] = YEARS) -> list[int]:
    """All slots in [begin, end), which lie in those years; no change of the clock is near `begin`."""
    fields = expression.split()
    fixed = len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*")
    of_minute = sorted(numbers(fields[0], 0, 59)) if len(fields) == 6 else [0]
    shown = shown_minutes(expression, years)
    zero = seconds(years[0]) // MINUTE - DAY_MINUTES
    found: list[int] = []
    seen = 0  # how far the clock has come, as an index into `shown`
    for (since, ahead), (until, _) in pairwise([*segments(zone, years), (seconds(years[1]) // MINUTE, 0)]):
        first, last = max(since, begin // MINUTE), min(until, end // MINUTE)
        if first >= last:
            continue
        index = first + ahead - zero
        walked = bytearray(shown[index : index + last - first])
        if fixed and seen:
            walked[: max(0, seen - index)] = bytes(max(0, seen - index))  # shown before
            walked[0] |= any(shown[seen:index])  # jumped over
        seen = index + last - first
        at = walked.find(1)
        while at >= 0:
            found.extend((first + at) * MINUTE + second for second in of_minute)
            at = walked.find(1, at + 1)
    return found


@cache
def of_all_years(expression: str, zone: str) -> list[int]:
    return counted(expression, zone, seconds(YEARS[0]), seconds(YEARS[1]))


def changes(zone: str) -> list[int]:
    return [minute * MINUTE for minute, _ in segments(zone, YEARS)[1:]]


# ── against it ────────────────────────────────────────────────────────────────────────────────────


def table(expression: str, zone: str) -> Timetable:
    return timetable(Timing(cron=expression, timezone=zone, seconds=len(expression.split()) == 6))


def chained(slots: Timetable, wall: float, until: float) -> list[int]:
    """By asking for one after the other, as the master does."""
    found: list[int] = []
    slot = slots.after(wall)
    while slot is not None and slot <= until:
        found.append(slot)
        slot = slots.after(slot)
    return found


def part(expected: list[int], after: float, until: float) -> list[int]:
    return expected[bisect_right(expected, after) : bisect_right(expected, until)]


def windows(zone: str, days: int) -> list[tuple[int, int]]:
    """So many days on both sides of each change, and of two days that are like others."""
    middles = [*changes(zone), seconds(2027, 7, 14), seconds(2028, 2, 29)]
    return [(middle - days * 86400, middle + days * 86400) for middle in middles]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", SPARSE)
def test_five_years_none_lost_and_none_twice(expression: str, zone: str) -> None:
    begin, end = seconds(YEARS[0]), seconds(YEARS[1])
    expected, slots = of_all_years(expression, zone), table(expression, zone)
    assert expected
    assert list(slots.between(begin - 1, end - 1)) == expected
    for low, high in windows(zone, 3) if len(expected) > 500 else [(begin - 1, end - 1)]:
        assert chained(slots, low, high) == part(expected, low, high)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", DENSE)
def test_what_is_due_often_round_each_change(expression: str, zone: str) -> None:
    slots = table(expression, zone)
    for low, high in windows(zone, 1):
        expected = counted(expression, zone, low, high)
        assert list(slots.between(low - 1, high - 1)) == expected
        middle = (low + high) // 2
        near = middle - 7200, middle + 7200
        assert chained(slots, *near) == part(expected, *near)


def moments(zone: str, chance: random.Random) -> list[float]:
    """Any in the years but the last; near a change; exactly on one."""
    begin, end = seconds(YEARS[0]), seconds(YEARS[1] - 1)
    everywhere = [chance.uniform(begin, end) for _ in range(15)]
    before_end = [change for change in changes(zone) if change < end]
    near = [change + chance.uniform(-10_800, 10_800) for change in before_end]
    exactly = [float(change + chance.choice([-3600, -1, 0, 1, 1800, 3600])) for change in before_end]
    return everywhere + near + exactly


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", SPARSE)
def test_from_any_instant(expression: str, zone: str) -> None:
    print("seed", SEED)
    chance = random.Random(f"{SEED} {expression} {zone}")
    expected, slots = of_all_years(expression, zone), table(expression, zone)
    for wall in moments(zone, chance):
        index = bisect_right(expected, wall)
        assert index == len(expected) or slots.after(wall) == expected[index], wall
        count, since = chance.choice([1, 2, 7, 40]), max(wall - 10 ** chance.uniform(0, 8), seconds(YEARS[0]))
        assert latest_at(slots, wall, count, since) == part(expected, since, wall)[-count:], (wall, count, since)
        until = wall + 10 ** chance.uniform(0, 6)
        assert list(slots.between(wall, until)) == part(expected, wall, until), (wall, until)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", DENSE)
def test_the_newest_of_many(expression: str, zone: str) -> None:
    print("seed", SEED)
    chance, slots = random.Random(f"{SEED} {expression} {zone}"), table(expression, zone)
    for low, high in windows(zone, 5)[::3]:
        expected = counted(expression, zone, low, high)
        wall, count = chance.uniform((low + high) / 2, high), chance.choice([1, 5, 100])
        assert latest_at(slots, wall, count, 0.0) == part(expected, low, wall)[-count:], (wall, count)


@pytest.mark.parametrize(
    ("zone", "year"),
    [
        ("Pacific/Apia", 2011),  # the 30th of December was left out
        ("Asia/Pyongyang", 2015),  # half an hour was repeated, for good
        ("Asia/Pyongyang", 2018),  # and given back
        ("Africa/Casablanca", 2027),  # back for the month of Ramadan
        ("Asia/Gaza", 2040),  # two changes in a week
        ("Antarctica/Troll", 2026),  # two hours
        ("Africa/Cairo", 2026),  # at midnight
        ("America/Caracas", 2016),
        ("America/Boa_Vista", 2000),  # a week of summer time
    ],
)
def test_odd_years_of_other_zones(zone: str, year: int) -> None:
    years = (year, year + 1)
    begin, end = seconds(year), seconds(year + 1)
    for expression in [
        "0 0 * * *",
        "30 2 * * *",
        "0,15,45 0-3 * * *",
        "*/15 */2 * * *",
        "20 */5 * * *",
        "* 12 30 * *",
    ]:
        expected, slots = counted(expression, zone, begin, end, years), table(expression, zone)
        assert list(slots.between(begin - 1, end - 1)) == expected, expression
        for minute, _ in segments(zone, years)[1:]:
            near = minute * MINUTE - 7200, minute * MINUTE + 7200
            assert chained(slots, *near) == part(expected, *near), expression


def test_the_count_itself() -> None:
    """What everybody knows about the two nights in Berlin; so the count and the code are not wrong alike."""

    def berlin(expression: str, month: int, day: int) -> list[str]:
        low = seconds(2026, month, day) - 7200
        found = part(of_all_years(expression, "Europe/Berlin"), low - 1, low + 86399)
        return [datetime.fromtimestamp(slot, UTC).strftime("%d %H:%M") for slot in found]

    assert berlin("30 2 * * *", 3, 29) == ["29 01:00"]
    assert berlin("30 2 * * *", 10, 25) == ["25 00:30"]
    assert berlin("0 30 2 * * *", 3, 29) == []
    assert berlin("0 30 2 * * *", 10, 25) == ["25 00:30", "25 01:30"]
    assert berlin("*/30 2 * * *", 10, 25) == ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]
    assert berlin("15 1-3 * * *", 3, 29) == ["29 00:15", "29 01:00", "29 01:15"]
    assert len(berlin("0 * * * *", 10, 25)) == 24 and len(of_all_years("0 * * * *", "Europe/Berlin")) == 24 * 1826


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "Asia/Gaza"])
def test_no_changes_of_a_clock_are_too_close_for_the_search(zone: str) -> None:
    """The search looks every two days; here every hour, for fifty years."""
    tz = ZoneInfo(zone)
    offsets = [datetime.fromtimestamp(at, tz).utcoffset() for at in range(seconds(2000), seconds(2050), 3600)]
    at = [index for index, (before, after) in enumerate(pairwise(offsets)) if before != after]
    assert at and min(after - before for before, after in pairwise(at)) > 48


def test_years_without_a_master_are_not_counted() -> None:
    """Ten years of every second: enumerating them would take half an hour."""
    slots = timetable(Timing(cron="* * * * * *", seconds=True))
    now = seconds(2036)
    assert latest_at(slots, now, 3, seconds(2026)) == [now - 2, now - 1, now]
    rare = timetable(Timing(cron="* * * 29 2 *", seconds=True))
    assert latest_at(rare, seconds(2027), 2, 0.0) == [seconds(2024, 3) - 2, seconds(2024, 3) - 1]
