"""What is kept of schedules: immutable rows, as in `records`. Instants are wall time here, as slots are.

What a schedule has decided on is not a row of its own: it follows from its ledger, and from `since_wall`.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from titan_core.scheduler.model import Run
from titan_core.scheduler.schedule_model import Definition, Fire, Schedule
from titan_core.scheduler.states import FireKind, FireOutcome, RunState


class ScheduleRecord(NamedTuple):
    name: str
    source: Any
    """`Definition.source`."""
    secret: bytes
    revision: int
    paused: bool
    pause_reason: str
    created_wall: float
    updated_wall: float
    since_wall: float
    removed: bool = False
    """It is there no more: its row goes, its ledger stays."""


class FireRecord(NamedTuple):
    """A line of the ledger; `schedule`, `kind` and `slot` name it."""

    schedule: str
    kind: str
    slot: int
    outcome: str
    reason: str
    run_id: str
    run_state: str
    """Empty: no run has begun."""
    decided_wall: float
    finished_wall: float
    made_up: bool
    alert: str
    until: int


class OriginRecord(NamedTuple):
    """What started a run, if that was not a client."""

    run: int
    schedule: str
    kind: str
    """Empty: not a fire of it, but an alert about one."""
    slot: int
    variables: tuple[tuple[str, str], ...]


class StoredSchedule(NamedTuple):
    """A schedule as the store gives it back."""

    record: ScheduleRecord
    definition: Definition
    cursor: int
    """Every slot up to here was decided on."""
    ahead: tuple[int, ...]
    """Later ones that were, though others before them were not; of those later than now, none that was MISSED."""
    waiting: tuple[FireRecord, ...]
    """Fires that are QUEUED, in the order in which they were."""
    last_trigger: int
    trouble: str = ""
    """Why its slots can not be worked out; its timetable has none then."""


def schedule_record(schedule: Schedule, removed: bool) -> ScheduleRecord:
    return ScheduleRecord(
        schedule.name,
        schedule.definition.source,
        schedule.secret,
        schedule.revision,
        schedule.paused,
        schedule.pause_reason,
        schedule.created_wall,
        schedule.updated_wall,
        schedule.since_wall,
        removed,
    )


def fire_record(fire: Fire) -> FireRecord:
    return FireRecord(
        fire.schedule,
        fire.kind.value,
        fire.slot,
        fire.outcome.value,
        fire.reason,
        fire.run_id,
        fire.run_state.value if fire.run_state is not None else "",
        fire.decided_wall,
        fire.finished_wall,
        fire.made_up,
        fire.alert,
        fire.until,
    )


def origin_record(run: Run) -> OriginRecord:
    told = dict(run.variables)
    kind, slot = (run.fire.kind.value, run.fire.slot) if run.fire is not None else ("", 0)
    return OriginRecord(run.sequence, told.get("TITAN_SCHEDULE", ""), kind, slot, run.variables)


def restore_fire(record: FireRecord) -> Fire:
    return Fire(
        record.schedule,
        record.slot,
        FireKind(record.kind),
        FireOutcome(record.outcome),
        record.reason,
        record.run_id,
        RunState(record.run_state) if record.run_state else None,
        record.decided_wall,
        record.finished_wall,
        record.made_up,
        record.alert,
        record.until,
    )


def restore_schedule(stored: StoredSchedule) -> Schedule:
    """Without its runs, and without a timer."""
    record = stored.record
    schedule = Schedule(
        stored.definition, record.secret, record.created_wall, record.updated_wall, record.since_wall, record.revision
    )
    schedule.paused, schedule.pause_reason, schedule.trouble = record.paused, record.pause_reason, stored.trouble
    schedule.cursor, schedule.ahead, schedule.last_trigger = stored.cursor, set(stored.ahead), stored.last_trigger
    for fire in map(restore_fire, stored.waiting):
        (schedule.made_up if fire.made_up else schedule.waiting).append(fire)
    schedule.made_up = deque(sorted(schedule.made_up, key=lambda fire: fire.slot))
    return schedule
