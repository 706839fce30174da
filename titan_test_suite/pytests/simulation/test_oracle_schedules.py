"""The judge is judged, as in `test_oracle`: defects in how schedules fire, and in how they follow the clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from titan_core.scheduler import catch_up, fires, recovery, schedules
from titan_core.scheduler.actions import Action, RecordFire, RecordSchedule, RetractMissed
from titan_core.scheduler.model import Run
from titan_core.scheduler.records import Batch
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.schedule_records import FireRecord, StoredSchedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FireKind, FireOutcome, Overlap
from titan_test_suite.pytests.support.simulation.defects import Defects, Patch, around, rows_without
from titan_test_suite.pytests.support.simulation.desk import Desk

DEFECTS = Defects()
defect = DEFECTS.add


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_seen(name: str, monkeypatch: Patch) -> None:
    DEFECTS.check_is_seen(name, monkeypatch)


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────


@defect
def skip_skips_nothing(monkeypatch: Patch) -> None:
    def offer(original: Callable[..., Any], state: State, schedule: Schedule, fire: Fire) -> None:
        if schedule.definition.overlap is Overlap.SKIP:
            fires._launch(state, schedule, fire)
        else:
            original(state, schedule, fire)

    around(monkeypatch, fires, "offer", offer)


@defect
def what_waits_begins_though_a_run_goes_on(monkeypatch: Patch) -> None:
    def advance(original: Callable[..., Any], state: State, schedule: Schedule) -> None:
        original(state, schedule)
        if len(schedule.waiting) > 1 and not schedule.paused:
            fires._launch(state, schedule, schedule.waiting.popleft())

    around(monkeypatch, fires, "advance", advance)


@defect
def what_replaces_does_not_wait(monkeypatch: Patch) -> None:
    def replace_now(original: Callable[..., Any], state: State, schedule: Schedule, fire: Fire) -> None:
        original(state, schedule, fire)
        if fire in schedule.waiting:
            schedule.waiting.remove(fire)
            fires._launch(state, schedule, fire)

    around(monkeypatch, fires, "_replace", replace_now)


@defect
def what_is_replaced_goes_on(monkeypatch: Patch) -> None:
    monkeypatch.setattr(fires, "by_hand", SimpleNamespace(cancel_run=lambda state, run, reason: None))


@defect
def what_was_made_up_for_goes_first(monkeypatch: Patch) -> None:
    def advance(original: Callable[..., Any], state: State, schedule: Schedule) -> None:
        if schedule.made_up and schedule.waiting and not schedule.live and not schedule.paused:
            fires._launch(state, schedule, schedule.made_up.popleft())
        original(state, schedule)

    around(monkeypatch, fires, "advance", advance)


@defect
def a_run_is_over_though_what_is_there_for_it_is_not(monkeypatch: Patch) -> None:
    monkeypatch.setattr(fires, "services", SimpleNamespace(settle=lambda state: None))


@defect
def nobody_has_the_next_turn_when_a_run_is_over(monkeypatch: Patch) -> None:
    def settle(original: Callable[..., Any], state: State) -> None:
        kept, state.schedules = state.schedules, {}
        original(state)
        state.schedules = kept

    around(monkeypatch, fires, "settle", settle)


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


@defect
def what_is_paused_fires(monkeypatch: Patch) -> None:
    def on_due(original: Callable[..., Any], state: State, schedule: Schedule, trouble: str) -> None:
        paused, schedule.paused = schedule.paused, False
        original(state, schedule, trouble)
        schedule.paused = paused

    around(monkeypatch, schedules, "on_due", on_due)


@defect
def the_slot_of_a_trigger_is_given_again(monkeypatch: Patch) -> None:
    def on_triggered(original: Callable[..., Any], state: State, name: str) -> None:
        if name in state.schedules:
            state.schedules[name].last_trigger = 0
        original(state, name)

    around(monkeypatch, schedules, "on_triggered", on_triggered)


@defect
def what_waits_outlives_its_schedule(monkeypatch: Patch) -> None:
    monkeypatch.setattr(fires, "drop_waiting", lambda state, schedule, reason: None)


@defect
def what_is_only_put_off_is_forgotten_when_the_timing_changes(monkeypatch: Patch) -> None:
    monkeypatch.setattr(schedules, "_has_passed", lambda state, schedule: False)


# ── what was passed over ──────────────────────────────────────────────────────────────────────────


@defect
def what_was_passed_over_comes_again(monkeypatch: Patch) -> None:
    def decide_on(original: Callable[..., Any], state: State, schedule: Schedule, *given: Any, **named: Any) -> None:
        cursor = schedule.cursor
        original(state, schedule, *given, **named)
        if schedule.cursor > cursor:
            schedule.cursor = cursor
            schedules.set_timer(state, schedule)

    around(monkeypatch, catch_up, "catch_up", decide_on)


@defect
def a_time_without_a_master_has_no_lines(monkeypatch: Patch) -> None:
    def resume(state: State, schedule: Schedule) -> None:
        catch_up.rewind(state, schedule, ())
        schedule.cursor = max(schedule.cursor, int(state.wall))
        schedules.set_timer(state, schedule)

    monkeypatch.setattr(recovery, "_resume", resume)


@defect
def there_is_no_end_to_what_is_made_up_for(monkeypatch: Patch) -> None:
    monkeypatch.setattr(catch_up, "MOST", 10**6)


@defect
def a_clock_that_is_set_forward_makes_a_burst(monkeypatch: Patch) -> None:
    def decide_on(original: Callable[..., Any], state: State, schedule: Schedule, why: str, at_most: int = 0) -> None:
        original(state, schedule, why)

    around(monkeypatch, catch_up, "catch_up", decide_on)


@defect
def what_is_older_than_the_window_is_made_up_for(monkeypatch: Patch) -> None:
    def wanted(original: Callable[..., Any], state: State, schedule: Schedule, *rest: Any) -> list[Fire]:
        definition = schedule.definition
        schedule.definition = replace(definition, catch_up_window_s=1e6)
        found: list[Fire] = original(state, schedule, *rest)
        schedule.definition = definition
        return found

    around(monkeypatch, catch_up, "_wanted", wanted)


@defect
def a_span_leaves_one_out(monkeypatch: Patch) -> None:
    def lines(original: Callable[..., Any], schedule: Schedule, until: int) -> list[Fire]:
        found: list[Fire] = original(schedule, until)
        return found[:1] + found[2:] if found and found[0].kind is FireKind.SPAN else found

    around(monkeypatch, catch_up, "_lines", lines)


# ── the wall clock ────────────────────────────────────────────────────────────────────────────────


@defect
def a_clock_that_was_set_is_not_looked_at_before_a_fire(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Desk, "clock_was_set", False)


@defect
def it_is_a_second_early_once_the_clock_was_set_back(monkeypatch: Patch) -> None:
    def set_timer(original: Callable[..., Any], state: State, schedule: Schedule) -> None:
        original(state, schedule)
        if schedule.ahead and schedule.next_slot is not None:
            state.timers.cancel(schedule.timer)
            schedule.timer = state.timers.add(schedule.next_slot - 1 - state.offset_s, schedule)

    around(monkeypatch, schedules, "set_timer", set_timer)


@defect
def what_lies_ahead_is_not_known_to_be_decided_on(monkeypatch: Patch) -> None:
    monkeypatch.setattr(
        schedules, "_next_slot", lambda schedule: schedule.definition.timetable.after(schedule.cursor)
    )


@defect
def what_lay_ahead_is_forgotten_once_it_has_passed(monkeypatch: Patch) -> None:
    def rewind(original: Callable[..., Any], state: State, schedule: Schedule, ahead: Iterable[int]) -> None:
        original(state, schedule, ahead)
        schedule.ahead = {slot for slot in schedule.ahead if slot > state.wall}

    around(monkeypatch, catch_up, "rewind", rewind)


@defect
def what_was_missed_of_the_future_stays_so(monkeypatch: Patch) -> None:
    around(monkeypatch, State, "act", _unless(RetractMissed))


@defect
def a_time_before_its_definition_is_none_of_its_own_though_the_clock_was_set_back(monkeypatch: Patch) -> None:
    def rewind(original: Callable[..., Any], state: State, schedule: Schedule, ahead: Iterable[int]) -> None:
        since = schedule.since_wall
        original(state, schedule, ahead)
        schedule.since_wall = since

    around(monkeypatch, catch_up, "rewind", rewind)


# ── what is written down ──────────────────────────────────────────────────────────────────────────


@defect
def a_run_and_its_line_are_of_two_steps(monkeypatch: Patch) -> None:
    held: list[FireRecord] = []

    def later(made: Batch) -> Batch:
        begun = [line for line in made.fires if any(origin.slot == line.slot for origin in made.origins)]
        others = [line for line in made.fires if line not in begun]
        made = made._replace(fires=[*held, *others])
        held[:] = begun
        return made

    rows_without(monkeypatch, later)


@defect
def what_became_of_a_run_is_not_in_its_line(monkeypatch: Patch) -> None:
    def note_run(original: Callable[..., Any], state: State, run: Run, fire: Fire) -> None:
        actions = list(state.actions)
        original(state, run, fire)
        state.actions = actions + [action for action in state.actions[len(actions) :] if not _is_of(action, fire)]

    around(monkeypatch, fires, "_note_run", note_run)


@defect
def a_run_is_told_when_it_began(monkeypatch: Patch) -> None:
    def begin(original: Callable[..., Any], state: State, schedule: Schedule, run_id: str, *rest: Any) -> Run:
        run: Run = original(state, schedule, run_id, *rest)
        run.variables = (run.variables[0], ("TITAN_SCHEDULED_FOR", fires.utc_text(state.wall)), *run.variables[2:])
        return run

    around(monkeypatch, fires, "_begin_run", begin)


@defect
def that_it_is_paused_is_not_written_down(monkeypatch: Patch) -> None:
    rows_without(
        monkeypatch,
        lambda made: made._replace(schedules=[record._replace(paused=False) for record in made.schedules]),
    )


@defect
def a_new_definition_is_not_written_down(monkeypatch: Patch) -> None:
    def on_defined(original: Callable[..., Any], state: State, event: Any) -> None:
        known = event.definition.name in state.schedules
        original(state, event)
        if known:
            state.actions = [action for action in state.actions if not isinstance(action, RecordSchedule)]

    around(monkeypatch, schedules, "on_defined", on_defined)


# ── recovery ──────────────────────────────────────────────────────────────────────────────────────


@defect
def recovery_forgets_what_waits(monkeypatch: Patch) -> None:
    def restore(original: Callable[..., Any], stored: StoredSchedule) -> Schedule:
        return original(stored._replace(waiting=()))

    around(monkeypatch, recovery, "restore_schedule", restore)


@defect
def recovery_puts_what_is_made_up_for_in_another_order(monkeypatch: Patch) -> None:
    def restore(original: Callable[..., Any], stored: StoredSchedule) -> Schedule:
        schedule: Schedule = original(stored)
        schedule.made_up.reverse()
        return schedule

    around(monkeypatch, recovery, "restore_schedule", restore)


@defect
def recovery_forgets_which_runs_go_on(monkeypatch: Patch) -> None:
    around(monkeypatch, recovery, "restore_run", lambda original, stored: original(stored._replace(fire=None)))


# ── who is told ───────────────────────────────────────────────────────────────────────────────────


@defect
def somebody_is_told_again(monkeypatch: Patch) -> None:
    def raise_alert(original: Callable[..., Any], state: State, schedule: Schedule, fire: Fire, about: str) -> None:
        fire.alert = ""
        original(state, schedule, fire, about)

    around(monkeypatch, fires, "raise_alert", raise_alert)


@defect
def nobody_is_told_of_what_was_missed(monkeypatch: Patch) -> None:
    def raise_alert(original: Callable[..., Any], state: State, schedule: Schedule, fire: Fire, about: str) -> None:
        if fire.outcome is not FireOutcome.MISSED:
            original(state, schedule, fire, about)

    around(monkeypatch, fires, "raise_alert", raise_alert)


@defect
def two_words_about_a_slot_are_one_run(monkeypatch: Patch) -> None:
    def launch(original: Callable[..., Any], state: State, *rest: Any) -> str:
        sequence, state.last_sequence = state.last_sequence, 0
        told: str = original(state, *rest)
        state.last_sequence += sequence
        return told

    around(monkeypatch, fires, "_launch_alert", launch)


def _unless(kind: type) -> Callable[..., None]:
    def act(original: Callable[..., Any], state: State, action: Action) -> None:
        if not isinstance(action, kind):
            original(state, action)

    return act


def _is_of(action: Action, fire: Fire) -> bool:
    return isinstance(action, RecordFire) and action.fire is fire
