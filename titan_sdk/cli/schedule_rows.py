"""What schedules, their fires and their slots show: columns of tables, facts, and instants in a zone of their own."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from titan_core.protocol.messages import Alert, FireStatus, JobSpec, ScheduleStatus, Timing
from titan_sdk.cli.rows import some
from titan_sdk.cli.tables import Column
from titan_sdk.cli.text import clock, duration, span

if TYPE_CHECKING:
    from titan_core.timetable import Upcoming

_UNITS = (("d", 86400), ("h", 3600), ("m", 60))


# ── instants ──────────────────────────────────────────────────────────────────────────────────────


def slot(wall: float, timezone: str) -> str:
    """`2026-11-26 02:00 CET (01:00 UTC)`; empty for 0."""
    if not wall:
        return ""
    local, utc = datetime.fromtimestamp(wall, _zone(timezone)), datetime.fromtimestamp(wall, UTC)
    if local.tzname() == "UTC":
        return _local(local)
    of_utc = _minutes(utc) if utc.date() == local.date() else f"{utc:%Y-%m-%d} {_minutes(utc)}"
    return f"{_local(local)} ({of_utc} UTC)"


def ahead(wall: float, now_wall: float | None = None) -> str:
    """How far away an instant is: `in 3h02m`; `now`, where it has just passed."""
    left_s = wall - (time.time() if now_wall is None else now_wall)
    return f"in {duration(left_s)}" if left_s > 0 else "now"


def period(seconds: float) -> str:
    """A duration as one writes it: `15m`, `90s`, `7d`."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds and seconds % size == 0), ("s", 1))
    return f"{seconds / size:.15g}{unit}"


def _zone(name: str) -> tzinfo:
    """The zone of this name, or UTC where this machine does not know it."""
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name) if name != "UTC" else UTC
    except (LookupError, ValueError, OSError):
        return UTC


def _local(local: datetime) -> str:
    return f"{local:%Y-%m-%d} {_minutes(local)} {local.tzname()}"


