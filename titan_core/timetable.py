"""When a schedule is due: cron expressions, intervals and single instants, in any time zone.

Nothing here looks at a clock; who asks says what time it is. A *slot* is an instant at which a schedule is due,
in whole seconds since 1970.

Where clocks are changed, cron does as Debian's: a job at a fixed time runs once that day, even if the time is skipped
(then right after the gap) or comes twice (then the first time); anything else follows real time. A fixed time is one
of five fields of which neither the minute nor the hour begins with `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from itertools import islice
from math import floor
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import MAX_DELAY_S, check_range, shown
from titan_core.protocol.messages import Timing

MAX_CRON = 200
"""Characters of a cron expression."""
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_HORIZON = 253_370_764_800
"""The beginning of the year 9999, after which nothing is due: later instants overflow in some time zone."""
_STEP_S = 2 * 86400
"""Shorter than any two changes of a clock are apart; the shortest on record are seven days."""
_EPOCH = datetime(1970, 1, 1)

_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"
_ISO = re.compile(rf"(\d{{4}})-\d\d-\d\d(?:[T ]{_TIME}(?::[0-5]\d)?(?:Z|[+-]{_TIME})?)?", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,2}")
_NO_ZONES = ("posix/", "right/", "localtime", "posixrules")
"""What lies beside the zones on some machines: copies, zones with leap seconds, the machine's own."""
_NOT_IN_CRON = re.compile(r"[^\t\x20-\x7e]")
_FIELDS = {
    "second": ("second", "from 0 to 59", 60),
    "minute": ("minute", "from 0 to 59", 60),
    "hour": ("hour", "from 0 to 23", 24),
    "day-of-month": ("day of the month", "from 1 to 31, L (the last) or LW (the last from Monday to Friday)", 31),
    "month": ("month", "from 1 to 12, or JAN to DEC", 12),
    "day-of-week": ("day of the week", "from 0 to 7 (both Sunday), SUN to SAT, MON#2 (the second) or 1L", 7),
}
"""By what cronsim calls them, in the order of an expression: a name, what is allowed, the longest step."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """All slots of a schedule; none of them is before `first`, none after `last`."""

    first: int
    last: int

    def after(self, wall: float) -> int | None:
        """The first slot later than `wall`; None when there is none any more."""
        return next(self.between(wall, self.last), None)

    def between(self, after_wall: float, until_wall: float) -> Iterator[int]:
        """The slots later than `after_wall`, up to and with `until_wall`, ascending; each is found when asked for."""
        low, high = max(after_wall, self.first - 1), min(until_wall, self.last)
        return self._slots(floor(low), floor(high)) if low < high else iter(())

    def newest(self, after_wall: float, until_wall: float, count: int) -> list[int]:
        """Of the slots later than `after_wall` and not later than `until_wall`, the last `count`, ascending."""
        return latest_at(self, until_wall, count, after_wall)

    def _slots(self, low: int, high: int) -> Iterator[int]:
        """Those in (low, high]."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Every(Timetable):
    every: int

    def _slots(self, low: int, high: int) -> Iterator[int]:
        steps = (low - self.first) // self.every + 1
        yield from range(self.first + steps * self.every, high + 1, self.every)


@dataclass(frozen=True, slots=True)
class _FixedTimes(Timetable):
    """Cron by what clocks on the wall show: each local time counts once, and in its order."""

    expression: str
    zone: tzinfo

    def _slots(self, low: int, high: int) -> Iterator[int]:
        newest = low
        for local in _local_times(self.expression, low + _offset(low, self.zone)):
            slot = _instant(local, self.zone)
            if slot > high:
                return
            # Not so in an hour that is shown for the second time, nor for the second time of day in a gap.
            if slot > newest:
                newest = slot
                yield slot


