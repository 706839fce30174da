"""What a schedule says besides its name and its jobs: its fields, as a person writes them, and what is sent for them.

Owns types and spellings. Whether a schedule can be due so is said by `titan_core.timetable`, which is imported
when it is needed: most clients need none of it. Pure; any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, TypedDict

from titan_core.errors import InvalidRequest, TitanError
from titan_core.protocol.messages import Alert, JobSpec, ScheduleSpec, Timing
from titan_core.protocol.schedule_checks import CATCH_UPS, OVERLAPS, check_rules, check_schedule
from titan_sdk.contents import Contents
from titan_sdk.fields import WrongType, boolean, described, field_name, one_of, read_value, seconds
from titan_sdk.jobs import TitanJob, job_spec, unsourced

Told = str | TitanJob
"""Who is told: the URL of a webhook, or a job that is run; an empty text is nobody."""
Instant = str | date
"""As a text, or as a datetime, which has an offset or is in the schedule's time zone."""
Duration = float | str | timedelta
"""A number is seconds."""

WHEN = ("cron", "every", "at")
"""Of these a schedule has one."""
ALERTS = ("on_missed", "on_failure")
ALERT_KEYS = ("webhook", "job")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When jobs are run, and what is done about each fire."""

    cron: str = ""
    every: float = 0.0
    """Seconds."""
    at: str = ""
    timezone: str = "UTC"
    seconds: bool = False
    jitter: float = 0.0
    start: str = ""
    end: str = ""
    paused: bool | None = None
    """None: as it is; a new one is not."""
    overlap: str = "skip"
    catch_up: str = "last"
    catch_up_window: float = 604800.0
    on_missed: Told = ""
    on_failure: Told = ""

    def timing(self) -> Timing:
        return Timing(self.cron, self.every, self.at, self.timezone, self.seconds, self.jitter, self.start, self.end)


class ScheduleFields(TypedDict, total=False):
    """The fields of a Schedule as a program may give them; None is not given."""

    cron: str | None
    every: Duration | None
    at: Instant | None
    timezone: str | None
    seconds: bool | None
    jitter: Duration | None
    start: Instant | None
    end: Instant | None
    paused: bool | None
    overlap: str | None
    catch_up: str | None
    catch_up_window: Duration | None
    on_missed: Told | Mapping[str, Any] | None
    on_failure: Told | Mapping[str, Any] | None


def schedule_of(fields: Mapping[str, Any], base: Schedule | None = None) -> Schedule:
    """The schedule that these fields describe; what they do not say is as in `base`.

    Raises InvalidRequest, in one sentence, for an unknown field, a value of the wrong type, or no one time.
    """
    given = _given(fields)
    if base is not None and any(name in given for name in WHEN):
        base = replace(base, cron="", every=0.0, at="", seconds=False)
    schedule = replace(base or Schedule(), **given)
    _check_one_time(schedule)
    return schedule


def check_when(timing: Timing) -> None:
    """Whether a schedule can be due so. Raises InvalidRequest."""
    from titan_core.timetable import timetable

    timetable(timing)


def check_said(name: str, schedule: Schedule) -> None:
    """Judge all that a schedule says itself, without looking for files. Raises InvalidRequest."""
    check_when(schedule.timing())
    check_rules(_spec(name, schedule, (), lambda _, told: _alert(told, unsourced)))


def schedule_spec(name: str, schedule: Schedule, jobs: Iterable[TitanJob], contents: Contents) -> ScheduleSpec:
    """The schedule as it is sent; local files that its jobs need are added to `contents`.

    Raises InvalidRequest or NotFound, with `field`, `job` and `alert` in the details where they are known.
    """

    def alert(name: str, told: Told) -> Alert:
        try:
            return _alert(told, lambda job: job_spec(job, contents))
        except TitanError as error:
            raise _of_alert(name, error) from None

    check_when(schedule.timing())
    spec = _spec(name, schedule, tuple(job_spec(job, contents) for job in jobs), alert)
    check_schedule(spec)
    return spec


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What was really given, read."""
    return {
        name: _told(name, value) if name in ALERTS else read_value(READERS[name], value, name, name)
        for name, value in ((field_name(word, FIELDS), value) for word, value in fields.items())
        if value is not None
    }


