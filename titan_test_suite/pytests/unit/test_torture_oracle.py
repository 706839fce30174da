"""The judge of the crash storm finds each lie in a story that was true before, and knows how long recoveries took."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from titan_core.instants import utc_text
from titan_core.protocol.messages import AttemptStatus, FireStatus, JobEvent, JobStatus
from titan_sdk import TitanJob
from titan_sdk.access import Access
from titan_test_suite.torture import fires, recovery
from titan_test_suite.torture.evidence import faults_of
from titan_test_suite.torture.faults import Kill
from titan_test_suite.torture.fires import Chronicle, FireEvidence
from titan_test_suite.torture.ledger import Ledger, Line
from titan_test_suite.torture.oracle import Evidence, Fault, judge
from titan_test_suite.torture.plans import Plan
from titan_test_suite.torture.promises import Promise
from titan_test_suite.torture.schedules import Keeper, Timed

RUN = "chain-client-0-1-20261122T120000-abcd"
OTHER_RUN = "chain-client-0-1-20261122T120001-beef"
WORKER = "box:8080"


def line(what: str, job_id: str, number: int, wall: float, run_id: str = RUN, exit_code: int = 0) -> Line:
    return Line(what, run_id, job_id, number, f"{job_id}#{number}", wall, 1, exit_code, WORKER)


def attempt(number: int, outcome: str, started: float, finished: float) -> AttemptStatus:
    return AttemptStatus(number, WORKER, outcome, started_wall=started, finished_wall=finished)


def job_status(job_id: str, state: str, *attempts: AttemptStatus) -> JobStatus:
    return JobStatus(RUN, job_id, state, attempts=attempts, final=state in ("COMPLETED", "DEAD", "CANCELLED"))


class Story:
    """`a` was lost with its worker at 11, ran again, then `b` ran: all of it as it must be."""

    def __init__(self) -> None:
        jobs = (TitanJob("a", "step.sh"), TitanJob("b", "step.sh", parents=("a",)))
        self.promise = Promise(Plan("chain", jobs), "chain-client-0-1", RUN, 9.0, seen_final={"a": "COMPLETED"})
        self.lines = [line("start", "a", 1, 10.0), line("start", "a", 2, 12.0), line("end", "a", 2, 13.0)]
        self.lines += [line("start", "b", 1, 14.0), line("end", "b", 1, 15.0)]
        self.jobs = {
            "a": job_status("a", "COMPLETED", attempt(1, "LOST", 10.0, 11.5), attempt(2, "SUCCEEDED", 12.0, 13.0)),
            "b": job_status("b", "COMPLETED", attempt(1, "SUCCEEDED", 14.0, 15.0)),
        }
        self.events = [JobEvent(1, 10.0, "a", "QUEUED", "RUNNING", attempt=1)]
        self.events.append(JobEvent(2, 11.5, "a", "RUNNING", "QUEUED", attempt=1))
        self.events.append(JobEvent(3, 12.0, "a", "QUEUED", "RUNNING", attempt=2))
        self.events.append(JobEvent(4, 13.0, "a", "RUNNING", "COMPLETED", attempt=2))
        self.faults = [Fault(WORKER, 11.0, 11.0)]
        self.survivors: list[str] = []
        self.used = {WORKER: 0}
        self.known = True

    def evidence(self) -> Evidence:
        known = {RUN: self.jobs} if self.known else {}
        events = {RUN: tuple(self.events)}
        ledger = Ledger(self.lines)
        return Evidence([self.promise], ledger, known, events, self.faults, self.survivors, self.used)

    def rules(self) -> list[str]:
        return [violation.rule for violation in judge(self.evidence())]

    def becomes(self, job_id: str, state: str, *attempts: AttemptStatus) -> None:
        self.jobs[job_id] = job_status(job_id, state, *attempts)


def deny(story: Story) -> None:
    story.known = False


def drop_a_job(story: Story) -> None:
    del story.jobs["b"]


def leave_waiting(story: Story) -> None:
    story.becomes("b", "QUEUED")
    story.lines = story.lines[:3]


def count_twice(story: Story) -> None:
    story.events.append(JobEvent(5, 13.5, "a", "RUNNING", "COMPLETED", attempt=2))


def submit_twice(story: Story) -> None:
    story.lines.append(line("start", "a", 1, 10.0, OTHER_RUN))


def answer_differently(story: Story) -> None:
    story.promise.doubled.append(OTHER_RUN)


def take_back(story: Story) -> None:
    story.promise.seen_final["b"] = "DEAD"


def never_run(story: Story) -> None:
    story.lines = story.lines[:3]


def never_end(story: Story) -> None:
    del story.lines[-1]


def fail_and_count(story: Story) -> None:
    story.lines[-1] = line("end", "b", 1, 15.0, exit_code=3)


def start_a_token_twice(story: Story) -> None:
    story.lines.append(line("start", "b", 1, 14.5))


def start_unknown(story: Story) -> None:
    story.lines.append(line("start", "b", 2, 16.0))


def lose_without_reason(story: Story) -> None:
    story.faults = [Fault("elsewhere:8080", 11.0, 11.0)]


def start_child_early(story: Story) -> None:
    story.lines[3] = line("start", "b", 1, 12.5)


def give_up_for_nothing(story: Story) -> None:
    story.becomes("b", "DEAD", attempt(1, "FAILED", 14.0, 15.0))


def forget_the_cascade(story: Story) -> None:
    lost = [attempt(number, "LOST", 10.0, 11.5) for number in (1, 2, 3, 4)]
    story.becomes("a", "DEAD", *lost)
    story.promise.seen_final.clear()
    del story.events[-1]


def repeat_a_version(story: Story) -> None:
    story.events[-1] = replace(story.events[-1], number=3)


def go_back_an_attempt(story: Story) -> None:
    story.events[-1] = replace(story.events[-1], attempt=1)


def leave_a_process(story: Story) -> None:
    story.survivors.append("someone (pid 7)")


def leave_a_slot(story: Story) -> None:
    story.used[WORKER] = 1


LIES: dict[Callable[[Story], None], set[str]] = {
    deny: {"I1"},
    drop_a_job: {"I1"},
    leave_waiting: {"I1"},
    count_twice: {"I2"},
    submit_twice: {"I2"},
    answer_differently: {"I2"},
    take_back: {"I3"},
    never_run: {"I4"},
    never_end: {"I4"},
    fail_and_count: {"I4"},
    start_a_token_twice: {"I5"},
    start_unknown: {"I5"},
    lose_without_reason: {"I5"},
    start_child_early: {"I6"},
    give_up_for_nothing: {"end"},
    forget_the_cascade: {"I6", "end"},
    repeat_a_version: {"I9"},
    go_back_an_attempt: {"I9"},
    leave_a_process: {"I7"},
    leave_a_slot: {"I8"},
}


def test_a_true_story_is_believed() -> None:
    assert Story().rules() == []


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_found(lie: Callable[[Story], None]) -> None:
    story = Story()
    lie(story)
    assert {*story.rules()} == LIES[lie]


def test_a_delayed_job_that_is_early_is_found() -> None:
    story = Story()
    story.promise.plan = replace(story.promise.plan, jobs=(TitanJob("a", "step.sh", delay="2s"),))
    assert story.rules() == ["I10"]


def test_what_was_to_run_once_is_dead_when_it_was_lost() -> None:
    story = Story()
    story.promise.plan = Plan("once", (TitanJob("a", "step.sh", max_attempts=1),))
    story.promise.seen_final.clear()
    story.becomes("a", "DEAD", attempt(1, "LOST", 10.0, 11.5))
    del story.events[-1]
    assert story.rules() == ["I5"], "it was started twice"
    story.lines = story.lines[:1]
    assert story.rules() == []
    story.becomes("a", "DEAD", attempt(1, "FAILED", 10.0, 11.5))
    assert story.rules() == ["end"]


def test_what_was_cancelled_must_stay_so() -> None:
    story = Story()
    story.promise.cancelled = True
    assert {*story.rules()} == {"end"}


def test_how_long_it_took_to_work_again() -> None:
    story = Story()
    kills = [Kill("master", 1.0), Kill("master", 8.0), Kill("worker-0", 11.0)]
    times = recovery.measure(kills, [], Ledger(story.lines), [story.promise], {WORKER: "worker-0"})
    assert times.master == [2.0], "the first kill was followed by another before anything was started"
    assert times.worker == [1.0]
    away = [Kill("master", 1.0), Kill("master", 8.0, again_wall=8.5)]
    assert recovery.measure(away, [], Ledger(story.lines), [story.promise], {}).master == [1.5]
    cut_off = [("worker-0", 10.5, 11.5)]
    assert not recovery.measure(kills, cut_off, Ledger(story.lines), [story.promise], {WORKER: "worker-0"}).worker


def test_percentiles() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [recovery.percentile(values, fraction) for fraction in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert math.isnan(recovery.percentile([], 0.5))


# ── services ──────────────────────────────────────────────────────────────────────────────────────


class ServiceStory(Story):
    """Two instances of `web`; the first was lost with its worker at 11, and both were stopped in the end."""

    def __init__(self) -> None:
        super().__init__()
        job = TitanJob("web", "hold.sh", type="service", instances=2)
        self.promise = Promise(Plan("twin", (job,), lasts=True), "chain-client-0-1", RUN, 9.0)
        self.lines = [line("start", "web", 1, 10.0), line("start", "web", 2, 12.0), line("start", "web.2", 1, 10.0)]
        lost, stopped = attempt(1, "LOST", 10.0, 11.5), attempt(2, "STOPPED", 12.0, 20.0)
        self.jobs = {
            "web": job_status("web", "COMPLETED", lost, stopped),
            "web.2": job_status("web.2", "COMPLETED", attempt(1, "STOPPED", 10.0, 20.0)),
        }
        self.events = []


def test_a_true_story_of_a_service_is_believed() -> None:
    assert ServiceStory().rules() == []


def end_by_itself(story: Story) -> None:
    story.becomes("web.2", "COMPLETED", attempt(1, "FAILED", 10.0, 12.0), attempt(2, "STOPPED", 12.0, 20.0))


def stop_for_nothing(story: Story) -> None:
    story.becomes("web.2", "COMPLETED", attempt(1, "STOPPED", 10.0, 12.0), attempt(2, "STOPPED", 12.0, 20.0))


def lose_an_instance_without_reason(story: Story) -> None:
    story.faults = []


def go_on(story: Story) -> None:
    story.becomes("web.2", "RUNNING", attempt(1, "", 10.0, 0.0))


def leave_final_states(story: Story) -> None:
    story.events = [
        JobEvent(1, 10.0, "web.2", "RUNNING", "COMPLETED"),
        JobEvent(2, 11.0, "web.2", "COMPLETED", "QUEUED"),
    ]


SERVICE_LIES: dict[Callable[[Story], None], set[str]] = {
    end_by_itself: {"I5"},
    stop_for_nothing: {"I5"},
    lose_an_instance_without_reason: {"I5"},
    go_on: {"I1"},
    leave_final_states: {"I9"},
}


@pytest.mark.parametrize("lie", SERVICE_LIES, ids=lambda lie: lie.__name__)
def test_a_lie_about_a_service_is_found(lie: Callable[[Story], None]) -> None:
    story = ServiceStory()
    lie(story)
    assert {*story.rules()} == SERVICE_LIES[lie]


@pytest.mark.parametrize("wish", [stop_for_nothing, leave_final_states])
def test_a_service_begins_again_when_that_is_wanted(wish: Callable[[Story], None]) -> None:
    story = ServiceStory()
    story.promise.disturbed = True
    wish(story)
    assert story.rules() == []


def test_who_is_cut_off_with_the_worker_that_has_started_it() -> None:
    kills = [Kill("master", 1.0), Kill("worker-0", 2.0), Kill("box:8095", 3.0)]
    faults = faults_of(kills, [("worker-0", 5.0, 6.0)], {WORKER: "worker-0"}, {"box:8090": {"worker-0", "worker-1"}})
    assert faults == [
        Fault(WORKER, 2.0, 2.0),
        Fault("box:8095", 3.0, 3.0),
        Fault("box:8090", 5.0, 6.0),
        Fault(WORKER, 5.0, 6.0),
    ]


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────

DUE = range(1000, 1013, 2)
KILLED = 1004.5


class FireStory:
    """`tick` is due at even seconds. The master was away from 1004.5 to 1009.5: 1006 was missed, 1008 made up for,
    and 1010 found that run going on. A person fired it at 1002, too."""

    def __init__(self, overlap: str = "skip", catch_up: str = "last") -> None:
        self.timed = Timed("tick", DUE.step, overlap, catch_up, 0.1, 2)
        self.lines = [self.ran(1000), self.ran(1002), self.ran(1004), self.ran(1012)]
        self.lines.append(self.line(1006, "MISSED", 1009.5, reason="there was no master", alert="sent"))
        self.lines.append(self.ran(1008, decided=1009.5, finished=1010.5, made_up=True))
        self.lines.append(self.line(1010, "SKIPPED", 1010.01, reason="run tick-1008-8 still goes on"))
        self.lines.append(self.ran(1002, decided=1003.0, kind="trigger"))
        self.starts = [self.start(line) for line in self.lines if line.outcome == "RAN"]
        self.kills = [KILLED]
        self.told = [self.alert(1006)]

    def line(self, slot: int, outcome: str, decided: float, kind: str = "schedule", **fields: Any) -> FireStatus:
        return FireStatus("tick", float(slot), kind, outcome, decided_wall=decided, **fields)

    def ran(self, slot: int, decided: float = 0.0, finished: float = 0.0, **fields: Any) -> FireStatus:
        decided = decided or slot + 0.01
        run_id = f"tick-{slot}-{'a' if fields.get('kind') == 'trigger' else 8}"
        fields = {"run_id": run_id, "run_state": "COMPLETED", "finished_wall": finished or decided + 0.1, **fields}
        return self.line(slot, "RAN", decided, **fields)

    def start(self, line: FireStatus, number: int = 1) -> Line:
        begun = line.decided_wall + 0.02
        told = "tick", int(line.slot_wall)
        return Line("start", line.run_id, "step-0", number, f"{line.run_id}#{number}", begun, 1, 0, WORKER, *told)

    def alert(self, slot: int, alert_id: str = "one") -> dict[str, str]:
        return {"schedule": "tick", "kind": "schedule", "scheduled_for": utc_text(slot), "id": alert_id}

    def change(self, slot: int, **fields: Any) -> None:
        """The line of a slot, or the start of its run, is another one."""
        place = next(n for n, line in enumerate(self.lines) if line.slot_wall == slot and line.kind == "schedule")
        self.lines[place] = replace(self.lines[place], **fields)

    def evidence(self) -> FireEvidence:
        job = job_status("step-0", "COMPLETED", attempt(1, "SUCCEEDED", 0.0, 0.0))
        jobs = {line.run_id: {"step-0": job} for line in self.lines if line.run_id}
        ends = [start._replace(what="end", wall=start.wall + 0.05) for start in self.starts]
        ledger = Ledger([*self.starts, *ends])
        return FireEvidence([Chronicle(self.timed, DUE, DUE[-1], self.lines)], ledger, jobs, self.kills, self.told)

    def rules(self) -> set[str]:
        return {violation.rule for violation in fires.judge(self.evidence())}


def forget_a_slot(story: FireStory) -> None:
    del story.lines[0], story.starts[0]


def decide_twice(story: FireStory) -> None:
    story.lines.append(story.line(1004, "SKIPPED", 1004.1, reason="paused"))


def fire_between(story: FireStory) -> None:
    story.lines.append(story.line(1003, "SKIPPED", 1003.1, reason="paused"))


def run_a_slot_twice(story: FireStory) -> None:
    story.starts.append(story.starts[0]._replace(run_id="tick-1000-9"))


def share_a_run(story: FireStory) -> None:
    story.change(1002, run_id="tick-1000-8")
    story.starts[1] = story.starts[0]._replace(number=2)


def start_before_the_slot(story: FireStory) -> None:
    story.starts[0] = story.starts[0]._replace(wall=999.99)


def tell_another_slot(story: FireStory) -> None:
    story.starts[0] = story.starts[0]._replace(slot=1002)


def miss_beside_a_master(story: FireStory) -> None:
    story.kills = []


def miss_under_a_new_master(story: FireStory) -> None:
    story.change(1004, decided_wall=1004.7)


def make_up_for_none(story: FireStory) -> None:
    story.change(1008, outcome="MISSED", run_id="", run_state="", made_up=False, alert="sent")
    story.change(1010, reason="paused")
    story.starts = [start for start in story.starts if start.slot != 1008]
    story.told = [story.alert(1008)]


def skip_for_nothing(story: FireStory) -> None:
    story.change(1010, reason="run tick-1004-8 still goes on")


def overlap(story: FireStory) -> None:
    story.starts[-1] = story.starts[-1]._replace(wall=1004.0)


def overtake(story: FireStory) -> None:
    story.change(1000, decided_wall=1002.5)


def wait_for_ever(story: FireStory) -> None:
    story.change(1010, outcome="QUEUED", reason="waits for its turn")


def note_another_end(story: FireStory) -> None:
    story.change(1000, run_state="FAILED", alert="sent")
    story.told.append(story.alert(1000))


def tell_nobody(story: FireStory) -> None:
    story.told = []


def tell_twice(story: FireStory) -> None:
    story.told.append(story.alert(1006, "another"))


def tell_of_nothing(story: FireStory) -> None:
    story.told.append(story.alert(1000))


FIRE_LIES: dict[Callable[[FireStory], None], set[str]] = {
    forget_a_slot: {"C1"},
    decide_twice: {"C1"},
    fire_between: {"C1"},
    run_a_slot_twice: {"C2"},
    share_a_run: {"C2", "C3"},
    start_before_the_slot: {"C3"},
    tell_another_slot: {"C3"},
    miss_beside_a_master: {"C4"},
    miss_under_a_new_master: {"C4"},
    make_up_for_none: {"C5"},
    skip_for_nothing: {"C6"},
    overlap: {"C6"},
    overtake: {"C6"},
    wait_for_ever: {"C7"},
    note_another_end: {"C7"},
    tell_nobody: {"C8"},
    tell_twice: {"C8"},
    tell_of_nothing: {"C8"},
}


def test_a_true_story_of_a_schedule_is_believed() -> None:
    assert FireStory().rules() == set()


@pytest.mark.parametrize("lie", FIRE_LIES, ids=lambda lie: lie.__name__)
def test_a_lie_about_a_schedule_is_found(lie: Callable[[FireStory], None]) -> None:
    story = FireStory()
    lie(story)
    assert story.rules() == FIRE_LIES[lie]


@pytest.mark.parametrize("policy", ["none", "all"])
def test_what_is_made_up_for_is_what_was_to_be(policy: str) -> None:
    assert FireStory(catch_up=policy).rules() == {"C5"}


def test_the_slots_of_a_schedule_are_known_beforehand() -> None:
    interval, cron = Timed("a", 3, "skip", "all", 0.0, 1), Timed("b", 3, "skip", "all", 0.0, 1, cron="*/3 * * * * *")
    assert list(interval.slots(100, 107)) == [100, 103, 106]
    assert list(cron.slots(100, 107)) == [102, 105]
    keeper = Keeper(Access(), Access(), random.Random(1), [interval, cron])
    keeper.first, keeper.last = 100, 107
    assert [keeper.next_due(wall) for wall in (0.0, 99.99, 100.0, 103.5, 106.0)] == [100, 100, 102, 105, None]
    assert (
        keeper.is_due_near(99.96, 0.05) and keeper.is_due_near(106.04, 0.05) and not keeper.is_due_near(106.06, 0.05)
    )
    keeper.leave()