@dataclass(frozen=True, slots=True)
class _RealTime(Timetable):
    """Cron by real time: what a clock on the wall shows twice counts twice, what it never shows, never.

    Between two changes of a clock it shows real time plus an offset; at a change the search begins anew.
    """

    expression: str
    zone: tzinfo

    def _slots(self, low: int, high: int) -> Iterator[int]:
        known = low
        while True:
            offset = _offset(known, self.zone)
            for local in _local_times(self.expression, low + offset):
                slot = _seconds(local) - offset
                change = _change(self.zone, known, min(slot, high))
                if change is not None:
                    known, low = change, change - 1
                    break
                if slot > high:
                    return
                known = slot
                yield slot
            else:
                return


def _local_times(expression: str, local: int) -> Iterator[datetime]:
    """What the expression says, later than `local` (seconds, as a clock shows them), without a time zone.

    cronsim knows zones, but loses minutes where a clock is changed by half an hour, and may begin with the past.
    """
    with suppress(OverflowError):  # the year 10000
        yield from CronSim(expression, _EPOCH + timedelta(seconds=local))


def _seconds(local: datetime) -> int:
    return int((local - _EPOCH).total_seconds())


def _offset(instant: int, zone: tzinfo) -> int:
    """By how many seconds a clock in the zone is ahead of UTC."""
    return _whole(datetime.fromtimestamp(instant, zone).utcoffset())


def _whole(offset: timedelta | None) -> int:
    return int(offset.total_seconds()) if offset else 0


def _change(zone: tzinfo, since: int, until: int) -> int | None:
    """The first instant in (since, until] at which the zone's offset is another than before."""
    offset = _offset(since, zone)
    while since < until:
        there = min(since + _STEP_S, until)
        if _offset(there, zone) != offset:
            while there - since > 1:
                middle = (since + there) // 2
                since, there = (middle, there) if _offset(middle, zone) == offset else (since, middle)
            return there
        since = there
    return None


def _instant(local: datetime, zone: tzinfo) -> int:
    """When clocks in the zone show `local`: for the first time; or, if they skip it, the moment after the gap."""
    seconds, there = _seconds(local), local.replace(tzinfo=zone)
    early, late = _whole(there.utcoffset()), _whole(there.replace(fold=1).utcoffset())
    gap_end = _change(zone, seconds - late, seconds - early) if early < late else None
    return seconds - early if gap_end is None else gap_end


def instant(text: str, timezone: str, field: str) -> int:
    """The seconds since 1970 of a time in ISO 8601; one without `Z` or an offset is meant in `timezone`."""
    match = _ISO.fullmatch(text)
    if match is None:
        right = "write 2026-12-24T18:00, 2026-12-24 18:00:30 or 2026-12-24; Z or +01:00 may follow the time of day"
        raise _refused(field, text, f"is not a time: {right}")
    if match[1] < "1970":
        raise _refused(field, text, "is out of reach: the year must be from 1970 to 9999")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _refused(field, text, "is not a time: there is no such day") from None
    if moment.tzinfo:
        return int((moment - _EPOCH.replace(tzinfo=UTC)).total_seconds())
    return _instant(moment, _zone(timezone))


def _zone(name: str) -> tzinfo:
    """The zone of this name; UTC there always is, even without a database of zones."""
    if name == "UTC":
        return UTC
    if _ZONE.fullmatch(name) and not name.startswith(_NO_ZONES):
        with suppress(LookupError, ValueError, OSError):  # not there; not a zone; a directory
            return ZoneInfo(name)
    names = available_timezones()
    if not names:
        raise _refused("timezone", name, "is unknown, as are all but UTC: the system's `tzdata` is missing")
    raise _refused("timezone", name, f"is unknown; {_nearest(name, names)}")


def _nearest(name: str, names: set[str]) -> str:
    """Which zone may have been meant, also by `berlin`."""
    places = sorted(name for name in names if not name.startswith("Etc/"))  # Etc/GMT+2 is not what UTC+2 means
    known = {name.rpartition("/")[2].lower(): name for name in places} | {name.lower(): name for name in places}
    near = dict.fromkeys(known[match] for match in get_close_matches(name[:64].lower(), known, n=5))
    return f"did you mean {', '.join(islice(near, 3))}?" if near else "use a name such as UTC or Europe/Berlin"


