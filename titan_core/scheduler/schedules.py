"""Schedules: defined, due, paused, fired by hand, removed. What a fire then comes to is in `fires`.

One timer a schedule, for its next slot. When it is due, the slot is decided on, whatever that comes to, and
the next one gets the timer: so no slot is passed over, and none comes twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler import fires
from titan_core.scheduler.actions import RecordSchedule, RetractMissed
from titan_core.scheduler.events import BackfillRequested, ScheduleDefined
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FireKind, FireOutcome, Overlap

REMOVED = "the schedule was removed"


def named(state: State, name: str) -> Schedule:
    """Raises NotFound."""
    schedule = state.schedules.get(name)
    if schedule is None:
        raise NotFound(f"there is no schedule {name}")
    return schedule


# ── definitions ───────────────────────────────────────────────────────────────────────────────────


def on_defined(state: State, event: ScheduleDefined) -> None:
    """A new schedule, or a new definition of one. Raises Conflict, and changes nothing, if it was to be new."""
    schedule = state.schedules.get(event.definition.name)
    if schedule is None:
        schedule = _new(state, event)
    elif event.only_new:
        raise Conflict(f"there is a schedule {schedule.name} already, and it was not to be changed")
    elif schedule.definition != event.definition:
        _redefine(state, schedule, event)
    elif (event.pause and not schedule.paused) or (event.resume and schedule.paused):
        pass
    else:
        return
    if event.pause or event.resume:
        schedule.paused, schedule.pause_reason = event.pause, ""
    state.act(RecordSchedule(schedule))
    set_timer(state, schedule)
    fires.advance(state, schedule)


def _new(state: State, event: ScheduleDefined) -> Schedule:
    wall = state.wall
    schedule = Schedule(event.definition, event.secret, wall, wall, wall, cursor=int(wall))
    schedule.ahead, schedule.last_trigger = set(event.ahead), event.last_trigger
    schedule.live = state.live_of(schedule.name)
    state.schedules[schedule.name] = schedule
    state.act(RetractMissed(wall))  # of a namesake: the clock may have been set back while there was no schedule
    return schedule


def _redefine(state: State, schedule: Schedule, event: ScheduleDefined) -> None:
    """With another timing, its slots are those of the new one from now on; what was only put off has its turn."""
    if schedule.definition.timing != event.definition.timing:
        while _has_passed(state, schedule):
            on_due(state, schedule, "")
        schedule.since_wall = state.wall
        schedule.cursor = int(state.wall)
    schedule.definition, schedule.trouble = event.definition, ""
    schedule.updated_wall = state.wall
    schedule.revision += 1


def on_removed(state: State, name: str) -> None:
    """Its runs go on, and its ledger stays."""
    schedule = named(state, name)
    while _has_passed(state, schedule):
        fires.decide(state, schedule, _take_slot(schedule), FireOutcome.SKIPPED, REMOVED)
        set_timer(state, schedule)
    fires.drop_waiting(state, schedule, REMOVED)
    state.timers.cancel(schedule.timer)
    del state.schedules[name]
    if not schedule.live:
        del state.live_fires[name]
    state.act(RecordSchedule(schedule, removed=True))


def on_paused(state: State, name: str, reason: str) -> None:
    schedule = named(state, name)
    schedule.paused, schedule.pause_reason = True, reason
    state.act(RecordSchedule(schedule))


def on_resumed(state: State, name: str) -> None:
    schedule = named(state, name)
    schedule.paused, schedule.pause_reason = False, ""
    state.act(RecordSchedule(schedule))
    fires.advance(state, schedule)


# ── by the clock ──────────────────────────────────────────────────────────────────────────────────


def set_timer(state: State, schedule: Schedule) -> None:
    """For the first slot that is not decided on."""
    state.timers.cancel(schedule.timer)
    schedule.timer, schedule.next_slot = 0, _next_slot(schedule)
    if schedule.next_slot is not None:
        due_wall = schedule.next_slot + put_off_s(schedule, schedule.next_slot)
        schedule.timer = state.timers.add(due_wall - state.offset_s, schedule)


def _next_slot(schedule: Schedule) -> int | None:
    timetable, last = schedule.definition.timetable, max((schedule.cursor, *schedule.ahead))
    undecided = (slot for slot in timetable.between(schedule.cursor, last) if slot not in schedule.ahead)
    return next(undecided, None) or timetable.after(last)


def _has_passed(state: State, schedule: Schedule) -> bool:
    """Whether its next slot is not later than now; it is put off, or about to be launched."""
    return schedule.next_slot is not None and schedule.next_slot <= state.wall


def put_off_s(schedule: Schedule, slot: int) -> float:
    """How long after its slot it is due: its own part of the jitter, the same each time, and never up to the next."""
    definition = schedule.definition
    if not definition.jitter_s:
        return 0.0
    following = definition.timetable.after(slot)
    most_s = definition.jitter_s if following is None else min(definition.jitter_s, following - slot)
    digest = hashlib.blake2b(str(slot).encode(), key=schedule.secret, digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32 * most_s


def on_due(state: State, schedule: Schedule, trouble: str) -> None:
    """Its next slot has come. `trouble`: why no run can be made; empty: one can."""
    fire = _take_slot(schedule)
    if schedule.paused:
        fires.decide(state, schedule, fire, FireOutcome.SKIPPED, paused_because(schedule))
    elif trouble:
        fires.decide(state, schedule, fire, FireOutcome.FAILED, trouble)
    else:
        fires.offer(state, schedule, fire)
    set_timer(state, schedule)


def _take_slot(schedule: Schedule) -> Fire:
    """Its next slot is decided on."""
    slot = schedule.next_slot
    assert slot is not None, f"{schedule.name} is due, and has no slot"
    schedule.cursor = slot
    schedule.ahead = {later for later in schedule.ahead if later > slot}
    return Fire(schedule.name, slot, FireKind.SCHEDULE)


def paused_because(schedule: Schedule) -> str:
    return f"paused: {schedule.pause_reason}" if schedule.pause_reason else "paused"


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


def on_triggered(state: State, name: str) -> None:
    """Raises Conflict, and changes nothing, when `overlap: skip` would have nothing come of it."""
    schedule = named(state, name)
    if schedule.definition.overlap is Overlap.SKIP and (schedule.live or schedule.waiting):
        going_on = next(iter(schedule.live), None)
        why = (
            f"run {going_on.run_id} of schedule {name} still goes on"
            if going_on
            else f"a fire of {name} waits already"
        )
        raise Conflict(f"{why}, and its overlap is skip; cancel it first")
    schedule.last_trigger = max(int(state.wall), schedule.last_trigger + 1)
    while fires.run_id_of(name, FireKind.TRIGGER.value, schedule.last_trigger) in state.runs:
        schedule.last_trigger += 1  # of a namesake whose ledger is not kept
    fires.offer(state, schedule, Fire(name, schedule.last_trigger, FireKind.TRIGGER))
    fires.advance(state, schedule)  # while it is paused, those that wait before it are not to begin


def on_backfill_requested(state: State, event: BackfillRequested) -> None:
    """Slots that wait already, or are not past, are left out."""
    schedule = named(state, event.name)
    taken = _slots([*schedule.waiting, *schedule.made_up, *schedule.live.values()])
    slots = [slot for slot in event.slots if slot <= schedule.cursor and slot not in taken]
    made_up = [_anew(state, schedule, slot) for slot in slots]
    fires.make_up(state, schedule, made_up, "backfill")


def on_backfill_cancelled(state: State, name: str) -> None:
    schedule = named(state, name)
    if not fires.drop_made_up(state, schedule, "its backfill was cancelled"):
        raise Conflict(f"nothing waits to be made up for by schedule {name}")


def _slots(of: Collection[Fire]) -> set[int]:
    return {fire.slot for fire in of if fire.kind is FireKind.SCHEDULE}


def _anew(state: State, schedule: Schedule, slot: int) -> Fire:
    """A fire in the place of the one that came to nothing; of that one nobody need be told any more."""
    fire = Fire(schedule.name, slot, FireKind.SCHEDULE)
    for about in (fires.MISSED, fires.FAILURE):
        state.alerts.pop((*fire.key, about), None)
    for known in [known for known in schedule.recent if known.key == fire.key]:
        schedule.recent.remove(known)
    return fire
