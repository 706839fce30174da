"""What a timing may say and what it then means; the five years of cron are in test_timetable_years."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import titan_core.timetable
from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import shown
from titan_core.protocol.messages import Timing
from titan_core.timetable import MACROS, Timetable, check_timing, instant, latest_at, timetable, upcoming

NOW = 1_790_000_000
"""2026-09-21T14:13:20Z."""


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def refusal(call: Callable[[], object]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        call()
    sentence = caught.value.message
    assert len(sentence) < 400 and sentence.isprintable(), sentence
    return caught.value


def refused(timing: Timing, field: str, *words: str, now: float | None = None) -> str:
    """The sentence with which it is refused; with `now`, only because of what time it is."""
    if now is not None:
        timetable(timing)
    error = refusal(lambda: timetable(timing) if now is None else check_timing(timing, now))
    assert error.details == {"field": field}, error
    assert all(word in error.message for word in words), error.message
    return error.message


# ── exactly one ───────────────────────────────────────────────────────────────────────────────────


def test_one_of_three_is_given() -> None:
    refused(Timing(), "cron", "cron, every (at least 1 s) or at")
    refused(Timing(cron="* * * * *", every_s=5), "every", "cron and every are given")
    refused(Timing(every_s=5, at="2027-01-01"), "at", "every and at are given")
    refused(Timing(cron="x", every_s=5, at="x"), "every", "cron and every and at are given")


def test_what_is_out_of_range() -> None:
    for every in (0.5, -1, -0.5, 1.5, 315_360_001, 1e300, float("inf"), float("-inf"), float("nan")):
        refused(Timing(every_s=every), "every", "every is ", "whole seconds, from 1 to 315360000")
    for jitter in (-1, 86401, float("nan")):
        refused(Timing(every_s=5, jitter_s=jitter), "jitter", "from 0 to 86400")
    for anchor in (-1.0, float("nan"), float("inf"), 1e300):
        refused(Timing(every_s=5, anchor_wall=anchor), "anchor_wall")
    timetable(Timing(every_s=315_360_000, jitter_s=86400))


def test_seconds_are_for_cron() -> None:
    refused(Timing(every_s=5, seconds=True), "seconds", "not for every")
    refused(Timing(at="2027-01-01", seconds=True), "seconds", "not for at")


# ── every, at, start, end ─────────────────────────────────────────────────────────────────────────


def test_an_interval_keeps_step_with_when_it_was_added() -> None:
    """Earlier ones belong to it too, for a backfill; and the clock may have been wrong when it was added."""
    slots = timetable(Timing(every_s=60, anchor_wall=1000.7))
    assert list(islice(slots.between(990, 2000), 3)) == [1000, 1060, 1120]
    assert [slots.after(wall) for wall in (-5, 39.9, 40, 1000.7, 1059.9, 1060)] == [40, 40, 100, 1060, 1060, 1120]
    assert slots.after(NOW) == 1000 + (NOW - 1000) // 60 * 60 + 60


def test_an_interval_with_a_start_begins_there() -> None:
    slots = timetable(Timing(every_s=3600, start="2026-01-01T00:30", end="2026-01-01T03:30", anchor_wall=5.0))
    first = at("2026-01-01T00:30")
    assert list(slots.between(0, 1e12)) == [first, first + 3600, first + 7200, first + 10800]
    assert slots.after(first - 1) == first and slots.after(first) == first + 3600
    assert slots.after(first + 10799) == first + 10800 and slots.after(first + 10800) is None


def test_a_day_of_23_hours_is_no_matter_to_an_interval() -> None:
    slots = timetable(Timing(every_s=86400, start="2026-03-28T12:00", timezone="Europe/Berlin"))
    assert list(islice(slots.between(0, 1e12), 2)) == [at("2026-03-28T11:00"), at("2026-03-29T11:00")]


def test_one_instant() -> None:
    slots = timetable(Timing(at="2026-12-24T18:00", timezone="Europe/Berlin"))
    slot = at("2026-12-24T17:00")
    assert (slots.after(0), slots.after(slot - 0.5), slots.after(slot)) == (slot, slot, None)
    assert list(slots.between(0, slot)) == [slot] and not list(slots.between(0, slot - 0.5))
    assert timetable(Timing(at="2026-12-24", start="2026-12-25")).after(0) is None
    on_the_edge = Timing(at="2026-12-24", start="2026-12-24", end="2026-12-24T00:00:01")
    assert timetable(on_the_edge).after(0) == at("2026-12-24")


def test_cron_between_start_and_end() -> None:
    slots = timetable(Timing(cron="0 12 * * *", start="2026-01-01T12:00", end="2026-01-03T12:00"))
    noon = at("2026-01-01T12:00")
    assert list(slots.between(0, 1e12)) == [noon, noon + 86400, noon + 172800]
    assert slots.after(noon + 172799.5) == noon + 172800 and slots.after(noon + 172800) is None
    assert latest_at(slots, 1e12, 2, 0) == [noon + 86400, noon + 172800]
    zoned = timetable(Timing(cron="* * * * *", timezone="Europe/Berlin", start="2026-01-01T12:00"))
    assert zoned.after(0) == noon - 3600


def test_an_end_before_the_start() -> None:
    for end in ("2025-12-31", "2026-01-01"):
        refused(Timing(every_s=5, start="2026-01-01", end=end), "end", "an end before the start", end)
    refused(Timing(every_s=5, start="2026-01-01", end="never"), "end", "'never' is not a time")
    refused(Timing(every_s=5, start="now"), "start", "'now' is not a time")


def test_what_will_never_be_due() -> None:
    refused(Timing(at="2026-09-21T14:13:20"), "at", "has passed (in the time zone UTC)", now=NOW)
    check_timing(Timing(at="2026-09-21T14:13:21"), NOW)
    refused(Timing(cron="* * * * *", end="2026-09-21 14:13"), "end", "'2026-09-21 14:13' has passed", now=NOW)
    refused(Timing(every_s=86400, end="2026-09-21T20:00"), "end", "every is never due from now to end", now=NOW)
    new_year = Timing(cron="0 0 1 1 *", start="2027-02-01", end="2027-12-31")
    refused(new_year, "end", "cron is never due from start '2027-02-01' to end '2027-12-31'", now=NOW)
    refused(Timing(at="2027-01-01", start="2027-02-01"), "at", "at is never due from start '2027-02-01'", now=NOW)
    refused(Timing(at="9999-12-31T23:59:59"), "at", "never due", now=NOW)
    check_timing(Timing(cron="0 0 1 1 *", start="2020-01-01", end="9999-12-31"), NOW)
    refused(Timing(cron="61 * * * *"), "cron", "minute")
    assert refusal(lambda: check_timing(Timing(cron="61 * * * *"), NOW)).details == {"field": "cron"}


# ── cron expressions ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", ["cron '61 * * * *': the minute must be from 0 to 59", "it is '61'"]),
        ("* 24 * * *", ["the hour must be from 0 to 23", "'24'"]),
        ("0 0 0 * *", ["the day of the month must be from 1 to 31, L", "'0'"]),
        ("0 0 ? * *", ["the day of the month", "'?'"]),
        ("0 0 * 13 *", ["the month must be from 1 to 12, or JAN to DEC", "'13'"]),
        ("0 0 * jux *", ["the month", "'jux'"]),
        ("0 0 * * 8", ["the day of the week must be from 0 to 7", "MON#2", "'8'"]),
        ("0 0 * * FRI-MON", ["the day of the week", "'FRI-MON'"]),
        ("0 0 * * MON#6", ["the day of the week", "'MON#6'"]),
        ("*/0 * * * *", ["the minute", "a step */5", "'*/0'"]),
        ("1,,2 * * * *", ["the minute", "a list 1,5"]),
        ("*/90 * * * *", ["a step of 90 in the minute; 60 is the most"]),
        ("0 0 */32 * *", ["a step of 32 in the day of the month; 31"]),
        ("0 0 31 2 *", ["is never due: there is no such day in that month"]),
        ("0 0 30,31 2 *", ["is never due: there is no such day"]),
        ("0 0 */31 2 MON#5", ["is never due: within 50 years"]),
        ("* * * *", ["has 4 fields; it must have 5: minute, hour"]),
        ("*", ["has 1 field; it must have 5"]),
        ("  ", ["has 0 fields"]),
        ("* * * * * * *", ["has 7 fields; it must have 5"]),
        ("@reboot", ["'@reboot' can not be used: a schedule goes by the time"]),
        ("@every 5m", ["is none of @hourly, @daily"]),
        ("0 0 * * * \n", ["can not be used", "ASCII"]),
        ("0 0 * * *\0", ["can not be used", "ASCII"]),
        ("٣ * * * *", ["can not be used", "ASCII"]),
        ("\ud800 * * * *", ["can not be used", "ASCII"]),
        ("0," * 100 + "0 * * * *", ["has 209 characters; 200 is the most"]),
        ("1" * 190 + " * * * *", ["the minute must be"]),
        ("*/" + "9" * 190 + " * * * *", ["has a step of"]),
    ],
)
def test_expressions_that_are_refused(expression: str, words: list[str]) -> None:
    refused(Timing(cron=expression), "cron", *words)


def test_seconds_are_asked_for() -> None:
    refused(Timing(cron="0 * * * * *"), "seconds", "six fields", "add `seconds: true`")
    refused(Timing(cron="* * * * *", seconds=True), "seconds", "no field for seconds")
    refused(Timing(cron="@daily", seconds=True), "seconds", "no field for seconds")
    refused(Timing(cron="* * * *", seconds=True), "cron", "it must have 6: second, minute")
    refused(Timing(cron="60 * * * * *", seconds=True), "cron", "the second must be from 0 to 59", "'60'")
    refused(Timing(cron="0 0 0 31 2 *", seconds=True), "cron", "no such day")
    slots = timetable(Timing(cron="*/20 * * * * *", seconds=True))
    assert list(islice(slots.between(NOW, NOW + 99), 3)) == [NOW + 20, NOW + 40, NOW + 60]


@pytest.mark.parametrize("macro", MACROS)
def test_macros(macro: str) -> None:
    slots = timetable(Timing(cron=macro))
    assert slots == timetable(Timing(cron=f" {macro.upper()} ")) == timetable(Timing(cron=MACROS[macro]))


def test_when_macros_are_due() -> None:
    firsts = {name: timetable(Timing(cron=name)).after(at("2026-09-21T14:13:20")) for name in MACROS}
    assert firsts == {
        "@hourly": at("2026-09-21T15:00"),
        "@daily": at("2026-09-22"),
        "@midnight": at("2026-09-22"),
        "@weekly": at("2026-09-27"),
        "@monthly": at("2026-10-01"),
        "@yearly": at("2027-01-01"),
        "@annually": at("2027-01-01"),
    }


def test_what_an_expression_may_look_like() -> None:
    plain = timetable(Timing(cron="0 12 * JAN-MAR MON"))
    assert timetable(Timing(cron="\t0  12\t* jan-mar   mon ")) == plain
    assert hash(timetable(Timing(cron="0 12 * jan-mar mon"))) == hash(plain)
    assert timetable(Timing(cron="*/60 */24 * * *")).after(NOW) == at("2026-09-22")
    assert timetable(Timing(cron="0 0 29 2 MON")).after(NOW) == at("2027-02-01")


# ── time zones ────────────────────────────────────────────────────────────────────────────────────


def test_unknown_zones() -> None:
    refused(
        Timing(every_s=5, timezone="Europe/Berln"), "timezone", "'Europe/Berln' is unknown; did you mean Europe/B"
    )
    refused(Timing(every_s=5, timezone="berlin"), "timezone", "did you mean Europe/Berlin")
    refused(Timing(every_s=5, timezone="europe/berlin"), "timezone", "did you mean Europe/Berlin")
    assert "Etc/" not in refused(Timing(every_s=5, timezone="UTC+2"), "timezone", "did you mean UTC?")
    refused(Timing(at="2027-01-01", timezone="Mars/Base"), "timezone")
    assert refusal(lambda: instant("2027-01-01", "Mars/Base", "at")).details == {"field": "timezone"}


PATHS = ["../../etc/passwd", "/etc/passwd", "Europe", "Europe/", "Europe/../UTC", ".", "..", "tzdata.zi", "zone.tab"]
BESIDE = ["posix/Europe/Berlin", "right/UTC", "localtime", "posixrules"]
ODD = ["", "\0", "a\0b", "Europe\\Berlin", "🚀", "\ud800", "Europe/Berlin\n", "a/b/c/d"]
LONG = ["x" * 10_000, "A" * 32 + "/" + "B" * 32, "A/" * 5000 + "A"]


@pytest.mark.parametrize("name", [*PATHS, *BESIDE, *ODD, *LONG])
def test_hostile_zones_are_just_unknown(name: str) -> None:
    refused(Timing(every_s=5, timezone=name), "timezone", "is unknown;")


def test_without_a_database_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_zone(name: str) -> ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(titan_core.timetable, "available_timezones", set)
    monkeypatch.setattr(titan_core.timetable, "ZoneInfo", no_zone)
    refused(Timing(every_s=5, timezone="Europe/Berlin"), "timezone", "the system's `tzdata` is missing")
    assert timetable(Timing(cron="0 12 * * *")).after(NOW) == at("2026-09-22T12:00")


# ── instants ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-24T18:00", "2026-12-24T17:00"),
        ("2026-12-24 18:00:30", "2026-12-24T17:00:30"),
        ("2026-12-24", "2026-12-23T23:00"),
        ("2026-07-01T00:00:00", "2026-06-30T22:00"),
        ("2026-12-24T18:00Z", "2026-12-24T18:00"),
        ("2026-12-24 18:00+05:45", "2026-12-24T12:15"),
        ("2026-12-24T18:00:01-23:59", "2026-12-25T17:59:01"),
        ("2026-03-29T02:00", "2026-03-29T01:00"),  # skipped: the moment after
        ("2026-03-29T02:59:59", "2026-03-29T01:00"),
        ("2026-03-29T03:00", "2026-03-29T01:00"),
        ("2026-10-25T02:30", "2026-10-25T00:30"),  # twice: the first
        ("2026-10-25T03:00", "2026-10-25T02:00"),
        ("1970-01-01", "1969-12-31T23:00"),
        ("2028-02-29", "2028-02-28T23:00"),
    ],
)
def test_instants(text: str, utc: str) -> None:
    assert instant(text, "Europe/Berlin", "at") == at(utc)


def test_a_whole_day_that_was_left_out() -> None:
    assert instant("2011-12-30T15:00", "Pacific/Apia", "at") == at("2011-12-30T10:00")
    assert instant("2026-10-04T02:10", "Australia/Lord_Howe", "at") == at("2026-10-03T15:30")


WORDS = ["", "now", " 2026-12-24", "24.12.2026", "2026-W52-4", "٢٠٢٦-12-24", "x" * 10_000]
DAYS = ["2026", "2026-12", "20261224", "12026-12-24", "-2026-12-24", "2026-12-24Z", "2026-12-24\n", "2026-12-24T"]
TIMES = ["18", "18:00:00.5", "24:00", "18:60", "18:00:60", "18:00+25:00", "18:00+01:60", "18:00 Z", "18:00\0"]


@pytest.mark.parametrize("text", [*WORDS, *DAYS, *("2026-12-24T" + time for time in TIMES)])
def test_what_is_no_instant(text: str) -> None:
    error = refusal(lambda: instant(text, "UTC", "start"))
    assert error.details == {"field": "start"}
    assert error.message.startswith(f"start {shown(text)} is not a time: write 2026-12-24T18:00")


def test_days_that_do_not_exist_and_years_out_of_reach() -> None:
    for text in ("2026-02-29", "2026-13-01", "2026-00-10", "2026-01-00"):
        assert "there is no such day" in refusal(lambda text=text: instant(text, "UTC", "at")).message
    for text in ("0000-01-01", "0001-01-01", "1969-12-31T23:59:59Z"):
        assert "the year must be from 1970 to 9999" in refusal(lambda text=text: instant(text, "UTC", "at")).message
    for zone in ("America/New_York", "Pacific/Kiritimati", "UTC"):
        assert instant("9999-12-31T23:59:59", zone, "end") > at("9999-12-31")


# ── looking ahead, looking back ───────────────────────────────────────────────────────────────────


def test_upcoming_slots_show_where_clocks_are_changed() -> None:
    found = upcoming(Timing(cron="30 2 * * *", timezone="Europe/Berlin"), at("2026-03-27T12:00"), 3)
    assert [(each.local.isoformat(), each.shift_s) for each in found] == [
        ("2026-03-28T02:30:00+01:00", 0),
        ("2026-03-29T03:00:00+02:00", 3600),
        ("2026-03-30T02:30:00+02:00", 0),
    ]
    assert all(each.slot == each.local.timestamp() for each in found)
    (autumn,) = upcoming(Timing(cron="0 12 * * *", timezone="Australia/Lord_Howe"), at("2026-04-04T10:00"), 1)
    assert autumn.shift_s == -1800


def test_upcoming_slots_may_be_few() -> None:
    once = Timing(at="2026-12-24T18:00")
    assert [each.slot for each in upcoming(once, NOW, 5)] == [at("2026-12-24T18:00")]
    assert upcoming(once, at("2026-12-24T18:00"), 5) == [] == upcoming(Timing(cron="* * * * *"), NOW, 0)
    assert [each.slot for each in upcoming(Timing(every_s=60), NOW + 0.5, 2)] == [NOW + 60, NOW + 120]
    refusal(lambda: upcoming(Timing(cron="x"), NOW, 5))


def test_the_newest_slots() -> None:
    every = timetable(Timing(every_s=7, anchor_wall=1000.0))
    assert latest_at(every, 1100, 3, 0) == [1084, 1091, 1098] == latest_at(every, 1098, 3, 1083)
    assert latest_at(every, 1100, 3, 1084) == [1091, 1098] and latest_at(every, 1100, 3, 1098) == []
    assert latest_at(every, 1100, 0, 0) == [] == latest_at(every, 1100, 5, 1100) == latest_at(every, 5, 5, 0)
    assert latest_at(every, 1100, 999, float("-inf")) == list(every.between(0, 1100))
    assert every.newest(0, 1100, 3) == [1084, 1091, 1098]
    assert latest_at(timetable(Timing(at="2026-01-01")), NOW, 1, 0) == [at("2026-01-01")]


def test_the_ends_of_time() -> None:
    minutely = timetable(Timing(cron="* * * * *", timezone="America/New_York", end="9999-12-31"))
    assert minutely.after(float("-inf")) == 0
    assert minutely.after(float("inf")) is None and minutely.after(1e300) is None
    assert minutely.after(at("9998-12-31T23:59:30")) == at("9999-01-01") and minutely.after(at("9999-01-01")) is None
    for cron in ("0 0 29 2 MON#5", "59 23 31 12 *", "* * 29 2 *", "@yearly"):
        slots = timetable(Timing(cron=cron, timezone="Pacific/Kiritimati"))
        assert list(islice(slots.between(at("9998-12-31"), 1e300), 2)) in ([], [slots.after(at("9998-12-31"))])
    assert timetable(Timing(every_s=315_360_000)).after(at("9998-12-31")) is None


def test_between_is_lazy_and_needs_no_order() -> None:
    slots = timetable(Timing(cron="* * * * *"))
    assert next(slots.between(NOW, 1e300)) == NOW + 40
    assert list(slots.between(NOW, NOW - 1)) == [] == list(slots.between(NOW + 40, NOW + 40))
    assert not hasattr(slots, "__dict__") and isinstance(slots, Timetable)


# ── whatever anybody writes ───────────────────────────────────────────────────────────────────────

PIECES = st.text("0123456789*/,-#LW?@ \tJANMONSUNx:TZ+\0٣é", max_size=30)
FIELDS = ["*", "*/5", "1-5", "L", "LW", "1L", "L/2", "LW/3", "SUN#2", "0", "31", "29", "2", "JAN", "*/31"]
FIELD = st.one_of(st.sampled_from(FIELDS), st.text("0123456789*/,-#LW", min_size=1, max_size=6))
CRONLIKE = st.lists(FIELD, min_size=4, max_size=7).map(" ".join)
DATELIKE = st.from_regex(r"\A\d{4}-[01]\d-[0-3]\d([T ][0-2]\d:[0-6]\d(:[0-6]\d)?(Z|[+-][0-2]\d:[0-6]\d)?)?\Z")
ANYTHING = settings(max_examples=150, deadline=None)


@ANYTHING
@given(st.one_of(st.text(), DATELIKE), st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "?"]))
@example("9999-12-31T23:59:59-23:59", "UTC")
@example("9999-12-31T23:59:59", "America/New_York")
@example("1970-01-01T00:00:00+23:59", "UTC")
def test_any_text_as_an_instant(text: str, zone: str) -> None:
    try:
        assert isinstance(instant(text, zone, "at"), int)
    except InvalidRequest as error:
        assert error.details["field"] in ("at", "timezone") and error.message.isprintable()


@ANYTHING
@given(st.one_of(st.text(), PIECES, CRONLIKE), st.booleans(), st.sampled_from(["UTC", "Australia/Lord_Howe"]))
def test_any_text_as_cron(text: str, seconds: bool, zone: str) -> None:
    try:
        slots = timetable(Timing(cron=text, seconds=seconds, timezone=zone))
    except InvalidRequest as error:
        assert error.details["field"] in ("cron", "seconds") and error.message.isprintable()
    else:
        found = list(islice(slots.between(NOW, 1e300), 3))
        assert found and found == sorted(set(found)) and found[0] > NOW


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.floats(), min_size=4, max_size=4))
def test_any_values(texts: list[str], numbers: list[float]) -> None:
    (at, zone, start, end), (every, jitter, anchor, now) = texts, numbers
    for timing in (
        Timing(at=at, timezone=zone),
        Timing(every_s=every, start=start, end=end),
        Timing(every_s=every, jitter_s=jitter, anchor_wall=anchor),
    ):
        try:
            timetable(timing)
            check_timing(timing, 0.0 if now != now else now)
        except InvalidRequest as error:
            assert error.details["field"] and error.message.isprintable()
