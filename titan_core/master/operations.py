"""What people do to keep a cluster going: see what happened, start, drain and stop workers, check what is stored.

Functions behind requests, called by the threads of connections; what changes something is an event for
the engine like any other. Backups have a module of their own, since they are more than an answer.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from titan_core.errors import Conflict, Unavailable
from titan_core.master import lookup
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.protocol import messages
from titan_core.protocol.checks import check_capability, check_range
from titan_core.scheduler.actions import SpawnWorker
from titan_core.scheduler.events import WorkerHoldRequested, WorkerShutdownRequested, WorkerStartRequested
from titan_core.scheduler.state import State
from titan_core.store.check import examine_file
from titan_core.store.history import History, StoredEvent

MAX_EVENTS = 10_000
"""Of one answer; the client asks for the next ones."""


class Operations:
    """`database` is the stored state of the home; None: this master keeps nothing."""

    def __init__(self, engine: Engine, finder: Finder, history: History, database: Path | None) -> None:
        self._engine = engine
        self._finder = finder
        self._history = history
        self._database = database

    def events(self, request: messages.ListEvents) -> messages.EventList:
        """Raises NotFound, InvalidRequest, and Conflict where nothing is kept."""
        check_range(request.limit, 1, MAX_EVENTS, "limit")
        self._kept()
        run_id, job_id = self._named(request.key)
        found = self._history.events(run_id, job_id, request.after, request.limit + 1)
        if job_id and not found:
            self._finder.job(f"{run_id}/{job_id}")  # for the refusal, should there be none
        return messages.EventList(run_id, tuple(map(_event, found[: request.limit])), len(found) > request.limit)

    def drain(self, request: messages.DrainWorker) -> messages.Ack:
        """Raises NotFound. What is so already is no error, as the answer to a first request may be lost."""

        def look(state: State) -> tuple[str, bool]:
            worker = lookup.find_worker(state, request.worker)
            return worker.worker_id, worker.held

        worker_id, held = self._engine.read(look)
        if held is request.undo:
            self._engine.submit(WorkerHoldRequested(worker_id, request.undo))
        word = "gets jobs again" if request.undo else "gets no more jobs; what runs there goes on"
        return messages.Ack(f"worker {worker_id} {word}", (worker_id,))

    def shut_down(self, request: messages.ShutdownWorker) -> messages.Ack:
        """Raises NotFound, Conflict."""
        worker_id = self._worker_id(request.worker)
        self._engine.submit(WorkerShutdownRequested(worker_id, request.force, request.now))
        jobs = self._engine.read(lambda state: _jobs_on(state, worker_id))
        waits = f" once its {jobs} job{'s have' if jobs != 1 else ' has'} ended" if jobs and not request.now else ""
        return messages.Ack(f"worker {worker_id} is stopping{waits}", (worker_id,))

    def start_worker(self, request: messages.StartWorker) -> messages.Ack:
        """Raises NotFound, Conflict, InvalidRequest."""
        check_range(request.port, 1, 65535, "port")
        if request.capability:
            check_capability(request.capability, "capability")
        beside = self._worker_id(request.beside) if request.beside else ""
        actions = self._engine.submit(WorkerStartRequested(request.port, request.capability, beside))
        parent = next(action.worker_id for action in actions if isinstance(action, SpawnWorker))
        worker_id = f"{parent.rpartition(':')[0]}:{request.port}"
        return messages.Ack(f"worker {worker_id} is being started by {parent}", (worker_id,))

    def _worker_id(self, key: str) -> str:
        return self._engine.read(lambda state: lookup.find_worker(state, key).worker_id)

    def check(self, request: messages.Check) -> messages.CheckReport:
        """Reads all that is stored, beside everybody else. Raises Conflict where nothing is, Unavailable."""
        try:
            report = examine_file(self._kept())
        except sqlite3.Error as error:
            raise Unavailable(f"the stored state can not be read: {error}") from None
        return messages.CheckReport(tuple(report.problems), report.runs, report.jobs, report.attempts)

    def _kept(self) -> Path:
        if self._database is None:
            raise Conflict("this master keeps nothing: it was started with --in-memory")
        return self._database

    def _named(self, key: str) -> tuple[str, str | None]:
        """The run, and the job in it if one is meant. A full key does not cost reading the run."""
        run_key, _, job_id = key.partition("/")
        if self._engine.read(lambda state: run_key in state.runs) or self._history.find_run_ids(run_key) == [run_key]:
            return run_key, job_id or None
        run, job = self._finder.run_or_job(key)
        return run.run_id, job.job_id if job else None


def _jobs_on(state: State, worker_id: str) -> int:
    worker = state.workers.get(worker_id)
    return len(worker.running) if worker is not None else 0


def _event(stored: StoredEvent) -> messages.JobEvent:
    return messages.JobEvent(
        stored.version,
        stored.wall,
        stored.job_id,
        stored.before,
        stored.after,
        stored.reason,
        stored.attempt,
        stored.worker_id,
    )
