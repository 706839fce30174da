"""What the master shows of schedules: messages made of the model, and of the rows of their ledgers."""

from __future__ import annotations

from itertools import islice

from titan_core.protocol import messages
from titan_core.scheduler.schedule_model import Schedule
from titan_core.scheduler.schedule_records import FireRecord, fire_record

LIVE_SHOWN = 100


def schedule_status(schedule: Schedule, whole: bool = False) -> messages.ScheduleStatus:
    """`whole`: with its jobs. Read under the engine's lock."""
    definition = schedule.definition
    source: messages.ScheduleSpec = definition.source
    last = [fire_status(fire_record(schedule.recent[-1]))] if schedule.recent else []
    return messages.ScheduleStatus(
        name=schedule.name,
        state=schedule.state.value,
        timing=source.timing,
        reason=schedule.trouble or schedule.pause_reason,
        overlap=definition.overlap.value,
        catch_up=definition.catch_up.value,
        catch_up_window_s=definition.catch_up_window_s,
        next_wall=float(schedule.next_slot or 0),
        live=tuple(run.run_id for run in islice(schedule.live, LIVE_SHOWN)),
        queued=len(schedule.waiting) + len(schedule.made_up),
        last=tuple(last),
        revision=schedule.revision,
        created_wall=schedule.created_wall,
        updated_wall=schedule.updated_wall,
        job_count=len(source.jobs),
        jobs=source.jobs if whole else (),
        on_missed=source.on_missed,
        on_failure=source.on_failure,
    )


def fire_status(fire: FireRecord) -> messages.FireStatus:
    return messages.FireStatus(
        schedule=fire.schedule,
        slot_wall=float(fire.slot),
        kind=fire.kind,
        outcome=fire.outcome,
        reason=fire.reason,
        run_id=fire.run_id,
        run_state=fire.run_state,
        decided_wall=fire.decided_wall,
        finished_wall=fire.finished_wall,
        alert=fire.alert,
        until_wall=float(fire.until),
        made_up=fire.made_up,
    )
