"""Which ready job goes to which worker: strict capability match, affinity, then the least loaded worker.

A pool is all that has to do with one capability: its ready jobs, best first (higher priority, then
older), and its workers, least loaded first. Services have pools of their own, since they take no
slot. Jobs with strict affinity wait in a queue of the worker they are bound to. Heaps hold entries
that may have become untrue; a ticket, or a version, tells, and untrue ones are dropped when they
come up. So placing costs O(log jobs + log workers), whatever waits in other pools.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from titan_core.scheduler.model import Affinity, Job, Worker, WorkerState

_SLACK = 64
"""Entries a heap may hold, beyond twice those that were true when it was last rebuilt, before it is rebuilt again."""
_ReadyEntry = tuple[int, int, int, Job]
"""(-priority, age, ticket, job); the ticket is unique, so jobs are never compared."""


class ReadyQueue:
    """Jobs that could start, best first."""

    def __init__(self) -> None:
        self._heap: list[_ReadyEntry] = []
        self._rebuild_at = _SLACK

    def push(self, job: Job) -> None:
        heapq.heappush(self._heap, (-job.spec.priority, job.sequence, job.queue_ticket, job))
        if len(self._heap) > self._rebuild_at:
            self._heap = [entry for entry in self._heap if _is_true(entry)]
            heapq.heapify(self._heap)
            self._rebuild_at = 2 * len(self._heap) + _SLACK

    def best(self) -> _ReadyEntry | None:
        """The entry of the best job, left where it is."""
        while self._heap and not _is_true(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def ahead_of(self, job: Job) -> int:
        """How many jobs would be taken before `job`. Reads the whole queue: for explanations only."""
        mark = (-job.spec.priority, job.sequence)
        return sum(1 for entry in self._heap if _is_true(entry) and entry[:2] < mark)


def _is_true(entry: _ReadyEntry) -> bool:
    return entry[3].queue_ticket == entry[2]


class Pool:
    """The ready jobs and the workers of one capability."""

    def __init__(self, service: bool) -> None:
        self.ready = ReadyQueue()
        self._service = service
        self._workers: list[tuple[float, int, int, Worker]] = []
        self._rebuild_at = _SLACK

    def offer(self, worker: Worker) -> None:
        """The worker's load, or state, changed."""
        heapq.heappush(self._workers, (worker.load, worker.sequence, worker.placement_version, worker))
        if len(self._workers) > self._rebuild_at:
            self._workers = [entry for entry in self._workers if self._true(entry)]
            heapq.heapify(self._workers)
            self._rebuild_at = 2 * len(self._workers) + _SLACK

    def least_loaded(self) -> Worker | None:
        """The least loaded worker with room; the one that registered first among equals."""
        while self._workers and not self._true(self._workers[0]):
            heapq.heappop(self._workers)
        return self._workers[0][3] if self._workers else None

    def _true(self, entry: tuple[float, int, int, Worker]) -> bool:
        return entry[2] == entry[3].placement_version and entry[3].has_room(self._service)


