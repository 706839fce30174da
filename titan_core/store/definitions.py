"""Schedules between the message that asks for one, which is also what is stored, and the scheduler's form of it."""

from __future__ import annotations

from titan_core.protocol import messages
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.schedule_model import AlertPolicy, Definition
from titan_core.scheduler.states import CatchUp, Overlap
from titan_core.store.specs import scheduler_spec
from titan_core.timetable import timetable


def definition(source: messages.ScheduleSpec) -> Definition:
    """The definition in a message whose contents are pinned. Raises InvalidRequest for a timing that is none."""
    return Definition(
        source.name,
        timetable(source.timing),
        source.timing,
        tuple(map(scheduler_spec, source.jobs)),
        Overlap(source.overlap),
        CatchUp(source.catch_up),
        source.catch_up_window_s,
        source.timing.jitter_s,
        _policy(source.on_missed),
        _policy(source.on_failure),
        source,
    )


def _policy(alert: messages.Alert) -> AlertPolicy:
    job: JobSpec | None = scheduler_spec(alert.jobs[0]) if alert.jobs else None
    return AlertPolicy(alert.webhook, job)
