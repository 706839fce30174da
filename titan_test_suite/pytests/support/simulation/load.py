"""People: they submit, grow, cancel, stop, retry, drain, keep services and look, and what they ask and are told may
be lost.

A submission is sent again, with the same request id, until it is answered; now and then a copy of it comes
much later. Everything else is asked once, and may come twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from titan_core.errors import RequestRefused
from titan_core.scheduler.events import (
    Event,
    JobCancelRequested,
    JobsAdded,
    RunSubmitted,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceStopRequested,
    WorkerHoldRequested,
)
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.placement import fits, strict_worker_id
from titan_core.scheduler.states import JobState
from titan_test_suite.pytests.support.graphs import rolled_graph
from titan_test_suite.pytests.support.simulation import requests
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.master import Master
from titan_test_suite.pytests.support.simulation.oracle import Oracle
from titan_test_suite.pytests.support.simulation.wants import RETRIES

AGAIN = (*RETRIES, ServiceStartRequested, ServiceScaleRequested)
"""Requests by which what is over begins again."""

PATIENCE_S = 3.0
"""After so long without an answer a submission is sent again."""


@dataclass(eq=False)
class Submission:
    request_id: bytes
    specs: tuple[JobSpec, ...]
    run_id: str
    """To be added to; empty: a new run."""
    spawner: bytes
    answered: bool = False


class People:
    """`serving()` is the master if it takes requests now; `worker_ids()` are those anybody has heard of; `again`:
    whether they have run again what is over."""

    def __init__(
        self,
        agenda: Agenda,
        oracle: Oracle,
        serving: Callable[[], Master | None],
        worker_ids: Callable[[], list[str]],
        again: bool,
    ) -> None:
        self._agenda, self._oracle, self._serving, self._worker_ids = agenda, oracle, serving, worker_ids
        self._again = again
        self.waiting: list[Submission] = []
        """Submissions that somebody still waits for."""
        self._jobs = self._runs = self._requests = self._versions = 0

    # ── submissions ───────────────────────────────────────────────────────────────────────────────

    def submit(self) -> None:
        fired = [key.partition("/")[0] for key in self._oracle.fired_jobs(3)]
        run_ids = self._run_ids() + fired
        grows = bool(run_ids) and self._agenda.chance(0.25)
        specs = rolled_graph(self._agenda.dice, self._jobs, self._keys()[-12:])
        self._jobs += len(specs)
        self._requests += 1
        submission = Submission(
            b"request %d" % self._requests, specs, self._agenda.dice.choice(run_ids) if grows else "", self._spawner()
        )
        self.waiting.append(submission)
        self._send(submission)

    def _send(self, submission: Submission) -> None:
        if submission.answered:
            return
        self._ask_in(self._agenda.spread(0.0005, 0.5), submission)
        if self._agenda.chance(0.1):
            self._ask_in(self._agenda.spread(0.5, 30), submission)
        if self._agenda.chance(0.03):  # the client died, and nobody asks any more
            self.waiting.remove(submission)
        else:
            self._agenda.after(PATIENCE_S, lambda: self._send(submission))

    def _ask_in(self, delay_s: float, submission: Submission) -> None:
        self._agenda.after(delay_s, lambda: self._arrive(submission))

    def _arrive(self, submission: Submission) -> None:
        master = self._serving()
        if master is None:
            return
        run_id = master.known(submission.request_id)
        if run_id is None:
            for parent in [name for spec in submission.specs for name in spec.parents if "/" in name]:
                master.recall(parent.partition("/")[0])
            try:
                master.handle(self._event(submission))
            except RequestRefused:
                self._settle(submission)
                return
            run_id = master.core.state.requests[submission.request_id]
        if self._agenda.chance(0.85):
            delay_s = self._agenda.spread(0.0005, 0.5)
            master.answer(lambda: self._agenda.after(delay_s, lambda: self._hear(submission, run_id)))

    def _event(self, submission: Submission) -> Event:
        if submission.run_id:
            return JobsAdded(submission.run_id, submission.specs, submission.request_id, submission.spawner)
        self._runs += 1
        secret = self._agenda.dice.randbytes(16)
        run_id = f"r{self._runs}"
        return RunSubmitted(run_id, "run", secret, submission.specs, submission.request_id, submission.spawner)

    def _hear(self, submission: Submission, run_id: str) -> None:
        self._settle(submission)
        self._oracle.promise(submission.request_id, run_id, submission.specs)

    def _settle(self, submission: Submission) -> None:
        submission.answered = True
        if submission in self.waiting:
            self.waiting.remove(submission)

    # ── other questions ───────────────────────────────────────────────────────────────────────────

    def ask(self) -> None:
        """Something about a job or a run, be it their own or a schedule's."""
        keys = self._keys()[-30:] + self._oracle.fired_jobs(10)
        if keys:
            run_id, _, job_id = self._agenda.dice.choice(keys).partition("/")
            self._ask(requests.about_a_job(self._agenda.dice, run_id, job_id))

    def ask_about_services(self) -> None:
        services = [
            (run_id, spec) for run_id, specs in self._oracle.promised.values() for spec in specs if spec.service
        ]
        if services:
            self._versions += 1
            run_id, spec = self._agenda.dice.choice(services[-8:])
            version = f"{spec.job_id} v{self._versions}"
            self._ask(requests.about_a_service(self._agenda.dice, run_id, spec, version))

    def ask_about_workers(self) -> None:
        self._ask(requests.about_a_worker(self._agenda.dice, self._worker_ids()))

    def _ask(self, event: Event) -> None:
        if isinstance(event, AGAIN) and not self._again:
            return
        for _ in range(2 if self._agenda.chance(0.1) else 1):
            self._agenda.after(self._agenda.spread(0.0005, 0.5), lambda: self._put(event))

    def look(self) -> None:
        """What is the state of a job?"""
        keys, master = self._keys(), self._serving()
        if not keys or master is None:
            return
        run_id, _, job_id = self._agenda.dice.choice(keys).partition("/")
        run, delay_s = master.core.state.runs.get(run_id), self._agenda.spread(0.0005, 0.1)
        if run is not None:
            key, state = run.jobs[job_id].key, run.jobs[job_id].state
            master.answer(lambda: self._agenda.after(delay_s, lambda: self._oracle.told(key, state)))

    def stop_services(self) -> None:
        """Whoever waits for the end of everything wants no service any more."""
        master = self._serving()
        if master is not None:
            for run in list(master.core.state.runs.values()):
                for job in run.jobs.values():
                    if job.spec.service and not job.final and job.ending is None:
                        self._put(ServiceStopRequested(run.run_id, job.job_id, "enough"))

    def give_up_bound_jobs(self) -> None:
        """Nobody waits for a worker that does not come back, or does not have what a job needs."""
        master = self._serving()
        if master is not None:
            state = master.core.state
            for job in [job for run in state.runs.values() for job in run.jobs.values()]:
                bound_to = strict_worker_id(job)
                worker = state.workers.get(bound_to)
                if job.state is JobState.QUEUED and bound_to and (worker is None or not fits(job, worker)):
                    self._put(JobCancelRequested(job.run.run_id, job.job_id, f"not {bound_to}"))

    def release_workers(self) -> None:
        for worker_id in self._worker_ids():
            self._put(WorkerHoldRequested(worker_id, undo=True))

    def _put(self, event: Event) -> None:
        master = self._serving()
        if master is not None:
            if hasattr(event, "run_id"):
                master.recall(event.run_id)
            try:
                master.handle(event)
            except RequestRefused as refusal:
                assert refusal.message

    # ── what they know ────────────────────────────────────────────────────────────────────────────

    def _run_ids(self) -> list[str]:
        return list(dict.fromkeys(run_id for run_id, _ in self._oracle.promised.values()))

    def _keys(self) -> list[str]:
        """Jobs whose submission was acknowledged."""
        return [f"{run_id}/{spec.job_id}" for run_id, specs in self._oracle.promised.values() for spec in specs]

    def _spawner(self) -> bytes:
        running = [token for token, execution in self._oracle.executions.items() if not execution.over]
        return self._agenda.dice.choice(running) if running and self._agenda.chance(0.3) else b""
