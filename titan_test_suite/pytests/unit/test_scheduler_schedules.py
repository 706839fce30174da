"""Schedules in the core: due, overlapping, paused, fired by hand, missed, made up for; and the wall clock."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.instants import utc_text
from titan_core.scheduler.actions import RecordFire, RecordJobsAdded, SendAlert, StartAttempt
from titan_core.scheduler.events import (
    AlertSettled,
    RunCancelRequested,
    RunRecalled,
    TimePassed,
    WallClockSet,
)
from titan_core.scheduler.model import ServicePolicy
from titan_core.scheduler.schedule_model import AlertPolicy
from titan_core.scheduler.states import FireKind, Overlap, RunState, ScheduleState
from titan_test_suite.pytests.support.cluster_model import job, kept
from titan_test_suite.pytests.support.schedules import WALL, Every, KeptSchedules, Scheduled, asked, definition

FIRST = int(WALL) + 60
"""WALL is a whole minute."""


def finish(world: Scheduled, times: int = 1) -> None:
    """The running job of the oldest run ends well, so often."""
    for _ in range(times):
        attempt = next(iter(world.cluster.core.state.attempts.values()))
        world.cluster.finish(attempt.job.key)


# ── due ───────────────────────────────────────────────────────────────────────────────────────────


def test_it_fires_at_its_slot_never_early_and_once() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(59.999)
    assert world.outcomes() == [] and not world.cluster.running()
    world.cluster.advance(0.001)
    assert world.outcomes() == ["RAN"] and world.cluster.running() == ["work"]
    finish(world)
    world.cluster.advance(59.9)
    assert world.outcomes() == ["RAN"]
    world.cluster.advance(0.1)
    assert world.outcomes() == ["RAN", "RAN"]


def test_the_line_and_the_run_are_of_one_step() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(59)
    world.cluster.now += 1
    actions = world.cluster.handle(TimePassed())
    assert {type(action) for action in actions} >= {RecordFire, RecordJobsAdded, StartAttempt}


def test_a_run_knows_its_slot_and_has_the_schedules_name() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(60)
    (run,) = world.cluster.core.state.runs.values()
    assert dict(run.variables) == {"TITAN_SCHEDULE": "nightly", "TITAN_SCHEDULED_FOR": utc_text(FIRST)}
    assert run.name == "nightly" and run.run_id.startswith("nightly-20270115T080100-")
    assert int(run.run_id[-4:], 16) >= 0x8000


def test_secrets_differ_from_run_to_run() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(180)
    assert len({run.secret for run in world.cluster.core.state.runs.values()}) == 3


def test_a_schedule_without_further_slots_is_finished() -> None:
    world = Scheduled()
    world.define(definition(timetable=Every(60, FIRST)))
    assert world.schedule().state is ScheduleState.ACTIVE
    world.cluster.advance(600)
    assert world.outcomes() == ["RAN"] and world.schedule().state is ScheduleState.FINISHED
    assert world.cluster.core.next_due_at() is None


def test_many_due_at_once_are_launched_in_pieces_and_all() -> None:
    world = Scheduled()
    for number in range(120):
        world.define(f"s{number}")
    world.cluster.now += 60
    first = world.cluster.handle(TimePassed())
    assert sum(isinstance(action, RecordJobsAdded) for action in first) == 50
    world.cluster.advance(0)
    assert len(world.cluster.core.state.runs) == 120


def test_jitter_puts_off_the_same_each_time_and_never_up_to_the_next_slot() -> None:
    world = Scheduled()
    world.define(jitter_s=86400.0)
    delays = []
    for _ in range(20):
        due_at = world.cluster.core.next_due_at()
        assert due_at is not None
        world.cluster.advance(due_at - world.cluster.now)
        delays.append(world.wall - [key[2] for key in world.ledger()][-1])
        finish(world)
    assert all(0 <= delay < 60 for delay in delays) and len(set(delays)) == 20
    other = Scheduled()
    other.define(jitter_s=86400.0)
    due_at = other.cluster.core.next_due_at()
    assert due_at is not None and due_at + other.cluster.core.state.offset_s - FIRST == pytest.approx(delays[0])


def test_no_run_can_be_made() -> None:
    world = Scheduled()
    world.define()
    world.cluster.now += 60
    world.cluster.handle(TimePassed("the disk is full"))
    assert (world.outcomes(), world.reasons()) == (["FAILED"], ["the disk is full"])


# ── overlap ───────────────────────────────────────────────────────────────────────────────────────


def test_skip() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(180)
    assert world.outcomes() == ["RAN", "SKIPPED", "SKIPPED"]
    (run_id,) = world.runs()
    assert world.reasons()[1] == f"run {run_id} still goes on"
    finish(world)
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN", "SKIPPED", "SKIPPED", "RAN"]


def test_queue_runs_all_one_after_the_other() -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.advance(180)
    assert world.outcomes() == ["RAN", "QUEUED", "QUEUED"] and len(world.runs()) == 1
    finish(world)
    assert world.outcomes() == ["RAN", "RAN", "QUEUED"] and len(world.runs()) == 1
    finish(world, 2)
    assert world.outcomes() == ["RAN", "RAN", "RAN"] and not world.runs()


def test_a_queue_has_an_end() -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.checked = False
    world.cluster.advance(60 * 103)
    assert world.outcomes() == ["RAN", *["QUEUED"] * 100, "SKIPPED", "SKIPPED"]


def test_allow() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(180)
    assert world.outcomes() == ["RAN"] * 3 and len(world.runs()) == 3


def test_replace_cancels_and_begins_when_the_old_run_is_over() -> None:
    world = Scheduled()
    world.define(overlap="replace")
    world.cluster.advance(120)
    assert world.outcomes() == ["RAN", "QUEUED"]
    world.cluster.stopped("work")
    assert world.outcomes() == ["RAN", "RAN"] and len(world.runs()) == 1
    first = next(iter(world.ledger().values()))
    assert first.run_state == "CANCELLED"


def test_replace_only_the_newest_waits() -> None:
    world = Scheduled()
    world.define(overlap="replace")
    world.cluster.advance(240)
    assert world.outcomes() == ["RAN", "SKIPPED", "SKIPPED", "QUEUED"]
    assert world.reasons()[1].startswith("replaced by the fire of 2027-01-15T08:03:00Z")


def test_replace_of_a_run_that_only_waits_for_a_slot_begins_at_once() -> None:
    world = Scheduled()
    world.define("nightly", 60, job("gpu", requirement="GPU"), overlap="replace")
    world.cluster.advance(120)
    assert world.outcomes() == ["RAN", "RAN"] and len(world.runs()) == 1


def test_a_run_that_a_person_retries_counts_again() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(60)
    world.cluster.fail("work")
    (line,) = world.ledger().values()
    assert line.run_state == "FAILED" and not world.runs()
    world.cluster.retry("work")
    (line,) = world.ledger().values()
    assert (line.run_state, line.finished_wall) == ("RUNNING", 0.0) and world.runs()
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN", "SKIPPED"]
    finish(world)
    assert [line.run_state for line in world.ledger().values()] == ["COMPLETED", ""]


def test_a_run_that_grows_goes_on() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(60)
    (run_id,) = world.runs()
    world.cluster.add(job("more"), run_id=run_id)
    world.cluster.finish("work")
    assert world.runs() == [run_id]
    world.cluster.finish("more")
    assert not world.runs()


def test_a_run_that_keeps_a_service_is_over_when_that_is_ready() -> None:
    world = Scheduled()
    world.define("nightly", 60, kept("web"))
    world.cluster.advance(60)
    assert world.runs()
    world.cluster.ready("web")
    assert not world.runs()


# ── paused, by hand, removed ──────────────────────────────────────────────────────────────────────


def test_a_paused_schedule_says_of_each_slot_that_it_was_skipped() -> None:
    world = Scheduled()
    world.define()
    world.pause(reason="a holiday")
    world.cluster.advance(120)
    assert world.outcomes() == ["SKIPPED"] * 2 and set(world.reasons()) == {"paused: a holiday"}
    assert world.schedule().state is ScheduleState.PAUSED
    world.resume()
    world.cluster.advance(60)
    assert world.outcomes() == ["SKIPPED", "SKIPPED", "RAN"]


def test_what_waits_stays_while_it_is_paused() -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.advance(120)
    world.pause()
    finish(world)
    assert world.outcomes() == ["RAN", "QUEUED"]
    world.resume()
    assert world.outcomes() == ["RAN", "RAN"]


def test_trigger() -> None:
    world = Scheduled()
    world.define()
    world.pause()
    world.cluster.advance(7.5)
    world.trigger()
    ((_, kind, slot),) = world.ledger()
    assert (kind, slot) == ("trigger", int(WALL) + 7) and world.cluster.running() == ["work"]


def test_triggers_of_one_second_are_two_and_none_is_a_slot() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(60)
    world.trigger()
    world.trigger()
    assert [key[1:] for key in world.ledger()] == [("schedule", FIRST), ("trigger", FIRST), ("trigger", FIRST + 1)]
    assert len(world.runs()) == 3


def test_trigger_obeys_overlap() -> None:
    world = Scheduled()
    world.define()
    world.trigger()
    with pytest.raises(Conflict, match="still goes on, and its overlap is skip"):
        world.trigger()
    queued = Scheduled()
    queued.define(overlap="queue")
    queued.trigger()
    queued.trigger()
    assert queued.outcomes() == ["RAN", "QUEUED"]


def test_removed() -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.advance(120)
    world.remove()
    assert world.outcomes() == ["RAN", "SKIPPED"] and world.cluster.running() == ["work"]
    assert world.cluster.core.next_due_at() is None
    finish(world)
    assert next(iter(world.ledger().values())).run_state == "COMPLETED"
    with pytest.raises(NotFound, match="there is no schedule nightly"):
        world.remove()


def test_a_schedule_of_the_same_name_finds_the_runs_of_the_one_before() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(60)
    world.remove()
    world.define()
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN", "SKIPPED"]


# ── redefined ─────────────────────────────────────────────────────────────────────────────────────


def test_a_new_timing_holds_from_now_on() -> None:
    world = Scheduled()
    world.define(every=3600)
    world.cluster.advance(90)
    world.redefine(timetable=Every(60), timing=Every(60))
    assert world.schedule().revision == 2 and world.outcomes() == []
    world.cluster.advance(30)
    assert [key[2] for key in world.ledger()] == [FIRST + 60]


def test_what_is_launched_is_the_newest_definition() -> None:
    world = Scheduled()
    world.define()
    world.redefine(jobs=(job("other"),))
    world.cluster.advance(60)
    assert world.cluster.running() == ["other"]


def test_the_same_definition_changes_nothing() -> None:
    world = Scheduled()
    world.define()
    assert world.define() == [] and world.schedule().revision == 1
    world.define(pause=True)
    assert world.schedule().paused and world.schedule().revision == 1
    assert world.define() == [] and world.schedule().paused
    world.define(resume=True)
    assert not world.schedule().paused


# ── alerts ────────────────────────────────────────────────────────────────────────────────────────


def alerts(world: Scheduled) -> list[tuple[str, int]]:
    return [(action.about, action.fire.slot) for action in world.cluster.actions if isinstance(action, SendAlert)]


def test_a_failed_run_raises_an_alert_once() -> None:
    world = Scheduled()
    world.define(on_failure=AlertPolicy(webhook="http://alert"))
    world.cluster.advance(60)
    world.cluster.fail("work")
    assert alerts(world) == [("failure", FIRST)]
    assert next(iter(world.ledger().values())).alert == "due"
    world.cluster.handle(AlertSettled("nightly", FireKind.SCHEDULE, FIRST, "failure"))
    assert next(iter(world.ledger().values())).alert == "sent"
    world.cluster.retry("work")
    world.cluster.fail("work")
    assert len(alerts(world)) == 1


def test_no_alert_for_what_was_cancelled_or_completed() -> None:
    world = Scheduled()
    world.define(on_failure=AlertPolicy(webhook="http://alert"))
    world.cluster.advance(60)
    finish(world)
    world.cluster.advance(60)
    (run_id,) = world.runs()
    world.cluster.handle(RunCancelRequested(run_id, "no"))
    world.cluster.stopped("work")
    assert alerts(world) == [] and not world.runs()


def test_an_alert_that_could_not_be_sent_says_why() -> None:
    world = Scheduled()
    world.define(on_failure=AlertPolicy(webhook="http://alert"))
    world.cluster.advance(60)
    world.cluster.fail("work")
    world.cluster.handle(AlertSettled("nightly", FireKind.SCHEDULE, FIRST, "failure", "nobody listens"))
    assert next(iter(world.ledger().values())).alert == "nobody listens"


def test_an_alert_may_be_a_job() -> None:
    world = Scheduled()
    world.define(on_failure=AlertPolicy(job=job("tell")))
    world.cluster.advance(60)
    world.cluster.fail("work")
    assert world.cluster.running() == ["tell"]
    run = world.cluster.job("tell").run
    told = dict(run.variables)
    line = next(iter(world.ledger().values()))
    assert run.name == "nightly.on_failure" and line.alert == f"run {run.run_id}"
    assert (told["TITAN_ALERT"], told["TITAN_ALERT_RUN"]) == ("failure", line.run_id)
    assert not world.runs(), "the run of an alert is none of the schedule's"


# ── made up for ───────────────────────────────────────────────────────────────────────────────────


def test_backfill_runs_past_slots_in_order_one_at_a_time() -> None:
    world = Scheduled()
    world.define()
    world.pause()
    world.cluster.advance(180)
    world.resume()
    world.backfill(FIRST, FIRST + 60)
    assert world.outcomes() == ["RAN", "QUEUED", "SKIPPED"]
    finish(world)
    assert world.outcomes() == ["RAN", "RAN", "SKIPPED"]
    assert [line.made_up for line in world.ledger().values()] == [True, True, False]


def test_a_backfill_costs_no_regular_fire() -> None:
    world = Scheduled()
    world.define()
    world.backfill(FIRST - 120, FIRST - 60)
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN", "QUEUED", "QUEUED"]
    finish(world)
    assert world.outcomes() == ["RAN", "QUEUED", "RAN"], "what is due goes first"
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN", "QUEUED", "RAN", "SKIPPED"]
    finish(world)
    assert world.outcomes() == ["RAN", "RAN", "RAN", "SKIPPED"]


def test_backfill_where_runs_may_overlap() -> None:
    world = Scheduled(slots=20)
    world.define(overlap="allow")
    world.backfill(*range(FIRST - 60 * 15, FIRST, 60))
    assert world.outcomes().count("RAN") == 10
    world.cluster.advance(60)
    assert world.outcomes()[-1] == "RAN" and world.outcomes().count("RAN") == 11


def test_backfill_leaves_out_what_waits_or_is_not_past() -> None:
    world = Scheduled()
    world.define()
    world.backfill(FIRST - 120, FIRST - 60)
    world.backfill(FIRST - 120, FIRST - 60, FIRST)
    assert world.outcomes() == ["RAN", "QUEUED"]


def test_a_backfill_can_be_cancelled() -> None:
    world = Scheduled()
    world.define()
    world.backfill(FIRST - 120, FIRST - 60)
    world.cancel_backfill()
    assert world.outcomes() == ["RAN", "SKIPPED"]
    with pytest.raises(Conflict, match="nothing waits"):
        world.cancel_backfill()


# ── the wall clock ────────────────────────────────────────────────────────────────────────────────


def test_set_forward_over_no_slot() -> None:
    world = Scheduled()
    world.define()
    world.set_clock(30)
    world.cluster.advance(30)
    assert world.outcomes() == ["RAN"]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("none", ["MISSED"] * 3), ("last", ["MISSED", "MISSED", "RAN"]), ("all", ["MISSED", "MISSED", "RAN"])],
)
def test_set_forward_is_no_burst(policy: str, expected: list[str]) -> None:
    world = Scheduled()
    world.define(catch_up=policy, overlap="allow")
    world.set_clock(200)
    assert world.outcomes() == expected
    assert "the clock was set forward by 3.3 min" in world.reasons()[0]
    world.cluster.advance(40)
    assert [key[2] for key in world.ledger()] == [FIRST, FIRST + 60, FIRST + 120, FIRST + 180]


def test_set_back_nothing_comes_twice() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(200)
    world.set_clock(-150)
    assert world.outcomes() == ["RAN"] * 3
    world.cluster.advance(149)
    assert len(world.outcomes()) == 3
    world.cluster.advance(41)
    assert [key[2] for key in world.ledger()] == [FIRST, FIRST + 60, FIRST + 120, FIRST + 180]


def test_forward_by_mistake_and_back_again_loses_nothing() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.set_clock(86400 * 365)
    assert world.outcomes().count("RAN") == 1 and len(world.outcomes()) == 101
    assert next(iter(world.ledger().values())).until > FIRST
    world.set_clock(-86400 * 365)
    assert world.outcomes() == ["RAN"]
    world.cluster.advance(120)
    assert [key[2] for key in world.ledger()][:2] == [FIRST, FIRST + 60]
    assert world.outcomes() == ["RAN"] * 3


def test_set_forward_past_the_end() -> None:
    world = Scheduled()
    world.define(definition(timetable=Every(60, FIRST), catch_up="none"))
    world.set_clock(10_000)
    assert world.outcomes() == ["MISSED"] and world.schedule().state is ScheduleState.FINISHED


def test_set_forward_by_a_moment_over_a_slot_is_a_fire_that_is_late() -> None:
    world = Scheduled()
    world.define(catch_up="none", on_missed=AlertPolicy(webhook="http://alert"))
    world.cluster.advance(59.998)
    world.set_clock(0.003)
    world.cluster.advance(0)
    assert world.outcomes() == ["RAN"] and alerts(world) == []


def test_set_back_without_a_ledger_nothing_comes_before_where_it_was() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.checked = True
    world.cluster.advance(60 * 30)
    world.cluster.handle(WallClockSet(world.cluster.core.state.offset_s - 3600, None))
    world.cluster.advance(3599)
    assert world.outcomes() == ["RAN"] * 30
    world.cluster.advance(61)
    assert world.outcomes() == ["RAN"] * 31


def test_of_a_fire_that_no_run_could_be_made_of_no_job_tells() -> None:
    world = Scheduled()
    world.define(on_failure=AlertPolicy(job=job("tell")))
    world.cluster.now += 60
    world.cluster.handle(TimePassed("the disk is full"))
    (line,) = world.ledger().values()
    assert line.alert == "no job can tell of it, since no run can be made" and not world.cluster.core.state.runs


def test_removed_schedules_leave_nothing_in_memory() -> None:
    world = Scheduled()
    world.define()
    world.cluster.advance(60)
    world.remove()
    finish(world)
    state = world.cluster.core.state
    assert (state.schedules, state.live_fires, state.alerts) == ({}, {}, {})


def test_set_back_again_what_has_passed_meanwhile_does_not_come_twice() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(130)
    world.set_clock(-100)
    world.cluster.advance(95)
    world.set_clock(-0.01)
    world.cluster.advance(20)
    assert world.outcomes() == ["RAN", "RAN"]


def test_set_back_a_fire_that_a_person_asked_for_is_no_slot() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(59.5)
    world.trigger()
    world.trigger()
    world.set_clock(-0.2)
    world.cluster.advance(1)
    slots = [key[1:] for key in world.ledger()]
    assert slots == [("trigger", FIRST - 1), ("trigger", FIRST), ("schedule", FIRST)]


def test_a_new_timing_after_the_clock_was_set_back_holds_from_now_on() -> None:
    world = Scheduled()
    world.define(overlap="allow")
    world.cluster.advance(130)
    world.set_clock(-100)
    world.cluster.advance(95)
    world.redefine(timetable=Every(7), timing=Every(7))
    next_slot = world.schedule().next_slot
    assert next_slot is not None and next_slot > world.wall


# ── only put off ──────────────────────────────────────────────────────────────────────────────────


def put_off(world: Scheduled) -> None:
    """Slot FIRST has come, and is put off by its jitter."""
    world.define(jitter_s=60.0)
    world.cluster.advance(60.001)
    assert world.outcomes() == []


def test_what_is_put_off_has_its_turn_when_the_timing_changes() -> None:
    world = Scheduled()
    put_off(world)
    world.redefine(timetable=Every(7), timing=Every(7))
    assert [key[1:] for key in world.ledger()] == [("schedule", FIRST)] and world.outcomes() == ["RAN"]


def test_what_is_put_off_is_skipped_when_its_schedule_is_removed() -> None:
    world = Scheduled()
    put_off(world)
    world.remove()
    assert (world.outcomes(), world.reasons()) == (["SKIPPED"], ["the schedule was removed"])


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_a_trigger_is_refused_when_another_fire_waits_and_its_overlap_is_skip() -> None:
    world = Scheduled()
    world.define()
    world.backfill(FIRST - 60)
    world.cluster.advance(60)
    world.pause()
    finish(world)
    assert world.outcomes() == ["RAN", "QUEUED"] and not world.runs()
    with pytest.raises(Conflict, match="waits already, and its overlap is skip"):
        world.trigger()


@pytest.mark.parametrize("overlap", ["queue", "replace"])
def test_a_trigger_of_a_paused_schedule_begins_though_a_fire_waits_that_is_not_to(overlap: str) -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.advance(120)
    world.pause()
    finish(world)
    assert world.outcomes() == ["RAN", "QUEUED"] and not world.runs()
    world.redefine(overlap=Overlap(overlap))
    world.trigger()
    assert world.outcomes()[-1] == "RAN" and len(world.runs()) == 1


def test_what_is_there_for_its_run_is_stopped_before_the_next_run_begins() -> None:
    world = Scheduled()
    world.define("nightly", 60, job("work"), kept("web", policy=ServicePolicy(run_scoped=True)), overlap="queue")
    world.cluster.advance(60)
    world.cluster.ready("web")
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN", "QUEUED"]
    world.cluster.finish("work")
    assert world.outcomes() == ["RAN", "QUEUED"], "the service is being stopped"
    world.cluster.stopped("web")
    assert world.outcomes() == ["RAN", "RAN"] and len(world.runs()) == 1


# ── made up for what somebody is told of ──────────────────────────────────────────────────────────


def test_a_word_about_what_was_missed_does_not_undo_that_it_was_made_up_for() -> None:
    world = Scheduled()
    world.define(overlap="allow", catch_up="none", on_missed=AlertPolicy(webhook="http://alert"))
    world.set_clock(100)
    world.cluster.advance(60 * 25)
    world.backfill(FIRST)
    world.cluster.handle(AlertSettled("nightly", FireKind.SCHEDULE, FIRST, "failure"))
    line = world.ledger()["nightly", "schedule", FIRST]
    assert (line.outcome, line.alert) == ("RAN", "")


def test_what_is_missed_twice_is_told_of_by_two_runs() -> None:
    world = Scheduled()
    world.define(catch_up="none", on_missed=AlertPolicy(job=job("tell")))
    for _ in range(2):
        world.set_clock(65)
        world.set_clock(-65)
    told = [run.run_id for run in world.cluster.core.state.runs.values()]
    assert len(told) == 2 and all(run_id.startswith("nightly.on_missed-") for run_id in told)


# ── a master that is started again ────────────────────────────────────────────────────────────────


def test_what_waits_to_be_made_up_for_keeps_its_order() -> None:
    world = KeptSchedules()
    world.define(asked())
    world.backfill(FIRST - 120, FIRST - 60)
    world.backfill(FIRST - 240, FIRST - 180)
    world.restart_master()
    finish(world, 3)
    assert world.outcomes() == ["RAN", "RAN", "RAN", "RAN"]
    began = [line.decided_wall for line in world.ledger().values()]
    assert began[2] == min(began) and began[:2] == sorted(began[:2]) and began[3] == max(began)


def test_slots_before_its_definition_count_once_the_clock_was_set_back() -> None:
    world = KeptSchedules()
    world.define(asked(catch_up="none"))
    world.set_clock(-600)
    world.cluster.advance(60)
    world.restart_master(away_s=180)
    assert world.outcomes() == ["RAN", "MISSED", "MISSED", "MISSED"]


def test_nobody_is_told_of_what_was_missed_of_a_future_that_comes_again() -> None:
    world = KeptSchedules()
    world.define(asked(catch_up="none", webhook="http://alert"))
    world.set_clock(200)
    assert world.outcomes() == ["MISSED"] * 3 and len(alerts(world)) == 1
    world.restart_master(forward_s=-200)
    assert world.outcomes() == [] and len(alerts(world)) == 1
    world.cluster.advance(60)
    assert world.outcomes() == ["RAN"]


def test_a_span_of_which_somebody_is_told_ends_where_the_clock_was_set_back_to() -> None:
    world = KeptSchedules()
    world.define(asked(catch_up="all", webhook="http://alert"))
    world.restart_master(away_s=60 * 200)
    ((about, slot),) = alerts(world)
    assert (about, slot, world.outcomes()[0]) == ("missed", FIRST, "MISSED")
    world.set_clock(-60 * 150)
    world.cluster.handle(AlertSettled("nightly", FireKind.SPAN, FIRST, "missed"))
    line = world.ledger()["nightly", "span", FIRST]
    assert line.alert == "sent" and line.until <= world.wall


def test_a_run_that_is_recalled_has_the_line_that_is_remembered() -> None:
    world = KeptSchedules(runs_kept=1)
    world.define(asked())
    world.cluster.advance(60)
    (run_id,) = world.runs()
    world.cluster.fail("work")
    world.cluster.advance(60)
    finish(world)
    state, stored = world.cluster.core.state, world.cluster.rows.stored_run(run_id)
    assert run_id not in state.runs and stored is not None
    world.cluster.handle(RunRecalled(stored))
    world.cluster.retry_run(run_id)
    assert state.runs[run_id].fire in world.schedule().recent
    assert [fire.run_state for fire in world.schedule().recent] == [RunState.RUNNING, RunState.COMPLETED]


def test_an_alert_of_before_a_backfill_says_nothing_of_the_one_after() -> None:
    world = Scheduled()
    world.define(
        on_failure=AlertPolicy(webhook="http://f"), on_missed=AlertPolicy(webhook="http://m"), catch_up="none"
    )
    world.set_clock(61)
    world.backfill(FIRST)
    world.cluster.fail("work")
    assert alerts(world) == [("missed", FIRST), ("failure", FIRST)]
    world.cluster.handle(AlertSettled("nightly", FireKind.SCHEDULE, FIRST, "missed"))
    assert next(iter(world.ledger().values())).alert == "due"
    world.cluster.handle(AlertSettled("nightly", FireKind.SCHEDULE, FIRST, "failure"))
    assert next(iter(world.ledger().values())).alert == "sent"


def test_what_waits_is_launched_when_runs_may_overlap() -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.advance(180)
    assert world.outcomes() == ["RAN", "QUEUED", "QUEUED"]
    world.redefine(overlap=Overlap.ALLOW)
    assert world.outcomes() == ["RAN"] * 3


def test_a_person_may_fire_a_paused_schedule_and_is_not_kept_waiting_by_the_pause() -> None:
    world = Scheduled()
    world.define(overlap="queue")
    world.cluster.advance(120)
    world.pause()
    world.trigger()
    assert world.outcomes() == ["RAN", "QUEUED", "QUEUED"]
    finish(world)
    assert [(key[1], line.outcome) for key, line in world.ledger().items()] == [
        ("schedule", "RAN"),
        ("schedule", "QUEUED"),
        ("trigger", "RAN"),
    ]


def test_what_a_namesake_has_missed_of_the_future_is_taken_back() -> None:
    world = KeptSchedules()
    world.define(asked(catch_up="none"))
    world.set_clock(200)
    world.remove()
    assert world.outcomes() == ["MISSED"] * 3
    world.restart_master(forward_s=-200)
    world.define(asked())
    assert world.outcomes() == []


def test_what_lay_ahead_hides_nothing_that_came_before_it() -> None:
    world = KeptSchedules()
    world.define(asked(overlap="allow"))
    world.set_clock(200)
    world.set_clock(-200)
    assert world.outcomes() == ["RAN"]
    world.restart_master(away_s=250)
    assert world.outcomes() == ["MISSED", "MISSED", "RAN", "RAN"]