def timetable(timing: Timing) -> Timetable:
    """What `timing` says; raises InvalidRequest, with the `field`, when that makes no sense."""
    kind, zone = _kind(timing), _zone(timing.timezone)
    check_range(timing.jitter_s, 0, 86400, "jitter")
    first, last = _bounds(timing)
    if timing.seconds and kind != "cron":
        raise InvalidRequest(f"seconds is for cron, not for {kind}", field="seconds")
    if kind == "at":
        slot = instant(timing.at, timing.timezone, "at")
        return _Every(max(first, slot), min(last, slot), 1)
    if kind == "every":
        if not (1 <= timing.every_s <= MAX_DELAY_S and timing.every_s == int(timing.every_s)):
            right = f"it must be whole seconds, from 1 to {MAX_DELAY_S:.0f} (ten years)"
            raise InvalidRequest(f"every is {timing.every_s:.15g} s; {right}", field="every")
        every = int(timing.every_s)
        check_range(timing.anchor_wall, 0, _HORIZON, "anchor_wall")
        first = first if timing.start else floor(timing.anchor_wall) % every
        return _Every(first, last, every)
    expression = _expression(timing)
    minute, hour = expression.split()[:2]
    fixed = not timing.seconds and not minute.startswith("*") and not hour.startswith("*")
    return _FixedTimes(first, last, expression, zone) if fixed else _RealTime(first, last, expression, zone)


def check_timing(timing: Timing, now_wall: float) -> None:
    """Refuses what `timetable` refuses, and what would never be due from now on."""
    slots = timetable(_anchored(timing, now_wall))
    if timing.at and instant(timing.at, timing.timezone, "at") <= now_wall:
        raise _refused("at", timing.at, f"has passed (in the time zone {timing.timezone})")
    if timing.end and slots.last <= now_wall:
        raise _refused("end", timing.end, f"has passed (in the time zone {timing.timezone})")
    if slots.after(now_wall) is None:
        kind = _kind(timing)
        start = f"from start {shown(timing.start)}" if timing.start else "from now"
        end = f"to end {shown(timing.end)}" if timing.end else "on"
        raise InvalidRequest(f"{kind} is never due {start} {end}", field="end" if timing.end else kind)


def _kind(timing: Timing) -> str:
    """Which of the three it is."""
    values = {"cron": timing.cron, "every": timing.every_s, "at": timing.at}
    given = [name for name, value in values.items() if value]
    if not given:
        raise InvalidRequest("nothing says when it is due: give cron, every (at least 1 s) or at", field="cron")
    if len(given) > 1:
        raise InvalidRequest(f"{' and '.join(given)} are given; choose one of them", field=given[1])
    return given[0]


def _anchored(timing: Timing, wall: float) -> Timing:
    """An interval that no master has seen yet counts from `wall`."""
    loose = timing.every_s and not timing.start and not timing.anchor_wall
    return replace(timing, anchor_wall=max(wall, 0)) if loose else timing


def _bounds(timing: Timing) -> tuple[int, int]:
    first = instant(timing.start, timing.timezone, "start") if timing.start else 0
    last = instant(timing.end, timing.timezone, "end") if timing.end else _HORIZON
    if timing.start and timing.end and last <= first:
        raise _refused("end", timing.end, f"is an end before the start: it must be later than {shown(timing.start)}")
    return first, min(last, _HORIZON)


def _expression(timing: Timing) -> str:
    """The expression in five fields, or in six with seconds; refused unless it is due some day."""
    text = timing.cron
    if len(text) > MAX_CRON:
        raise _refused("cron", text, f"has {len(text)} characters; {MAX_CRON} is the most")
    if _NOT_IN_CRON.search(text):
        raise _refused("cron", text, "can not be used: it may hold ASCII letters, digits, spaces and * , - / #")
    expression = _macro(text) if text.lstrip().startswith("@") else " ".join(text.upper().split())
    _check_count(text, len(expression.split()), timing.seconds)
    try:
        due = next(CronSim(expression, datetime(2000, 1, 1)), None)
    except CronSimError as error:
        raise _explained(text, str(error)) from None
    _check_steps(text, expression)
    if due is None:
        raise _refused("cron", text, "is never due: within 50 years there is no such day")
    return expression


