"""Which attempt was where, from when to when: read out of the events of runs.

An event says from which state into which a job has gone; an attempt begins with RUNNING and ends with the next state.
What was read is kept, of a bounded number of runs. Any thread. Knows no pages.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from titan_core.protocol.messages import JobEvent, JobStatus, RunStatus, WorkerStatus
from titan_sdk import TitanClient
from titan_sdk.errors import Conflict, NotFound

MAX_EVENTS = 10_000
"""Of a run that are read at a time; the rest is, the next time."""
_KEPT_RUNS = 200
_ENDED = {"COMPLETED": "SUCCEEDED", "QUEUED": "LOST", "CANCELLED": "STOPPED"}
"""How an attempt ended, by what its job became."""


@dataclass(frozen=True, slots=True)
class Execution:
    run_id: str
    job_id: str
    attempt: int
    """0 = not known."""
    worker: str
    started_wall: float
    finished_wall: float = 0.0
    """0.0 = it goes on."""
    state: str = "RUNNING"
    """`RUNNING`, or an `Outcome`."""

    @property
    def key(self) -> str:
        return f"{self.run_id}/{self.job_id}"

    def overlaps(self, from_wall: float, until_wall: float) -> bool:
        return self.started_wall < until_wall and (self.finished_wall or until_wall) >= from_wall


def of_events(run_id: str, events: Iterable[JobEvent]) -> list[Execution]:
    """In the order in which they began."""
    attempts = _Attempts(run_id)
    attempts.add(events)
    return attempts.found


def of_jobs(jobs: Iterable[JobStatus]) -> list[Execution]:
    """The latest attempt of each: all that is known where the master keeps no events."""
    return [
        Execution(job.run_id, job.job_id, 0, job.worker, job.started_wall, job.finished_wall, _outcome(job))
        for job in jobs
        if job.worker and job.started_wall
    ]


def of_workers(workers: Iterable[WorkerStatus], as_of: float) -> Iterator[Execution]:
    """What goes on in their slots."""
    for worker in workers:
        for one in worker.history:
            run_id, _, job_id = one.key.partition("/")
            if one.state == "RUNNING":
                yield Execution(run_id, job_id, 0, worker.worker_id, as_of - one.duration_s)


class Executions:
    """Reads those of runs, each event only once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Attempts] = OrderedDict()
        """By run; the one that was asked for last is last."""

    def of_run(self, client: TitanClient, run: RunStatus) -> list[Execution]:
        """Empty for a run that was forgotten meanwhile."""
        after, found = self._so_far(run.run_id)
        if after >= run.version:
            return found
        try:
            events = tuple(itertools.islice(client.events(run.run_id, after=after), MAX_EVENTS))
        except Conflict:  # this master keeps nothing
            return of_jobs(client.run(run.run_id).jobs)
        except NotFound:
            return []
        return self._learn(run.run_id, events)

    def _so_far(self, run_id: str) -> tuple[int, list[Execution]]:
        with self._lock:
            known = self._known.get(run_id)
            if known is None:
                return 0, []
            self._known.move_to_end(run_id)
            return known.number, list(known.found)

    def _learn(self, run_id: str, events: Iterable[JobEvent]) -> list[Execution]:
        with self._lock:
            known = self._known.setdefault(run_id, _Attempts(run_id))
            known.add(events)
            while len(self._known) > _KEPT_RUNS:
                self._known.popitem(last=False)
            return list(known.found)


class _Attempts:
    """Those of one run, as far as its events were read."""

    def __init__(self, run_id: str) -> None:
        self.number = 0
        """Of the last event."""
        self.found: list[Execution] = []
        self._run_id = run_id
        self._running: dict[str, int] = {}
        """By job: the place in `found` of the attempt that goes on."""

    def add(self, events: Iterable[JobEvent]) -> None:
        """Those that were added before, perhaps by another thread, are passed over."""
        for event in events:
            if event.number > self.number:
                self.number = event.number
                self._take(event)

    def _take(self, event: JobEvent) -> None:
        place = self._running.get(event.job_id)
        if event.after == "RUNNING" and place is None:
            self._running[event.job_id] = len(self.found)
            self.found.append(Execution(self._run_id, event.job_id, event.attempt, event.worker, event.wall))
        elif event.after != "RUNNING" and place is not None:
            del self._running[event.job_id]
            ended = _ENDED.get(event.after, "FAILED")
            self.found[place] = replace(self.found[place], finished_wall=event.wall, state=ended)


def _outcome(job: JobStatus) -> str:
    return "RUNNING" if job.state == "RUNNING" else _ENDED.get(job.state, "FAILED")