class Placement:
    """The pools of all capabilities, and the queues of strict affinity."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, bool], Pool] = {}
        self._bound: dict[str, dict[tuple[str, bool], ReadyQueue]] = {}
        self._stirred: dict[tuple[str, bool] | str, None] = {}
        self._workers: dict[str, Worker] = {}
        self._last_ticket = 0

    # ── what changes ──────────────────────────────────────────────────────────────────────────────

    def queue(self, job: Job) -> None:
        """The job is ready."""
        self._last_ticket += 1
        job.queue_ticket = self._last_ticket
        key, bound_to = (job.spec.requirement, job.spec.service), strict_worker_id(job)
        if bound_to:
            self._bound.setdefault(bound_to, {}).setdefault(key, ReadyQueue()).push(job)
            self._stirred[bound_to] = None
        else:
            self._pool(key).ready.push(job)
            self._stirred[key] = None

    def withdraw(self, job: Job) -> None:
        """The job is not ready any more, or has been placed."""
        job.queue_ticket = 0

    def update(self, worker: Worker) -> None:
        """The worker is new, or its load or state changed."""
        self._workers[worker.worker_id] = worker
        worker.placement_version += 1
        for capability in worker.info.capabilities:
            for service in (False, True):
                key = (capability, service)
                if worker.has_room(service):
                    self._pool(key).offer(worker)
                    self._stirred[key] = None
        self._stirred[worker.worker_id] = None

    def remove(self, worker: Worker) -> None:
        worker.placement_version += 1
        self._workers.pop(worker.worker_id, None)

    def rebind(self, jobs: Iterable[Job]) -> None:
        """The attempt these jobs may be bound to began on another worker: those that are ready wait for that one."""
        for job in jobs:
            if job.queue_ticket and strict_worker_id(job):
                self.queue(job)

    def ahead_of(self, job: Job) -> int:
        """How many jobs of its queue would be placed before this ready job."""
        key, bound_to = (job.spec.requirement, job.spec.service), strict_worker_id(job)
        queue = self._bound.get(bound_to, {}).get(key) if bound_to else self._pool(key).ready
        return queue.ahead_of(job) if queue else 0

    # ── what follows ──────────────────────────────────────────────────────────────────────────────

    def next(self) -> tuple[Job, Worker] | None:
        """The best job that can be placed now, and its worker; the caller starts it and asks again."""
        best: tuple[_ReadyEntry, Worker] | None = None
        for key in list(self._stirred):
            candidate = self._candidate(key)
            if candidate is None:
                del self._stirred[key]
            elif best is None or candidate[0] < best[0]:
                best = candidate
        if best is None:
            return None
        return best[0][3], best[1]

    def _candidate(self, key: tuple[str, bool] | str) -> tuple[_ReadyEntry, Worker] | None:
        if isinstance(key, str):
            return self._bound_candidate(key)
        pool = self._pools[key]
        entry = pool.ready.best()
        worker = pool.least_loaded() if entry else None
        if entry is None or worker is None:
            return None
        return entry, self._preferred(entry[3]) or worker

    def _bound_candidate(self, worker_id: str) -> tuple[_ReadyEntry, Worker] | None:
        worker, queues = self._workers.get(worker_id), self._bound.get(worker_id, {})
        best: _ReadyEntry | None = None
        for (capability, service), queue in list(queues.items()):
            entry = queue.best()
            if entry is None:
                del queues[capability, service]
            elif worker and capability in worker.info.capabilities and worker.has_room(service):
                best = entry if best is None else min(best, entry)
        return (best, worker) if best and worker else None

    def _preferred(self, job: Job) -> Worker | None:
        worker = self._workers.get(preferred_worker_id(job))
        if worker and fits(job, worker) and worker.has_room(job.spec.service):
            return worker
        return None

    def _pool(self, key: tuple[str, bool]) -> Pool:
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = Pool(key[1])
        return pool


def fits(job: Job, worker: Worker) -> bool:
    """Whether the worker has what the job requires, be it free or not."""
    return job.spec.requirement in worker.info.capabilities


def preferred_worker_id(job: Job) -> str:
    """The worker the job would rather run on: its parent's if it asked for affinity, else its spawner's; or empty."""
    if job.spec.affinity is not Affinity.NONE:
        for parent in job.parents:
            if parent.attempt:
                return parent.attempt.worker_id
    return job.spawner_worker_id


def strict_worker_id(job: Job) -> str:
    """The one worker the job may run on; empty when it is free to run anywhere that fits."""
    return preferred_worker_id(job) if job.spec.affinity is Affinity.STRICT else ""


def capable(job: Job, workers: Iterable[Worker]) -> list[Worker]:
    """The workers that have what the job requires, and take work."""
    return [w for w in workers if fits(job, w) and w.state is WorkerState.ONLINE and not w.trouble]