def _minutes(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────


def when(timing: Timing) -> str:
    """`0 2 * * *`, `every 15m` or `at 2026-12-24T18:00`."""
    if timing.every_s:
        return f"every {period(timing.every_s)}"
    return timing.cron or f"at {timing.at}"


def outcome(fire: FireStatus) -> str:
    """What became of it: of a run, its state."""
    return fire.run_state or fire.outcome


def _last(schedule: ScheduleStatus) -> str:
    return next((f"{outcome(fire)} {clock(fire.slot_wall)}" for fire in schedule.last), "")


SCHEDULES: tuple[Column[ScheduleStatus], ...] = (
    Column("SCHEDULE", lambda schedule: schedule.name),
    Column("STATE", lambda schedule: schedule.state, state=True),
    Column("WHEN", lambda schedule: when(schedule.timing)),
    Column("ZONE", lambda schedule: schedule.timing.timezone, minor=True),
    Column("NEXT", lambda schedule: clock(schedule.next_wall)),
    Column("LAST", _last, minor=True),
    Column("RUNNING", lambda schedule: str(len(schedule.live) or ""), right=True),
    Column("QUEUED", lambda schedule: str(schedule.queued or ""), right=True),
    Column("JOBS", lambda schedule: str(schedule.job_count), right=True, minor=True),
    Column("REASON", lambda schedule: schedule.reason, fold=True),
)

JOBS: tuple[Column[JobSpec], ...] = (
    Column("JOB", lambda job: job.job_id),
    Column("FILE", lambda job: _file(job)),
    Column("ARGS", lambda job: " ".join(job.task.args), fold=True),
    Column("REQUIREMENT", lambda job: job.requirement, minor=True),
    Column("AFTER", lambda job: ", ".join(job.parents), fold=True),
)


def facts(schedule: ScheduleStatus) -> list[tuple[str, str]]:
    """What there is to say of a schedule, by its name; empty where there is nothing."""
    timing = schedule.timing
    coming = f"{slot(schedule.next_wall, timing.timezone)}, {ahead(schedule.next_wall)}" if schedule.next_wall else ""
    return [
        ("schedule", schedule.name),
        ("state", schedule.state + (f" ({schedule.reason})" if schedule.reason else "")),
        ("when", when(timing)),
        ("timezone", timing.timezone),
        ("start", timing.start),
        ("end", timing.end),
        ("jitter", period(timing.jitter_s) if timing.jitter_s else ""),
        ("overlap", schedule.overlap),
        ("catch-up", _catch_up(schedule)),
        ("on missed", _alert(schedule.on_missed)),
        ("on failure", _alert(schedule.on_failure)),
        ("next", coming),
        ("last", _last(schedule)),
        ("running", some(schedule.live)),
        ("queued", str(schedule.queued or "")),
        ("created", clock(schedule.created_wall)),
        ("changed", clock(schedule.updated_wall) if schedule.revision > 1 else ""),
        ("revision", str(schedule.revision)),
    ]


def _catch_up(schedule: ScheduleStatus) -> str:
    if schedule.catch_up == "none":
        return "none"
    return f"{schedule.catch_up}, of the past {period(schedule.catch_up_window_s)}"


def _alert(alert: Alert) -> str:
    return alert.webhook or "".join(f"job {job.job_id} ({_file(job)})" for job in alert.jobs)


def _file(job: JobSpec) -> str:
    return f"{job.task.asset}/{job.task.entry}" if job.task.entry else job.task.asset


# ── fires ─────────────────────────────────────────────────────────────────────────────────────────


FIRES: tuple[Column[FireStatus], ...] = (
    Column("DUE", lambda fire: _due(fire)),
    Column("OUTCOME", lambda fire: fire.outcome, state=True),
    Column("KIND", lambda fire: _kind(fire)),
    Column("RUN", lambda fire: fire.run_id),
    Column("STATE", lambda fire: fire.run_state, state=True),
    Column("BEGAN", lambda fire: clock(fire.decided_wall) if fire.outcome == "RAN" else "", minor=True),
    Column("TIME", lambda fire: _took(fire), right=True, minor=True),
    Column("ALERT", lambda fire: fire.alert, minor=True),
    Column("REASON", lambda fire: reason(fire), fold=True),
)


def reason(fire: FireStatus) -> str:
    """Why it came to nothing, or waits; empty for one that ran."""
    return "" if fire.outcome == "RAN" else fire.reason


def _due(fire: FireStatus) -> str:
    until = f" – {clock(fire.until_wall)}" if fire.until_wall else ""
    return clock(fire.slot_wall) + until


def _kind(fire: FireStatus) -> str:
    """Empty for one that came in its time."""
    return "by hand" if fire.kind == "trigger" else "made up" if fire.made_up else ""


def _took(fire: FireStatus) -> str:
    return span(fire.decided_wall, fire.finished_wall) if fire.outcome == "RAN" else ""


# ── what is due next ──────────────────────────────────────────────────────────────────────────────


UPCOMING: tuple[Column[Upcoming], ...] = (
    Column("LOCAL", lambda due: _local(due.local)),
    Column("UTC", lambda due: _utc(due)),
    Column("IN", lambda due: ahead(due.slot).removeprefix("in "), right=True),
    Column("NOTE", lambda due: _shift(due.shift_s), fold=True),
)


def stamp(due: Upcoming) -> str:
    """`2026-11-26T01:00:00Z`."""
    return f"{datetime.fromtimestamp(due.slot, UTC):%Y-%m-%dT%H:%M:%SZ}"


def record(due: Upcoming) -> dict[str, Any]:
    """For JSON."""
    return {"slot_wall": due.slot, "local": due.local.isoformat(), "utc": stamp(due), "shift_s": due.shift_s}


def _utc(due: Upcoming) -> str:
    moment = datetime.fromtimestamp(due.slot, UTC)
    return f"{moment:%Y-%m-%d} {_minutes(moment)}"


def _shift(shift_s: int) -> str:
    """`clocks go forward 1h before this`."""
    if not shift_s:
        return ""
    return f"clocks go {'forward' if shift_s > 0 else 'back'} {period(abs(shift_s))} before this"
