"""The judge of the crash storm finds each lie in a story that was true before, and knows how long recoveries took."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from titan_core.protocol.messages import AttemptStatus, JobEvent, JobStatus
from titan_sdk import TitanJob
from titan_test_suite.torture import recovery
from titan_test_suite.torture.evidence import faults_of
from titan_test_suite.torture.faults import Kill
from titan_test_suite.torture.ledger import Ledger, Line
from titan_test_suite.torture.oracle import Evidence, Fault, judge
from titan_test_suite.torture.plans import Plan
from titan_test_suite.torture.promises import Promise

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