def _macro(text: str) -> str:
    name = text.strip().lower()
    if name not in MACROS:
        reboot = "can not be used: a schedule goes by the time, not by what is started when"
        raise _refused("cron", text, reboot if name == "@reboot" else f"is none of {', '.join(MACROS)}")
    return MACROS[name]


def _check_count(text: str, count: int, seconds: bool) -> None:
    if count == 6 and not seconds:
        raise _refused("seconds", text, "has six fields; if the first is for seconds, add `seconds: true`", "cron")
    if count == 5 and seconds:
        raise _refused("seconds", text, "has no field for seconds; add it in front, or leave out `seconds`", "cron")
    if count not in (5, 6):
        wanted = f"{'second, ' * seconds}minute, hour, day of the month, month and day of the week"
        raise _refused("cron", text, f"has {count} field{'s' * (count != 1)}; it must have {5 + seconds}: {wanted}")


def _check_steps(text: str, expression: str) -> None:
    """cronsim takes `*/90` for `0`, which is not what it was written for."""
    for part, (called, _, most) in zip(reversed(expression.split()), reversed(_FIELDS.values()), strict=False):
        for term in part.split(","):
            step = term.partition("/")[2]
            if step and int(step) > most:
                raise _refused("cron", text, f"has a step of {step} in the {called}; {most} is the most")


def _explained(text: str, said: str) -> InvalidRequest:
    """Instead of cronsim's error, such as `Bad minute`."""
    name = said.removeprefix("Bad ")
    if name not in _FIELDS:
        return _refused("cron", text, f"can not be used: {said}")
    called, values, _ = _FIELDS[name]
    part = text.split()[list(_FIELDS).index(name) - len(_FIELDS)]
    if name == "day-of-month":
        with suppress(CronSimError):
            CronSim(f"0 0 {part} * *", _EPOCH)
            return _refused("cron", text, "is never due: there is no such day in that month")
    right = f"the {called} must be {values}; or a list 1,5, a range 1-5, * or a step */5"
    return InvalidRequest(f"cron {shown(text)}: {right}; it is {shown(part)}", field="cron")


def _refused(field: str, text: str, why: str, called: str = "") -> InvalidRequest:
    return InvalidRequest(f"{called or field} {shown(text)} {why}", field=field)


class Upcoming(NamedTuple):
    """A slot, as it is shown."""

    slot: int
    local: datetime
    """It, in the time zone of the timing."""
    shift_s: int
    """By how much clocks have been changed since the slot before; for the first, since it was asked. Mostly 0."""


def upcoming(timing: Timing, wall: float, count: int) -> list[Upcoming]:
    """The next `count` slots after `wall`; fewer when there are no more."""
    slots, zone = timetable(_anchored(timing, wall)), _zone(timing.timezone)
    offset, found = _offset(floor(wall), zone), []
    for slot in islice(slots.between(wall, slots.last), count):
        before, offset = offset, _offset(slot, zone)
        found.append(Upcoming(slot, datetime.fromtimestamp(slot, zone), offset - before))
    return found


def latest_at(timetable: Timetable, wall: float, count: int, after_wall: float) -> list[int]:
    """The newest `count` slots in (after_wall, wall], ascending.

    There may have been millions: so it counts, never further than to twice as many as are wanted, from instants ever
    earlier until there are enough, and then from between those from which there are too many and too few.
    """
    wall, after_wall = min(wall, timetable.last), max(after_wall, timetable.first - 1)
    if count < 1 or after_wall >= wall:
        return []
    few, many, span_s = wall, None, 3600.0
    low = max(after_wall, wall - span_s)
    while True:
        found = list(islice(timetable.between(low, wall), 2 * count + 1))
        if len(found) > 2 * count:
            many = low
        elif len(found) >= count or low <= after_wall:
            return found[-count:]
        else:
            few = low
        span_s *= 4
        low = max(after_wall, wall - span_s) if many is None else (few + many) / 2
