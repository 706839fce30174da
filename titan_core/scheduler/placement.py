"""Which ready job goes to which worker: strict capability match, affinity, then the least loaded worker.

A pool is all that has to do with one capability: its ready jobs, best first (higher priority, then
older), and its workers, least loaded first. Jobs with strict affinity wait in a queue of the worker they
are bound to. Heaps hold entries that may have become untrue; a ticket, or a version, tells, and untrue
ones are dropped when they come up. So placing costs O(log jobs + log workers), whatever waits in other pools.

Services take no slot, are few, and are choosy: instances are spread over workers, one that has to have a
port needs a host where that is free, and one that fails somewhere again and again goes elsewhere. They wait
in a list of their own, and each placing looks at all workers.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from titan_core.scheduler import restarts
from titan_core.scheduler.model import Job, Worker
from titan_core.scheduler.states import Affinity

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
        heapq.heappush(self._heap, (*_rank(job), job.queue_ticket, job))
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
        mark = _rank(job)
        return sum(1 for entry in self._heap if _is_true(entry) and entry[:2] < mark)

    def count(self, most: int) -> int:
        """How many jobs wait; no more than `most` are counted."""
        return sum(1 for _ in itertools.islice(filter(_is_true, self._heap), most))


def _is_true(entry: _ReadyEntry) -> bool:
    return entry[3].queue_ticket == entry[2]


def _rank(job: Job) -> tuple[int, int]:
    return -job.spec.priority, job.sequence


class Pool:
    """The ready jobs and the workers of one capability."""

    def __init__(self) -> None:
        self.ready = ReadyQueue()
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
        return entry[2] == entry[3].placement_version and entry[3].has_room(False)


class _Bound(NamedTuple):
    """What is bound to a worker, as a key beside the names of capabilities."""

    worker_id: str


class Placement:
    """The pools of all capabilities, the queues of strict affinity, and the services that wait."""

    def __init__(self) -> None:
        self.starved: dict[str, None] = {}
        """Capabilities for which jobs are ready, and no worker has a free slot."""
        self.starved_changed = False
        """Whoever draws consequences sets it back."""
        self._pools: dict[str, Pool] = {}
        self._bound: dict[str, dict[str, ReadyQueue]] = {}
        self._stirred: dict[str | _Bound, None] = {}
        self._services: dict[Job, None] = {}
        self._services_stirred = False
        self._untried: deque[Job] = deque()
        """Services that are still to be looked at since they were stirred, best first …"""
        self._in_vain: set[tuple[str, int, str]] = set()
        """… and what those asked for that found no place; as services take places only, none finds one now."""
        self._workers: dict[str, Worker] = {}
        self._last_ticket = 0

    # ── what changes ──────────────────────────────────────────────────────────────────────────────

    def queue(self, job: Job) -> None:
        """The job is ready."""
        self._last_ticket += 1
        job.queue_ticket = self._last_ticket
        capability, bound_to = job.spec.requirement, strict_worker_id(job)
        if job.spec.service:
            self._services[job] = None
            self._services_stirred = True
        elif bound_to:
            self._bound.setdefault(bound_to, {}).setdefault(capability, ReadyQueue()).push(job)
            self._stirred[_Bound(bound_to)] = None
        else:
            self._pool(capability).ready.push(job)
            self._stirred[capability] = None

    def withdraw(self, job: Job) -> None:
        """The job is not ready any more, or has been placed."""
        if job.spec.service:
            self._services.pop(job, None)
        elif job.queue_ticket and job.spec.requirement in self.starved:
            self._stirred[job.spec.requirement] = None  # it may have been the last one
        job.queue_ticket = 0

    def update(self, worker: Worker, services: bool = True) -> None:
        """The worker is new, or its load or state changed; `services`: services may find room now that had none."""
        self._workers[worker.worker_id] = worker
        worker.placement_version += 1
        if worker.has_room(False):
            for capability in worker.info.capabilities:
                self._pool(capability).offer(worker)
                self._stirred[capability] = None
        self._stirred[_Bound(worker.worker_id)] = None
        self._services_stirred = self._services_stirred or services

    def remove(self, worker: Worker) -> None:
        worker.placement_version += 1
        self._workers.pop(worker.worker_id, None)
        self._services_stirred = True  # the ports that its services had are free for others of its host

    def rebind(self, jobs: Iterable[Job]) -> None:
        """The attempt these jobs may be bound to began on another worker: those that are ready wait for that one."""
        for job in jobs:
            if job.queue_ticket and strict_worker_id(job):
                self.queue(job)

    # ── what people ask ───────────────────────────────────────────────────────────────────────────

    def ahead_of(self, job: Job) -> int:
        """How many jobs of its queue would be placed before this ready job."""
        if job.spec.service:
            return sum(_rank(other) < _rank(job) for other in self._services)
        capability, bound_to = job.spec.requirement, strict_worker_id(job)
        queue = self._bound.get(bound_to, {}).get(capability) if bound_to else self._pool(capability).ready
        return queue.ahead_of(job) if queue else 0

    def waiting(self, capability: str, most: int) -> int:
        """How many jobs are ready and wait for any worker with this capability; no more than `most` are counted."""
        return self._pool(capability).ready.count(most)

    @property
    def services_stirred(self) -> bool:
        """Whether services that wait may find a place that they did not find before."""
        return self._services_stirred

    def waiting_services(self) -> list[Job]:
        return list(self._services)

    def places(self, job: Job, but_for_siblings: bool = False) -> list[Worker]:
        """The workers that could take this service now; or if the instances of its service there were gone."""
        taken = self.hosts_with_port(job.spec.policy.port)
        if but_for_siblings:
            taken = {host: holder for host, holder in taken.items() if holder.service is not job.service}
        bound_to = strict_worker_id(job)
        return [
            worker
            for worker in self._workers.values()
            if fits(job, worker)
            and (worker.has_room(True) or (but_for_siblings and worker.takes_work and _siblings(job, worker) > 0))
            and worker.info.host not in taken
            and bound_to in ("", worker.worker_id)
        ]

    def hosts_with_port(self, port: int) -> dict[str, Job]:
        """The hosts on which a service has this port, and that service; none for port 0."""
        if not port:
            return {}
        held = ((worker, attempt.job) for worker in self._workers.values() for attempt in worker.services.values())
        return {worker.info.host: job for worker, job in held if job.spec.policy.port == port}

    # ── what follows ──────────────────────────────────────────────────────────────────────────────

    def next(self) -> tuple[Job, Worker] | None:
        """The best job that can be placed now, and its worker; the caller starts it and asks again."""
        return self._next_service() or self._next_job()

    def _next_service(self) -> tuple[Job, Worker] | None:
        if self._services_stirred:
            self._services_stirred = False
            self._untried = deque(sorted(self._services, key=_rank))
            self._in_vain.clear()
        while self._untried:
            job = self._untried.popleft()
            asked = job.spec.requirement, job.spec.policy.port, strict_worker_id(job)
            if not job.queue_ticket or asked in self._in_vain:
                continue
            places = self.places(job)
            if places:
                return job, min(places, key=lambda worker: _unfitness(job, worker))
            self._in_vain.add(asked)
        return None

    def _next_job(self) -> tuple[Job, Worker] | None:
        best: tuple[_ReadyEntry, Worker] | None = None
        for key in list(self._stirred):
            candidate = self._bound_candidate(key.worker_id) if isinstance(key, _Bound) else self._candidate(key)
            if candidate is None:
                del self._stirred[key]
            elif best is None or candidate[0] < best[0]:
                best = candidate
        if best is None:
            return None
        return best[0][3], best[1]

    def _candidate(self, capability: str) -> tuple[_ReadyEntry, Worker] | None:
        pool = self._pools[capability]
        entry = pool.ready.best()
        if entry is None:
            if capability in self.starved:
                del self.starved[capability]
                self.starved_changed = True
            return None
        worker = pool.least_loaded()
        if worker is None:
            if capability not in self.starved:
                self.starved[capability] = None
                self.starved_changed = True
            return None
        return entry, self._preferred(entry[3]) or worker

    def _bound_candidate(self, worker_id: str) -> tuple[_ReadyEntry, Worker] | None:
        worker, queues = self._workers.get(worker_id), self._bound.get(worker_id, {})
        best: _ReadyEntry | None = None
        for capability, queue in list(queues.items()):
            entry = queue.best()
            if entry is None:
                del queues[capability]
            elif worker and capability in worker.info.capabilities and worker.has_room(False):
                best = entry if best is None else min(best, entry)
        return (best, worker) if best and worker else None

    def _preferred(self, job: Job) -> Worker | None:
        worker = self._workers.get(preferred_worker_id(job))
        return worker if worker and fits(job, worker) and worker.has_room(False) else None

    def _pool(self, capability: str) -> Pool:
        pool = self._pools.get(capability)
        if pool is None:
            pool = self._pools[capability] = Pool()
        return pool


def _unfitness(job: Job, worker: Worker) -> tuple[bool, bool, int, bool, float, int]:
    """What speaks against this worker for a service, the most important first: it failed there again and again; it
    was elsewhere before; other instances of it are there; its parent is not; the worker's load; its age."""
    before = job.attempts[-1].worker_id if job.attempts else worker.worker_id
    return (
        restarts.shunned_worker_id(job) == worker.worker_id,
        before != worker.worker_id,
        _siblings(job, worker),
        preferred_worker_id(job) not in ("", worker.worker_id),
        worker.load,
        worker.sequence,
    )


def _siblings(job: Job, worker: Worker) -> int:
    """Instances of the same service that are on the worker."""
    return sum(attempt.job.service is job.service for attempt in worker.services.values())


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
    return [w for w in workers if fits(job, w) and w.takes_work]
