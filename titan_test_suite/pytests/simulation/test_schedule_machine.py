"""Schedules in the core against everything that can happen to them, in any order.

Hypothesis makes up a history: people who define, change, pause, fire and remove schedules, a wall clock that is set,
a master that is started again, runs that end well, badly, or not. The invariants are checked after every event, and
the timekeeper of the simulation judges each step. At the end every slot has its line, and nothing waits.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from titan_core.protocol.messages import Alert, JobSpec, ScheduleSpec, Task, Timing
from titan_core.scheduler.events import (
    AlertSettled,
    BackfillCancelled,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleTriggered,
)
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed
from titan_test_suite.pytests.support.simulation.judged_cluster import JudgedCluster
from titan_test_suite.pytests.support.simulation.machine import refusable
from titan_test_suite.pytests.support.simulation.timetables import seldom

EXAMPLES, STEPS = (2000, 80) if TORTURE else (40, 40)
NAMES = st.sampled_from(["hourly", "nightly"])
ENDS = st.sampled_from([Outcome.SUCCEEDED] * 3 + [Outcome.FAILED])
ALERTS = st.sampled_from([Alert(), Alert("http://somebody"), Alert(jobs=(JobSpec("tell", Task("x.sh")),))])
SPECS = st.builds(
    ScheduleSpec,
    name=NAMES,
    timing=st.builds(Timing, every_s=st.sampled_from([5.0, 20.0]), jitter_s=st.sampled_from([0.0, 0.0, 8.0])),
    jobs=st.sampled_from([(JobSpec("work", Task("x.sh")),), (JobSpec("other", Task("x.sh")),)]),
    overlap=st.sampled_from(["skip", "queue", "allow", "replace"]),
    catch_up=st.sampled_from(["none", "last", "all"]),
    catch_up_window_s=st.sampled_from([30.0, 1e6]),
    on_missed=ALERTS,
    on_failure=ALERTS,
)
SETTINGS_S = st.sampled_from([0.4, 3.0, 30.0, 900.0, -0.4, -3.0, -30.0, -900.0])
ROUNDS_MOST = 2000


class ScheduleMachine(RuleBasedStateMachine):
    @initialize(slots=st.integers(1, 4), spec=SPECS)
    def begin(self, slots: int, spec: ScheduleSpec) -> None:
        self.cluster = JudgedCluster()
        self.worker = self.cluster.join("w", slots=slots)
        self.cluster.desk.define(spec, False, False, False)

    # ── people ────────────────────────────────────────────────────────────────────────────────────

    @rule(spec=SPECS, paused=st.sampled_from([None, None, True, False]), only_new=st.booleans())
    def define(self, spec: ScheduleSpec, paused: bool | None, only_new: bool) -> None:
        self.cluster.desk.define(spec, paused is True, paused is False, only_new)

    @rule(name=NAMES, what=st.sampled_from([SchedulePaused, ScheduleResumed, ScheduleResumed]))
    def pause_or_resume(self, name: str, what: type[SchedulePaused] | type[ScheduleResumed]) -> None:
        refusable(lambda: self.cluster.handle(what(name)))

    @rule(
        name=NAMES, what=st.sampled_from([ScheduleTriggered, ScheduleTriggered, BackfillCancelled, ScheduleRemoved])
    )
    def ask(self, name: str, what: type[ScheduleTriggered] | type[BackfillCancelled] | type[ScheduleRemoved]) -> None:
        refusable(lambda: self.cluster.handle(what(name)))

    @rule(name=NAMES, back_s=st.integers(0, 100), for_s=st.sampled_from([0, 30, 100]))
    def backfill(self, name: str, back_s: int, for_s: int) -> None:
        first = int(self.cluster.wall) - back_s
        refusable(lambda: self.cluster.desk.backfill(name, first, first + for_s))

    @rule(data=st.data(), what=st.sampled_from(["cancel_run", "retry_run"]))
    def ask_about_a_run(self, data: st.DataObject, what: str) -> None:
        runs = list(self.cluster.core.state.runs)
        if runs:
            run_id = data.draw(st.sampled_from(runs[-5:]))
            refusable(lambda: getattr(self.cluster, what)(run_id))

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 7.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.cluster.advance(seconds)

    @rule(seconds=st.sampled_from([4.0, 7.0, 30.0]))
    def time_passes_while_the_disk_is_full(self, seconds: float) -> None:
        self.cluster.trouble_text = "the disk is full"
        self.cluster.advance(seconds)
        self.cluster.trouble_text = ""

    @rule(forward_s=SETTINGS_S, noticed=st.booleans())
    def the_clock_is_set(self, forward_s: float, noticed: bool) -> None:
        """At the latest before the next fire the master notices."""
        self.cluster.set_clock(forward_s, noticed)

    @rule(away_s=st.sampled_from([0.0, 3.0, 40.0, 900.0]), forward_s=st.sampled_from([0.0, 0.0, 100.0, -100.0]))
    def the_master_is_started_again(self, away_s: float, forward_s: float) -> None:
        self.cluster.start_again(away_s, forward_s)
        self.cluster.register(self.worker)

    # ── what becomes of a fire ────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.worker.running)
    @rule(data=st.data(), outcome=ENDS)
    def an_execution_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        self.end(data.draw(st.sampled_from(list(self.worker.running))), outcome)

    @precondition(lambda self: self.cluster.core.state.alerts)
    @rule(data=st.data(), problem=st.sampled_from(["", "nobody listens"]))
    def somebody_was_told(self, data: st.DataObject, problem: str) -> None:
        key = data.draw(st.sampled_from(list(self.cluster.core.state.alerts)))
        self.cluster.handle(AlertSettled(*key, problem))

    def end(self, token: bytes, outcome: Outcome) -> None:
        stopped = token in self.worker.stopping
        self.cluster.finish(self.worker.running[token], Outcome.STOPPED if stopped else outcome)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if self.cluster.broken:
            return
        self.cluster.set_clock(0.0, noticed=True)
        self.cluster.advance(0)
        self.cluster.timekeeper.check_complete(self.cluster.wall)
        for schedule in list(self.cluster.core.state.schedules.values()):
            source = schedule.definition.source
            self.cluster.desk.define(ScheduleSpec(source.name, seldom(), source.jobs), False, True, False)
        self.everything_runs()
        self.cluster.timekeeper.check_rest()

    def everything_runs(self) -> None:
        """Executions succeed, and whoever is to be told is told, until nothing moves any more."""
        for _ in range(ROUNDS_MOST):
            for token in list(self.worker.running):
                self.end(token, Outcome.SUCCEEDED)
            for key in list(self.cluster.core.state.alerts):
                self.cluster.handle(AlertSettled(*key))
            if not self.worker.running and not self.cluster.pending():
                return
            self.cluster.advance(1.0)
        raise AssertionError(f"still running after {ROUNDS_MOST} rounds: {self.worker.running}")


def test_schedules_keep_their_promises() -> None:
    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(seed(announced_seed())(ScheduleMachine), settings=chosen)


def test_what_was_missed_of_the_future_is_taken_back_also_of_a_schedule_that_was_removed() -> None:
    machine = ScheduleMachine()
    timing, jobs, told = Timing(every_s=5.0), (JobSpec("work", Task("x.sh")),), Alert("http://somebody")
    machine.begin(1, ScheduleSpec("hourly", timing, jobs, catch_up="none", on_missed=told))
    machine.time_passes_while_the_disk_is_full(4.0)
    machine.the_clock_is_set(3.0, noticed=False)
    machine.time_passes(4.0)
    assert machine.cluster.core.state.alerts
    machine.ask("hourly", ScheduleRemoved)
    machine.the_master_is_started_again(0.0, -100.0)
    machine.teardown()
