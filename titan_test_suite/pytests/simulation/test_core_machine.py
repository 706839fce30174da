"""The core against everything that can happen to it, in any order.

Hypothesis makes up a history: submissions, workers that come, fall silent, crash and return, outcomes of
every kind, duplicates, cancels, retries, services that are started, renewed and scaled, a cluster that grows and
shrinks, time. The invariants are checked after every event, and a Ledger judges what the core made of it. At the end
the faults stop, and every job must reach a final state, or have a reason that names a worker that is not there.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from titan_core.scheduler.actions import AcknowledgeResult, Provision
from titan_core.scheduler.events import ProvisionFailed, SpawnFailed, WorkerStartRequested
from titan_core.scheduler.model import Job
from titan_core.scheduler.settings import ScalingSettings
from titan_core.scheduler.states import JobState, Outcome
from titan_test_suite.pytests.support.cluster_model import report
from titan_test_suite.pytests.support.graphs import INSTANCES_MOST, graphs, specs_of
from titan_test_suite.pytests.support.ledger import WatchedCluster
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed
from titan_test_suite.pytests.support.simulation.machine import CAPABILITIES, Machine, refusable

EXAMPLES, STEPS = (5000, 120) if TORTURE else (40, 50)
OFFERS = st.sampled_from([("GENERAL",), ("GENERAL",), ("GENERAL", "GPU"), ("GPU",)])
WORKERS_MOST = 4
ROUNDS_MOST = 500
"""After so many rounds in which everything that ran succeeded, a cluster without faults is at rest."""
TOLD_BY_WORKERS = [outcome for outcome in Outcome if outcome is not Outcome.LOST]


class ClusterMachine(Machine):
    @initialize(
        offer=OFFERS,
        slots=st.integers(1, 2),
        provisioner=st.sampled_from(["none", "inception", "external"]),
        data=st.data(),
    )
    def begin(self, offer: tuple[str, ...], slots: int, provisioner: str, data: st.DataObject) -> None:
        scaling = ScalingSettings(provisioner, max_workers=5, down_s=10.0)
        self.cluster = WatchedCluster(self.ledger, scaling, runs_kept=6, crash_loop_restarts=3, crash_loop_retry_s=60)
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
    @rule(data=st.data(), what=st.sampled_from(["cancel", "retry", "stop_service"]))
    def ask_about_a_job(self, data: st.DataObject, what: str) -> None:
        job = self.pick(data, self.known_jobs())
        refusable(lambda: getattr(self.cluster, what)(job.key))

    @precondition(lambda self: self.cluster.core.state.runs)
    @rule(data=st.data(), what=st.sampled_from(["cancel_run", "retry_run", "retry_run"]))
    def ask_about_a_run(self, data: st.DataObject, what: str) -> None:
        run_id = self.pick(data, list(self.cluster.core.state.runs))
        refusable(lambda: getattr(self.cluster, what)(run_id))

    @precondition(lambda self: self.instances())
    @rule(data=st.data(), what=st.sampled_from(["stop_service", "start_service", "start_service", "restart_service"]))
    def ask_about_a_service(self, data: st.DataObject, what: str) -> None:
        job = self.pick(data, self.instances())
        refusable(lambda: getattr(self.cluster, what)(job.key))

    @precondition(lambda self: self.instances())
    @rule(data=st.data(), wanted=st.integers(1, INSTANCES_MOST))
    def scale(self, data: st.DataObject, wanted: int) -> None:
        job = self.pick(data, self.instances())
        refusable(lambda: self.cluster.scale(job.key, wanted))

    @precondition(lambda self: self.instances())
    @rule(data=st.data())
    def update(self, data: st.DataObject) -> None:
        job = self.pick(data, self.instances())
        spec = replace(data.draw(specs_of("other", [])), service=True)
        refusable(lambda: self.cluster.update(job.key, spec))

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), force=st.booleans(), now=st.booleans())
    def shut_down(self, data: st.DataObject, force: bool, now: bool) -> None:
        worker = self.pick(data, self.connected())
        refusable(lambda: self.cluster.shut_down(worker, force, now))

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), undo=st.booleans())
    def hold(self, data: st.DataObject, undo: bool) -> None:
        worker = self.pick(data, self.connected())
        refusable(lambda: self.cluster.hold(worker, undo))

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), trouble=st.sampled_from(["", "its disk is full"]))
    def trouble(self, data: st.DataObject, trouble: str) -> None:
        self.cluster.trouble(self.pick(data, self.connected()), trouble)

    @precondition(lambda self: self.connected())
    @rule(data=st.data(), port=st.integers(8090, 8092))
    def start_a_worker(self, data: st.DataObject, port: int) -> None:
        beside = self.pick(data, ["", *(worker.worker_id for worker in self.connected())])
        refusable(lambda: self.cluster.handle(WorkerStartRequested(port, beside=beside)))

    # ── the size of the cluster ───────────────────────────────────────────────────────────────────

    @rule()
    def the_scaler_looks(self) -> None:
        self.cluster.look()

    @precondition(lambda self: self.orders())
    @rule(data=st.data())
    def workers_that_were_ordered_come(self, data: st.DataObject) -> None:
        order = self.take_order(data)
        if isinstance(order, Provision):
            self.newcomers += 1
            self.cluster.join(f"cloud{self.newcomers}", order.capability, ephemeral=True)
            return
        host = order.worker_id.partition(":")[0]
        if f"{host}:{order.port}" not in self.cluster.workers:
            self.cluster.join(host, *order.capabilities, port=order.port, ephemeral=order.ephemeral)

    @precondition(lambda self: self.orders())
    @rule(data=st.data())
    def workers_that_were_ordered_do_not_come(self, data: st.DataObject) -> None:
        order = self.take_order(data)
        if isinstance(order, Provision):
            self.cluster.handle(ProvisionFailed(order.capability, "there is no more", order.count))
        else:
            self.cluster.handle(SpawnFailed(order.worker_id, order.port, "the port is taken"))

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
        actions = self.cluster.results(worker, report(token, outcome))
        assert actions == [AcknowledgeResult(worker.worker_id, token)]

    @precondition(lambda self: self.ledger.worker_of)
    @rule(data=st.data(), outcome=st.sampled_from(TOLD_BY_WORKERS))
    def a_stranger_tells_a_result(self, data: st.DataObject, outcome: Outcome) -> None:
        """A result counts only from the worker that the attempt was sent to."""
        token = self.pick(data, sorted(self.ledger.worker_of))
        strangers = [w for w in self.connected() if w.worker_id != self.ledger.worker_of[token]]
        if strangers:
            worker = self.pick(data, strangers)
            actions = self.cluster.results(worker, report(token, outcome))
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
        for executions in (worker.running, worker.stopping, worker.serving):
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
            if not self.executions() and not self.pending():
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
        assert len(state.timers) == (state.growth.timer in state.timers)
        assert all(worker.free_slots == worker.info.slots for worker in state.workers.values())
        assert not any(worker.running for worker in self.cluster.workers.values() if worker.connected)


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
