"""Slots that passed without anybody deciding on them: the master was away, or the wall clock was set.

- The master is back: of the slots since the last one that was decided on, `catch_up` says which are made up for;
  the others are MISSED.
- The clock was set forward: the same for those that were passed over, but one at most is made up for; no burst.
- The clock was set back: slots that were decided on lie ahead now. Those that were MISSED get their turn after
  all, the others do not come again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import floor

from titan_core.scheduler import fires, schedules
from titan_core.scheduler.actions import RecordSchedule, RetractMissed
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import CatchUp, FireKind, FireOutcome

MOST = 100
"""Slots that are made up for, and that get a line each; one line stands for all that are older."""
NO_MASTER = "there was no master"
LATE_S = 1.0
"""When the clock was set forward over a slot by no more than this, the slot is launched late as any other may be."""


def catch_up(state: State, schedule: Schedule, why: str, at_most: int = MOST, late_s: float = 0.0) -> None:
    """Decide on every slot that should have been launched by now, and go on with the next one: the last of them, if
    it was due no more than `late_s` ago."""
    until = _undecided_until(state, schedule, late_s)
    if until > schedule.cursor:
        lines = _lines(schedule, until)
        if lines:
            _decide_on(state, schedule, lines, why, at_most)
        schedule.cursor = until
        schedule.ahead = {later for later in schedule.ahead if later > until}
    schedules.set_timer(state, schedule)
    fires.advance(state, schedule)


def _undecided_until(state: State, schedule: Schedule, late_s: float) -> int:
    """Now; or just before a slot that is past, but put off until later, or only just due."""
    until = floor(state.wall)
    last = schedule.definition.timetable.newest(schedule.cursor, until, 1)
    if last and last[-1] + schedules.put_off_s(schedule, last[-1]) > state.wall - late_s:
        return last[-1] - 1
    return until


def _lines(schedule: Schedule, until: int) -> list[Fire]:
    """What is to be decided on up to then, oldest first."""
    newest = schedule.definition.timetable.newest(schedule.cursor, until, MOST + 1)
    lines = [Fire(schedule.name, slot, FireKind.SCHEDULE) for slot in newest[-MOST:] if slot not in schedule.ahead]
    if len(newest) > MOST:
        first = schedule.definition.timetable.after(schedule.cursor)
        assert first is not None
        lines.insert(0, Fire(schedule.name, first, FireKind.SPAN, until=newest[0]))
    return lines


def _decide_on(state: State, schedule: Schedule, lines: list[Fire], why: str, at_most: int) -> None:
    if schedule.paused:
        for fire in lines:
            fires.decide(state, schedule, fire, FireOutcome.SKIPPED, schedules.paused_because(schedule))
        return
    wanted = _wanted(state, schedule, lines, at_most)
    missed = [fire for fire in lines if fire not in wanted]
    for fire in missed:
        fires.decide(state, schedule, fire, FireOutcome.MISSED, why)
    if missed:
        fires.raise_alert(state, schedule, missed[-1], fires.MISSED)
    fires.make_up(state, schedule, wanted, f"{why} when it was due")


def _wanted(state: State, schedule: Schedule, lines: list[Fire], at_most: int) -> list[Fire]:
    """Those that the definition has made up for."""
    definition = schedule.definition
    if definition.catch_up is CatchUp.NONE:
        return []
    count = min(at_most, 1 if definition.catch_up is CatchUp.LAST else MOST)
    oldest = state.wall - definition.catch_up_window_s
    return [fire for fire in lines if fire.kind is FireKind.SCHEDULE and fire.slot >= oldest][-count:]


# ── the wall clock ────────────────────────────────────────────────────────────────────────────────


def on_clock_set(state: State, offset_s: float, ahead: Mapping[str, Iterable[int]] | None) -> None:
    """Wall time is now `offset_s` more than monotonic time; `ahead`: see `WallClockSet`."""
    moved_s, state.offset_s = offset_s - state.offset_s, offset_s
    if moved_s < 0 and ahead is None:
        for schedule in state.schedules.values():
            schedules.set_timer(state, schedule)
    elif moved_s < 0:
        assert ahead is not None
        _take_back(state)
        for schedule in state.schedules.values():
            rewind(state, schedule, ahead.get(schedule.name, ()))
            schedules.set_timer(state, schedule)
    elif moved_s > 0:
        for schedule in state.schedules.values():
            catch_up(state, schedule, f"the clock was set forward by {_amount(moved_s)}", 1, LATE_S)


def _take_back(state: State) -> None:
    """What was MISSED of the future, by a clock that was wrong, has not been missed."""
    state.act(RetractMissed(state.wall))
    for key, fire in list(state.alerts.items()):
        if is_taken_back(fire, state.wall):
            del state.alerts[key]


def rewind(state: State, schedule: Schedule, ahead: Iterable[int]) -> None:
    """Go back to now, but not to the slots `ahead`, nor to what is remembered: they have been decided on."""
    wall = state.wall
    for fire in list(schedule.recent):
        if is_taken_back(fire, wall):
            schedule.recent.remove(fire)
    remembered = (fire.slot for fire in schedule.recent if fire.kind is FireKind.SCHEDULE)
    schedule.cursor = min(schedule.cursor, floor(wall))
    schedule.ahead = {slot for slot in (*schedule.ahead, *ahead, *remembered) if slot > schedule.cursor}
    if schedule.since_wall > wall:
        schedule.since_wall = wall
        state.act(RecordSchedule(schedule))


def is_taken_back(fire: Fire, wall: float) -> bool:
    """Whether it was MISSED of the future, and its line is gone. A span is so of the part that lies ahead."""
    if fire.until > wall:
        fire.until = floor(wall)
    return fire.outcome is FireOutcome.MISSED and fire.slot > wall


def _amount(seconds: float) -> str:
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.1f} {unit}"
    return f"{seconds:.3g} s"
