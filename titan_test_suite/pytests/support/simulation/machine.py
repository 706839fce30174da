"""What Hypothesis has of a cluster: a core with its ledger, what may be done to it, and what there is to see.

The rules by which it makes up a history are in `pytests/simulation/test_core_machine.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from titan_core.errors import RequestRefused, Unavailable
from titan_core.scheduler.actions import Provision, SpawnWorker
from titan_core.scheduler.events import WorkerDisconnected
from titan_core.scheduler.model import Job
from titan_core.scheduler.settings import ScalingSettings
from titan_core.scheduler.states import PAUSED, JobState, Outcome, WorkerState
from titan_test_suite.pytests.support.cluster_model import FakeWorker, report
from titan_test_suite.pytests.support.ledger import Ledger, WatchedCluster

T = TypeVar("T")
CAPABILITIES = ["GENERAL", "GPU"]


def refusable(request: Callable[[], object]) -> None:
    """A request may be refused; that it changed nothing then was checked where it was handled."""
    try:
        request()
    except RequestRefused as refusal:
        assert refusal.message


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.cluster = WatchedCluster(self.ledger, ScalingSettings())
        self.runs = self.jobs = self.newcomers = 0
        self.heeded = 0
        """How many of the cluster's actions were looked through for orders of workers."""
        self.ordered: list[SpawnWorker | Provision] = []

    # ── doing ─────────────────────────────────────────────────────────────────────────────────────

    def end(self, worker: FakeWorker, token: bytes, outcome: Outcome) -> None:
        ended = report(token, outcome)
        worker.end(token, ended)
        self.ledger.executed(token, outcome)
        if worker.connected:
            self.cluster.results(worker, ended)

    def come_up(self, worker: FakeWorker, token: bytes) -> None:
        worker.serving.add(token)
        if worker.connected:
            self.cluster.say_ready(worker, token)

    def come_back(self, worker: FakeWorker, patiently: bool = False) -> None:
        """It registers; what it runs and finished goes on, or counts, if and only if it still stands."""
        standing = [token for token in (*worker.unacknowledged, *worker.running) if self.ledger.stands(token)]
        doomed = set(worker.running) - set(standing)
        welcome = {token for token in standing if not self.may_be_given_up(token)}
        finished, running = welcome & set(worker.unacknowledged), welcome & set(worker.running)
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
        """A new process that can run anything, and may."""
        refusable(lambda: self.cluster.hold(worker, undo=True))
        worker.info = replace(worker.info, capabilities=frozenset(CAPABILITIES))
        self.cluster.restart(worker)

    def orders(self) -> list[SpawnWorker | Provision]:
        """Orders of workers that nothing has become of yet."""
        actions = self.cluster.actions
        self.ordered += [one for one in actions[self.heeded :] if isinstance(one, SpawnWorker | Provision)]
        self.heeded = len(actions)
        return self.ordered

    def take_order(self, data: st.DataObject) -> SpawnWorker | Provision:
        order = self.pick(data, self.orders())
        self.ordered.remove(order)
        return order

    # ── looking ───────────────────────────────────────────────────────────────────────────────────

    def pick(self, data: st.DataObject, items: list[T]) -> T:
        return data.draw(st.sampled_from(items))

    def spawner(self, data: st.DataObject) -> str:
        running = [attempt.job.key for attempt in self.cluster.core.state.attempts.values()]
        return self.pick(data, ["", *running])

    def known_jobs(self) -> list[Job]:
        return [job for run in self.cluster.core.state.runs.values() for job in run.jobs.values()]

    def instances(self) -> list[Job]:
        """All jobs that are instances of services."""
        return [job for job in self.known_jobs() if job.service is not None]

    def pending(self) -> bool:
        """Whether something is yet to come, other than more workers."""
        waits = any(job.state in {JobState.DELAYED, *PAUSED} for job in self.known_jobs())
        silent = any(worker.state is WorkerState.DISCONNECTED for worker in self.cluster.core.state.workers.values())
        return waits or silent

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
        return [(w, token) for w, token in self.executions() if token not in w.serving and self.is_service(token)]

    def may_be_given_up(self, token: bytes) -> bool:
        """Whether an execution that nobody has replaced may be unwelcome all the same: another service may have got
        its port, or it was to be renewed."""
        spec = self.ledger.specs[self.ledger.key_of[token]]
        return spec.service and (spec.policy.port > 0 or token in self.ledger.told_to_stop)

    def is_service(self, token: bytes) -> bool:
        return self.ledger.specs[self.ledger.key_of[token]].service
