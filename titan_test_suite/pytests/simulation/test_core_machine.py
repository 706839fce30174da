"""The core against everything that can happen to it, in any order.

Hypothesis makes up a history: submissions, workers that come, fall silent, crash and return, outcomes of
every kind, duplicates, cancels, retries, time. The invariants are checked after every event, and a Ledger
judges what the core made of it. At the end the faults stop, and every job must reach a final state, or
have a reason that names a worker that is not there.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from titan_core.errors import RequestRefused, Unavailable
from titan_core.scheduler.actions import AcknowledgeResult
from titan_core.scheduler.events import WorkerDisconnected
from titan_core.scheduler.model import Job
from titan_core.scheduler.states import JobState, Outcome
from titan_test_suite.pytests.support.cluster_model import FakeWorker, report
from titan_test_suite.pytests.support.graphs import graphs
from titan_test_suite.pytests.support.ledger import Ledger, WatchedCluster
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed

T = TypeVar("T")

EXAMPLES, STEPS = (5000, 120) if TORTURE else (90, 50)
CAPABILITIES = ["GENERAL", "GPU"]
OFFERS = st.sampled_from([("GENERAL",), ("GENERAL",), ("GENERAL", "GPU"), ("GPU",)])
WORKERS_MOST = 4
ROUNDS_MOST = 500
"""After so many rounds in which everything that ran succeeded, a cluster without faults is at rest."""
TOLD_BY_WORKERS = [outcome for outcome in Outcome if outcome is not Outcome.LOST]


def refusable(request: Callable[[], object]) -> None:
    """A request may be refused; that it changed nothing then was checked where it was handled."""
    try:
        request()
    except RequestRefused as refusal:
        assert refusal.message


class ClusterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.cluster = WatchedCluster(self.ledger, runs_kept=6)
        self.runs = self.jobs = 0

    @initialize(offer=OFFERS, slots=st.integers(1, 2), data=st.data())
    def begin(self, offer: tuple[str, ...], slots: int, data: st.DataObject) -> None:
        self.join(offer, slots, False)
        self.submit(data)

    # ── people ────────────────────────────────────────────────────────────────────────────────────

    @rule(data=st.data())
    def submit(self, data: st.DataObject) -> None:
        self.runs += 1
        specs = data.draw(graphs(self.jobs, [job.key for job in self.known_jobs()]))
        self.jobs += len(specs)
        request_id = self.pick(data, [b"", str(self.jobs).encode()])
        self.cluster.submit(*specs, run_id=f"r{self.runs}", request_id=request_id, spawner=self.spawner(data))

    @precondition(lambda self: self.cluster.core.state.requests)
    @rule(data=st.data())
    def a_submission_comes_again(self, data: st.DataObject) -> None:
        request_id = self.pick(data, list(self.cluster.core.state.requests))
        assert self.cluster.submit(*data.draw(graphs(0, [])), run_id="again", request_id=request_id) == []
        assert self.cluster.add(*data.draw(graphs(0, [])), run_id="again", request_id=request_id) == []

    @precondition(lambda self: self.cluster.core.state.runs)
    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        run = self.pick(data, list(self.cluster.core.state.runs.values()))
        specs = data.draw(graphs(self.jobs, [*run.jobs, *(job.key for job in self.known_jobs())]))
        self.jobs += len(specs)
        refusable(lambda: self.cluster.add(*specs, run_id=run.run_id, spawner=self.spawner(data)))

    @precondition(lambda self: self.cluster.core.state.runs)
    @rule(data=st.data(), what=st.sampled_from(["cancel", "stop_service", "retry"]))
    def ask_about_a_job(self, data: st.DataObject, what: str) -> None:
        job = self.pick(data, self.known_jobs())
        refusable(lambda: getattr(self.cluster, what)(job.key))

    @precondition(lambda self: self.cluster.core.state.runs)
    @rule(data=st.data(), what=st.sampled_from(["cancel_run", "retry_run", "retry_run"]))
    def ask_about_a_run(self, data: st.DataObject, what: str) -> None:
        run_id = self.pick(data, list(self.cluster.core.state.runs))
        refusable(lambda: getattr(self.cluster, what)(run_id))

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), force=st.booleans())
    def shut_down(self, data: st.DataObject, force: bool) -> None:
        worker = self.pick(data, self.connected())
        refusable(lambda: self.cluster.shut_down(worker, force))

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0, 29.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.cluster.advance(seconds)

    # ── executions ────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: self.executions())
    @rule(data=st.data(), outcome=st.sampled_from(TOLD_BY_WORKERS + [Outcome.SUCCEEDED] * 4))
    def an_execution_ends(self, data: st.DataObject, outcome: Outcome) -> None:
        self.end(*self.pick(data, self.executions()), outcome)

    @precondition(lambda self: any(worker.stopping for worker in self.cluster.workers.values()))
    @rule()
    def workers_have_stopped_what_they_were_told_to(self) -> None:
        for worker, token in self.executions():
            if token in worker.stopping:
                self.end(worker, token, Outcome.STOPPED)

    @precondition(lambda self: self.services())
    @rule(data=st.data())
    def the_process_of_a_service_is_there(self, data: st.DataObject) -> None:
        self.come_up(*self.pick(data, self.services()))

    @precondition(lambda self: self.connected() and self.ledger.acknowledged)
    @rule(data=st.data(), outcome=st.sampled_from(TOLD_BY_WORKERS))
    def a_result_comes_again(self, data: st.DataObject, outcome: Outcome) -> None:
        """Duplicate or stale, from whatever worker, with whatever outcome: it was acknowledged, it is nothing new."""
        worker, token = self.pick(data, self.connected()), self.pick(data, sorted(self.ledger.acknowledged))
        actions = self.cluster.result(worker, report(token, outcome))
        assert actions == [AcknowledgeResult(worker.worker_id, token)]

    @precondition(lambda self: self.ledger.worker_of)
    @rule(data=st.data(), outcome=st.sampled_from(TOLD_BY_WORKERS))
    def a_stranger_tells_a_result(self, data: st.DataObject, outcome: Outcome) -> None:
        """A result counts only from the worker that the attempt was sent to."""
        token = self.pick(data, sorted(self.ledger.worker_of))
        strangers = [w for w in self.connected() if w.worker_id != self.ledger.worker_of[token]]
        if strangers:
            worker = self.pick(data, strangers)
            actions = self.cluster.result(worker, report(token, outcome))
            assert actions == [AcknowledgeResult(worker.worker_id, token)]

    # ── workers ───────────────────────────────────────────────────────────────────────────────────

    @precondition(lambda self: len(self.cluster.workers) < WORKERS_MOST)
    @rule(
        capabilities=st.sets(st.sampled_from(CAPABILITIES), min_size=1), slots=st.integers(1, 3), keep=st.booleans()
    )
    def join(self, capabilities: set[str], slots: int, keep: bool) -> None:
        name = f"w{len(self.cluster.workers) + 1}"
        self.cluster.join(name, *sorted(capabilities), slots=slots, permanent=keep)

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def a_session_is_cut(self, data: st.DataObject) -> None:
        """Nothing arrives any more, and the master does not know it yet."""
        self.pick(data, self.connected()).connected = False

    @precondition(lambda self: self.cut_off())
    @rule(data=st.data(), silent_s=st.sampled_from([0.0, 10.0, 30.0, 30.0]))
    def the_master_notices(self, data: st.DataObject, silent_s: float) -> None:
        """After 30 s it takes the worker for dead."""
        self.cluster.disconnect(self.pick(data, self.cut_off()), silent_s)
        self.cluster.advance(0)

    @precondition(lambda self: self.cut_off())
    @rule(data=st.data())
    def a_worker_returns(self, data: st.DataObject) -> None:
        self.come_back(self.pick(data, self.cut_off()))

    @precondition(lambda self: self.executions())
    @rule(data=st.data(), outcomes=st.lists(st.sampled_from(TOLD_BY_WORKERS), max_size=2))
    def a_worker_was_taken_for_dead_and_returns(self, data: st.DataObject, outcomes: list[Outcome]) -> None:
        worker, _ = self.pick(data, self.executions())
        self.cluster.disconnect(worker, silent_s=30)
        self.cluster.advance(0)
        for token, outcome in zip(list(worker.running), outcomes, strict=False):
            self.end(worker, token, outcome)
        self.come_back(worker)

    @precondition(lambda self: self.cluster.workers)
    @rule(data=st.data(), offer=OFFERS, slots=st.integers(1, 3), journal=st.booleans())
    def a_worker_crashes(self, data: st.DataObject, offer: tuple[str, ...], slots: int, journal: bool) -> None:
        """All it ran is gone. What comes in its place may be set up differently, and have its results or not."""
        worker = self.pick(data, list(self.cluster.workers.values()))
        worker.connected = worker.shutting_down = False
        for executions in (worker.running, worker.stopping, worker.up):
            executions.clear()
        if not journal:
            worker.unacknowledged.clear()
        info = replace(worker.info, capabilities=frozenset(offer), slots=slots)
        worker.info = replace(info, instance=self.cluster.new_instance())

    @precondition(lambda self: self.connected())
    @rule(data=st.data())
    def a_worker_says_goodbye(self, data: st.DataObject) -> None:
        worker = self.pick(data, self.connected())
        worker.shutting_down = True
        self.cluster.drain(worker)

    @precondition(lambda self: any(worker.shutting_down for worker in self.connected()))
    @rule()
    def workers_that_stop_are_gone(self) -> None:
        for worker in self.connected():
            if worker.shutting_down:
                for token in list(worker.running):
                    self.end(worker, token, Outcome.INTERRUPTED)
                self.cluster.disconnect(worker)
                worker.info = replace(worker.info, instance=self.cluster.new_instance())
                worker.shutting_down = False

    # ── what is true at all times, and at the end ─────────────────────────────────────────────────

    @invariant()
    def the_ledger_agrees(self) -> None:
        self.ledger.check(self.cluster)

    def teardown(self) -> None:
        if self.cluster.broken:
            return
        self.faults_stop()
        self.everything_that_can_runs()
        for job in self.unfinished():
            self.check_has_a_reason(job)
        for worker in self.cluster.workers.values():
            self.renew(worker)
        self.cluster.join("last", *CAPABILITIES)
        self.everything_that_can_runs()
        assert not self.unfinished(), [(job, self.cluster.explain(job.key)) for job in self.unfinished()]
        self.check_is_at_rest()

    def faults_stop(self) -> None:
        """Every other worker that was cut off returns, the rest are dead."""
        for number, worker in enumerate(self.cut_off()):
            if number % 2:
                self.cluster.crash(worker)
            else:
                self.come_back(worker, patiently=True)
        self.cluster.advance(31)

    def everything_that_can_runs(self) -> None:
        """Executions succeed, services come up and are then stopped, until nothing moves any more."""
        for _ in range(ROUNDS_MOST):
            if not self.executions() and self.cluster.core.next_due_at() is None:
                return
            for worker, token in self.services():
                self.come_up(worker, token)
            for worker, token in self.executions():
                job = self.job_of(token)
                if job.spec.service and token not in worker.stopping:
                    self.cluster.stop_service(job.key)
                self.end(worker, token, Outcome.STOPPED if token in worker.stopping else Outcome.SUCCEEDED)
            due_at = self.cluster.core.next_due_at()
            if due_at is not None:
                self.cluster.advance(due_at - self.cluster.now)
            self.ledger.check(self.cluster)
        raise AssertionError(f"still running after {ROUNDS_MOST} rounds: {self.executions()}")

    def check_has_a_reason(self, job: Job) -> None:
        reason = self.cluster.explain(job.key)[0]
        if job.state is JobState.BLOCKED:
            assert any(not parent.final for parent in job.parents), reason
        else:
            assert job.state is JobState.QUEUED
            assert reason.startswith(("no worker", "strict affinity binds it to worker")), reason
            assert not reason.endswith("busy"), reason

    def check_is_at_rest(self) -> None:
        state = self.cluster.core.state
        assert not state.attempts
        assert not state.lost
        assert not len(state.timers)
        assert all(worker.free_slots == worker.info.slots for worker in state.workers.values())
        assert not any(worker.running for worker in self.cluster.workers.values() if worker.connected)

    # ── doing ─────────────────────────────────────────────────────────────────────────────────────

    def end(self, worker: FakeWorker, token: bytes, outcome: Outcome) -> None:
        ended = report(token, outcome)
        worker.end(token, ended)
        self.ledger.executed(token, outcome)
        if worker.connected:
            self.cluster.result(worker, ended)

    def come_up(self, worker: FakeWorker, token: bytes) -> None:
        worker.up.add(token)
        if worker.connected:
            self.cluster.say_ready(worker, token)

    def come_back(self, worker: FakeWorker, patiently: bool = False) -> None:
        """It registers; what it runs and finished goes on, or counts, if and only if it still stands."""
        finished = [token for token in worker.unacknowledged if self.ledger.stands(token)]
        running = {token for token in worker.running if self.ledger.stands(token)}
        doomed = set(worker.running) - running
        older = worker.session
        try:
            self.cluster.register(worker)
        except Unavailable:  # a new process, while the master still believes in the old one
            if not patiently:
                return
            self.cluster.disconnect(worker)
            self.cluster.register(worker)
        assert self.cluster.handle(WorkerDisconnected(worker.worker_id, older, self.cluster.now)) == []
        assert running <= set(worker.running)
        assert not doomed & set(worker.running)
        assert all(self.is_counted(token) for token in finished)
        if worker.shutting_down:
            self.cluster.drain(worker)

    def renew(self, worker: FakeWorker) -> None:
        """A new process that can run anything."""
        worker.info = replace(worker.info, capabilities=frozenset(CAPABILITIES))
        self.cluster.restart(worker)

    # ── looking ───────────────────────────────────────────────────────────────────────────────────

    def pick(self, data: st.DataObject, items: list[T]) -> T:
        return data.draw(st.sampled_from(items))

    def spawner(self, data: st.DataObject) -> str:
        running = [attempt.job.key for attempt in self.cluster.core.state.attempts.values()]
        return self.pick(data, ["", *running])

    def known_jobs(self) -> list[Job]:
        return [job for run in self.cluster.core.state.runs.values() for job in run.jobs.values()]

    def unfinished(self) -> list[Job]:
        return [job for job in self.known_jobs() if not job.final]

    def job_of(self, token: bytes) -> Job:
        return self.cluster.job(self.ledger.key_of[token])

    def is_counted(self, token: bytes) -> bool:
        """Whether the core took in how an execution ended; unless it has forgotten all about it."""
        key = self.ledger.key_of[token]
        run_id, _, job_id = key.partition("/")
        run = self.cluster.core.state.runs.get(run_id)
        number = self.ledger.tokens[key].index(token)
        return run is None or run.jobs[job_id].attempts[number].outcome is self.ledger.truth[token]

    def connected(self) -> list[FakeWorker]:
        return [worker for worker in self.cluster.workers.values() if worker.connected]

    def cut_off(self) -> list[FakeWorker]:
        return [worker for worker in self.cluster.workers.values() if not worker.connected]

    def executions(self) -> list[tuple[FakeWorker, bytes]]:
        """All that runs anywhere, be it known to the core or not."""
        return [(worker, token) for worker in self.cluster.workers.values() for token in worker.running]

    def services(self) -> list[tuple[FakeWorker, bytes]]:
        """Executions of services whose process is not there yet."""
        return [(w, token) for w, token in self.executions() if token not in w.up and self.is_service(token)]

    def is_service(self, token: bytes) -> bool:
        return self.ledger.specs[self.ledger.key_of[token]].service


def test_the_core_keeps_its_promises() -> None:
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
    run_state_machine_as_test(seed(announced_seed())(ClusterMachine), settings=chosen)
