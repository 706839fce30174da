"""The store, modelled: steps become durable in order, group by group, some time after they were handed in.

A crash keeps what was durable; of the group that was being written, all or nothing. What is durable is
kept as the real store keeps it, row by row, and given back as it gives it back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from titan_core.scheduler.events import Event, StateRecovered
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.records import (
    GONE,
    AttemptRecord,
    Batch,
    EventRecord,
    JobRecord,
    RunRecord,
    ServiceRecord,
    StateRecord,
    StoredJob,
    StoredRun,
    StoredService,
    WorkerRecord,
)
from titan_core.scheduler.recovery import parent_runs
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.ledgers import Ledgers

_LOOK_S = 0.5
"""How often it is tried whether the disk has room again."""


class Step(NamedTuple):
    ticket: int
    batch: Batch
    cause: Event
    at: float
    """When it was decided …"""
    wall: float
    """… and what the wall clock said then, whether the master knew or not."""
    told_s: float
    """Wall time minus monotonic time, as the master had last been told before."""


class Rows:
    """What is on the disk."""

    def __init__(self) -> None:
        self.runs: dict[int, RunRecord] = {}
        self.requests: dict[bytes, int] = {}
        self.jobs: dict[int, JobRecord] = {}
        self.states: dict[int, StateRecord] = {}
        self.attempts: dict[int, dict[int, AttemptRecord]] = defaultdict(dict)
        self.events: dict[tuple[int, int], EventRecord] = {}
        self.workers: dict[str, WorkerRecord] = {}
        self.services: dict[int, ServiceRecord] = {}
        self.definitions: dict[int, dict[int, JobSpec]] = defaultdict(dict)
        self.job_of_key: dict[str, int] = {}
        self.ledgers = Ledgers()

    def key(self, job: int) -> str:
        record = self.jobs[job]
        return f"{self.runs[record.run].run_id}/{record.job_id}"

    def write(self, batch: Batch) -> None:
        self.runs.update((run.sequence, run) for run in batch.runs)
        self.requests.update((request.request_id, request.run) for request in batch.requests)
        for job in batch.jobs:
            self.jobs[job.sequence] = job
            self.job_of_key[self.key(job.sequence)] = job.sequence
        self.states.update((state.job, state) for state in batch.states)
        for attempt in batch.attempts:
            self.attempts[attempt.job][attempt.number] = attempt
        self.events.update(((event.run, event.version), event) for event in batch.events)
        self.workers.update((worker.worker_id, worker) for worker in batch.workers)
        self.services.update((service.job, service) for service in batch.services)
        for definition in batch.definitions:
            self.definitions[definition.job][definition.revision] = definition.spec
        self.ledgers.write(batch)

    def commit(self) -> None:
        """What was written since the last time is one group."""

    def request(self, request_id: bytes) -> str | None:
        run = self.requests.get(request_id)
        return None if run is None else self.runs[run].run_id

    def stored_run(self, run_id: str) -> StoredRun | None:
        numbers = [number for number, run in self.runs.items() if run.run_id == run_id]
        return self._stored(numbers)[0] if numbers else None

    def decided_ahead(self, schedule: str, wall: float) -> tuple[int, ...]:
        return self.ledgers.decided_ahead(schedule, wall)

    def last_trigger(self, schedule: str) -> int:
        return self.ledgers.last_trigger(schedule)

    def recovered(
        self, term: int, grace_s: float, recent: int, wall: float = 0.0, offset_s: float = 0.0
    ) -> StateRecovered:
        """What the next master is told: what is alive, so many runs that are over, their parents' runs, schedules."""
        over = sorted(number for number, run in self.runs.items() if not run.live_jobs)
        wanted = {number for number, run in self.runs.items() if run.live_jobs} | set(over[-recent:])
        parents = wanted
        while parents:
            names = {name for stored in self._stored(sorted(parents)) for name in parent_runs(stored)}
            parents = {number for number, run in self.runs.items() if run.run_id in names} - wanted
            wanted |= parents
        workers = [worker for worker in self.workers.values() if worker.state != GONE]
        return StateRecovered(
            term,
            grace_s,
            self._stored(sorted(wanted)),
            tuple(workers),
            max([0, *self.runs, *self.jobs]),
            offset_s,
            self.ledgers.schedules_at(wall),
            self.ledgers.due_alerts(),
        )

    def _stored(self, numbers: list[int]) -> tuple[StoredRun, ...]:
        jobs: dict[int, list[StoredJob]] = defaultdict(list)
        requests: dict[int, list[bytes]] = defaultdict(list)
        for sequence, job in sorted(self.jobs.items()):
            tried = self.attempts.get(sequence, {})
            attempts = tuple(tried[number] for number in sorted(tried))
            jobs[job.run].append(StoredJob(job, self.states[sequence], attempts))
        for request_id, run in self.requests.items():
            requests[run].append(request_id)
        services: dict[int, list[StoredService]] = defaultdict(list)
        for number, service in sorted(self.services.items()):
            services[service.run].append(StoredService(service, tuple(self.definitions[number].items())))
        return tuple(
            StoredRun(
                self.runs[number],
                tuple(requests[number]),
                tuple(jobs[number]),
                tuple(services[number]),
                self.ledgers.variables_of(number),
                self.ledgers.line_of(number),
            )
            for number in numbers
        )


class Store:
    """`on_durable(step)` is told of each step, in order, just before its rows are there; `on_commit()` of a group."""

    def __init__(self, agenda: Agenda, rows: Rows, on_durable: Callable[[Step], None]) -> None:
        self._agenda = agenda
        self._on_durable = on_durable
        self.on_commit: Callable[[], None] = lambda: None
        self.rows = rows
        self.term = 0
        self.last = self.committed = 0
        """Tickets of the newest step, and of the newest that is durable and known to be."""
        self.full = False
        """The disk takes nothing."""
        self._waiting: list[Step] = []
        self._writing: list[Step] = []
        self._life = 0

    def append(self, batch: Batch, cause: Event, told_s: float) -> int:
        self.last += 1
        self._waiting.append(Step(self.last, batch, cause, self._agenda.now, self._agenda.wall, told_s))
        if not self._writing:
            self._begin()
        return self.last

    def next_term(self) -> int:
        """Of a master that starts; durable before it serves anybody."""
        self.term += 1
        return self.term

    def crash(self) -> None:
        """The master is gone. Whether the group that was being written made it, nobody has heard."""
        self._life += 1
        if self._writing and not self.full and self._agenda.chance(0.5):
            self._write(self._writing)
        self._waiting, self._writing = [], []
        self.last = self.committed

    def _begin(self) -> None:
        self._writing, self._waiting = self._waiting, []
        slow = self._agenda.chance(0.03)
        life = self._life
        self._agenda.after(self._agenda.spread(0.001, 2.0 if slow else 0.02), lambda: self._end(life))

    def _end(self, life: int) -> None:
        if life != self._life:
            return
        if self.full:
            self._agenda.after(_LOOK_S, lambda: self._end(life))
            return
        group, self._writing = self._writing, []
        self._write(group)
        if self._waiting:
            self._begin()
        self.on_commit()

    def _write(self, group: list[Step]) -> None:
        for step in group:
            self._on_durable(step)
            self.rows.write(step.batch)
            self.committed = step.ticket
        self.rows.commit()