def _check_one_time(schedule: Schedule) -> None:
    given = [name for name in WHEN if getattr(schedule, name)]
    if not given:
        raise InvalidRequest("a schedule needs a time: give it 'cron', 'every' or 'at'", field="schedule")
    if len(given) > 1:
        raise InvalidRequest(
            f"a schedule has one of 'cron', 'every' and 'at'; take {' and '.join(map(repr, given[1:]))} away, "
            f"or {given[0]!r}",
            field=given[1],
        )


def _told(name: str, value: object) -> Told:
    """A URL, a job, or a mapping of one of them by its name."""
    if isinstance(value, TitanJob) or (isinstance(value, str) and value):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequest(
            f"{name} must be a URL, or a mapping such as {{webhook: URL}} or {{job: {{file: notify.py}}}}, "
            f"not {described(value)}",
            field=name,
        )
    given = {field_name(str(key), ALERT_KEYS): item for key, item in value.items() if item is not None}
    if len(given) != 1:
        raise InvalidRequest(f"{name} must name a webhook or a job, one of the two", field=name)
    ((key, item),) = given.items()
    return _url(name, item) if key == "webhook" else _job(name, item)


def _url(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{name}: webhook must be a URL, not {described(value)}", field=name)
    return value


def _job(name: str, value: object) -> TitanJob:
    if isinstance(value, TitanJob):
        return value
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"{name}: job must be a mapping of its fields, not {described(value)}", field=name)
    try:
        return TitanJob(**{str(key): item for key, item in value.items()})
    except InvalidRequest as error:
        raise _of_alert(name, error) from None


def _spec(
    name: str, schedule: Schedule, jobs: tuple[JobSpec, ...], alert: Callable[[str, Told], Alert]
) -> ScheduleSpec:
    return ScheduleSpec(
        name=name,
        timing=schedule.timing(),
        jobs=jobs,
        overlap=schedule.overlap,
        catch_up=schedule.catch_up,
        catch_up_window_s=schedule.catch_up_window,
        on_missed=alert("on_missed", schedule.on_missed),
        on_failure=alert("on_failure", schedule.on_failure),
    )


def _alert(told: Told, spec: Callable[[TitanJob], JobSpec]) -> Alert:
    return Alert(told) if isinstance(told, str) else Alert(jobs=(spec(told),))


def _of_alert(name: str, error: TitanError) -> TitanError:
    """`error`, saying who was to be told."""
    return type(error)(f"{name}: {error}", **{"field": name, **error.details, "alert": name})


# ── readers, one per kind of value ────────────────────────────────────────────────────────────────


def _expression(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise WrongType("must be a string such as '0 2 * * *'")
    return value


def _zone(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise WrongType("must be the name of a time zone, such as 'Europe/Berlin'")
    return value


def _period(value: object) -> float:
    period_s = seconds(value)
    if not period_s:
        raise WrongType("must be at least a second")
    return period_s


def instant(value: object) -> str:
    """An instant as ISO 8601, judged elsewhere."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if not isinstance(value, str) or not value:
        raise WrongType("must be an instant such as '2026-12-24T18:00'")
    return value


READERS: dict[str, Callable[[object], Any]] = {
    "cron": _expression,
    "every": _period,
    "at": instant,
    "timezone": _zone,
    "seconds": boolean,
    "jitter": seconds,
    "start": instant,
    "end": instant,
    "paused": boolean,
    "overlap": one_of(*OVERLAPS),
    "catch_up": one_of(*CATCH_UPS),
    "catch_up_window": seconds,
}
"""What reads each field, but for those who are told."""
FIELDS = (*READERS, *ALERTS)
"""Every field of a schedule."""
