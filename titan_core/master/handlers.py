"""The single place where messages become events, and what is known becomes replies.

`Handlers.answer` takes a request and returns its reply, or raises the TitanError it is refused with.
It runs on connection threads, many at once; the lock is the engine's, and is held only to look or to
decide, never while waiting, reading files or building long replies.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from titan_core.errors import InvalidRequest, NotFound
from titan_core.master import lookup
from titan_core.master.engine import Engine
from titan_core.master.logs import LogName, LogStore
from titan_core.master.submissions import Submissions
from titan_core.master.views import Views, changed_jobs
from titan_core.protocol import messages
from titan_core.protocol.checks import check_range, shortened
from titan_core.protocol.codec import Message
from titan_core.protocol.monitor import stats_text
from titan_core.scheduler.actions import RecordChange
from titan_core.scheduler.events import (
    JobCancelRequested,
    JobRetryRequested,
    RunCancelRequested,
    RunRetryRequested,
    ServiceStopRequested,
    WorkerShutdownRequested,
)
from titan_core.scheduler.explain import explain
from titan_core.scheduler.model import Job, JobState, Run, RunState
from titan_core.scheduler.state import State
from titan_core.store.assets import AssetStore

MAX_WAIT_S = 30.0
"""A long poll is answered by then; the client asks again."""
LOG_CHUNK = 512 * 1024
"""Bytes of a log in one answer."""
JOBS_AT_ONCE = 500
"""Job states read under one hold of the lock; a longer list is read in several."""
MAX_LISTED = 1_000_000
"""Runs, or jobs, of one list."""
NAMED_CANCELLED = 1000
"""Jobs that the answer to a cancellation names."""


class Handlers:
    """Requests in, replies out."""

    def __init__(self, engine: Engine, assets: AssetStore, logs: LogStore) -> None:
        self._engine = engine
        self._assets = assets
        self._logs = logs
        self._views = Views(engine.clock)
        self._submissions = Submissions(engine, assets)
        self._reactions: dict[type[Message], Callable[[Any], Message]] = {
            messages.SubmitRun: self._submissions.submit,
            messages.GetStats: self._stats,
            messages.GetClusterStatus: self._cluster,
            messages.ListWorkers: self._workers,
            messages.ListRuns: self._list_runs,
            messages.ListJobs: self._list_jobs,
            messages.ListAssets: lambda request: messages.AssetList(tuple(assets.list())),
            messages.GetRun: self._get_run,
            messages.GetJob: self._get_job,
            messages.GetLogs: self._get_logs,
            messages.Explain: self._explain,
            messages.CancelJob: self._cancel,
            messages.StopService: self._stop_service,
            messages.RetryJob: self._retry,
            messages.ShutdownWorker: self._shutdown_worker,
        }

    def answer(self, request: Message) -> Message:
        """The reply to a client's request. Raises TitanError with the sentence that refuses it."""
        reaction = self._reactions.get(type(request))
        if reaction is None:
            raise InvalidRequest(f"{type(request).__name__} is not a request a client can make")
        return reaction(request)

    # ── the cluster ───────────────────────────────────────────────────────────────────────────────

    def _cluster(self, request: Message) -> messages.ClusterStatus:
        sessions = self._engine.sessions()
        return self._engine.read(lambda state: self._views.cluster(state, sessions))

    def _stats(self, request: Message) -> messages.StatsText:
        return messages.StatsText(stats_text(self._cluster(request)))

    def _workers(self, request: Message) -> messages.WorkerList:
        sessions = self._engine.sessions()
        return messages.WorkerList(self._engine.read(lambda state: self._views.workers(state, sessions)))

    def _shutdown_worker(self, request: messages.ShutdownWorker) -> messages.Ack:
        worker_id = self._engine.read(lambda state: lookup.find_worker(state, request.worker).worker_id)
        self._engine.submit(WorkerShutdownRequested(worker_id, request.force))
        return messages.Ack(f"worker {worker_id} is stopping")

    # ── runs and jobs ─────────────────────────────────────────────────────────────────────────────

    def _list_runs(self, request: messages.ListRuns) -> messages.RunList:
        check_range(request.limit, 1, MAX_LISTED, "limit")
        _check_state(request.state, RunState)

        def look(state: State) -> messages.RunList:
            fits = (run for run in reversed(state.runs.values()) if _run_fits(run, request))
            return messages.RunList(tuple(map(self._views.run, itertools.islice(fits, request.limit))))

        return self._engine.read(look)

    def _list_jobs(self, request: messages.ListJobs) -> messages.JobList:
        check_range(request.limit, 1, MAX_LISTED, "limit")
        _check_state(request.state, JobState)
        found = self._engine.read(
            lambda state: [job for run in state.runs.values() for job in _jobs_of(run, request)]
        )
        return messages.JobList(self._job_statuses(found[: request.limit]), len(found))

    def _get_run(self, request: messages.GetRun) -> messages.RunStatus:
        run = self._engine.read(lambda state: lookup.find_run(state, request.key))
        topic = ("run over" if request.until_final else "run", run.run_id)
        for _ in self._engine.topics.changes(topic, min(request.wait_s, MAX_WAIT_S)):
            if run.open_jobs == 0 if request.until_final else run.version > request.since:
                break
        return self._run_status(run, request)

    def _run_status(self, run: Run, request: messages.GetRun) -> messages.RunStatus:
        """The counts and the list of what changed are of one instant; each job is as it is when it is read."""

        def look(state: State) -> tuple[messages.RunStatus, list[Job]]:
            return self._views.run(run), changed_jobs(run, request.since) if request.jobs else []

        status, jobs = self._engine.read(look)
        return replace(status, jobs=self._job_statuses(jobs))

    def _job_statuses(self, jobs: list[Job]) -> tuple[messages.JobStatus, ...]:
        statuses: list[messages.JobStatus] = []
        for start in range(0, len(jobs), JOBS_AT_ONCE):
            some = jobs[start : start + JOBS_AT_ONCE]
            statuses += self._engine.read(functools.partial(self._read_jobs, some))
        return tuple(statuses)

    def _read_jobs(self, jobs: list[Job], state: State) -> list[messages.JobStatus]:
        return [self._views.job(state, job, attempts=False) for job in jobs]

    def _get_job(self, request: messages.GetJob) -> messages.JobStatus:
        job = self._find_job(request.key)
        topic = ("job", job.run.run_id, job.job_id)
        for _ in self._engine.topics.changes(topic, min(request.wait_s, MAX_WAIT_S)):
            if job.final:
                break
        return self._engine.read(lambda state: self._views.job(state, job))

    def _explain(self, request: messages.Explain) -> messages.Explanation:
        job = self._find_job(request.key)
        now = self._engine.clock.monotonic()
        return self._engine.read(
            lambda state: messages.Explanation(
                job.run.run_id, job.job_id, job.state.value, tuple(explain(state, job, now))
            )
        )

    # ── changing what runs ────────────────────────────────────────────────────────────────────────

    def _cancel(self, request: messages.CancelJob) -> messages.Cancelled:
        reason = shortened(request.reason) or "cancelled on request"
        run, job = self._engine.read(lambda state: lookup.find_run_or_job(state, request.key))
        event = JobCancelRequested(run.run_id, job.job_id, reason) if job else RunCancelRequested(run.run_id, reason)
        changes = [action for action in self._engine.submit(event) if isinstance(action, RecordChange)]
        cancelled = [change.job.key for change in changes if change.after is JobState.CANCELLED]
        stopping = [change.job.key for change in changes if change.after is change.before]
        keys = tuple(stopping + cancelled)[:NAMED_CANCELLED]
        return messages.Cancelled(keys, _cancel_sentence(len(cancelled), len(stopping)))

    def _stop_service(self, request: messages.StopService) -> messages.Ack:
        job = self._find_job(request.key)
        self._engine.submit(ServiceStopRequested(job.run.run_id, job.job_id, "stopped on request"))
        return messages.Ack(f"STOPPED: service {job.key} is stopping")

    def _retry(self, request: messages.RetryJob) -> messages.Ack:
        run, job = self._engine.read(lambda state: lookup.find_run_or_job(state, request.key))
        if job:
            self._engine.submit(JobRetryRequested(run.run_id, job.job_id))
            return messages.Ack(f"job {job.key} runs again")
        self._engine.submit(RunRetryRequested(run.run_id))
        return messages.Ack(f"the DEAD and CANCELLED jobs of {run.run_id} run again")

    # ── logs ──────────────────────────────────────────────────────────────────────────────────────

    def _get_logs(self, request: messages.GetLogs) -> messages.LogChunk:
        job = self._find_job(request.key)
        if request.attempt < 0:
            raise InvalidRequest(f"attempt {request.attempt} does not exist; the first is 1", field="attempt")
        topic = ("log", job.run.run_id, job.job_id)
        for _ in self._engine.topics.changes(topic, min(request.wait_s, MAX_WAIT_S)):
            chunk = self._log_chunk(job, request)
            if chunk.data or chunk.end or chunk.final:
                break
        return chunk

    def _log_chunk(self, job: Job, request: messages.GetLogs) -> messages.LogChunk:
        number, over, final = self._engine.read(lambda state: _attempt_facts(job, request))
        if number == 0:
            return messages.LogChunk(job.run.run_id, job.job_id, 0, 0, b"", final, final)
        name = LogName(job.run.run_id, job.job_id, number)
        start, data = self._logs.read(name, request.offset, LOG_CHUNK)
        end = over and start + len(data) >= self._logs.size(name)
        return messages.LogChunk(*name, start, data, end, final)

    def _find_job(self, key: str) -> Job:
        return self._engine.read(lambda state: lookup.find_job(state, key))


def _attempt_facts(job: Job, request: messages.GetLogs) -> tuple[int, bool, bool]:
    """The number of the attempt (0: it has not begun), whether it is over, and whether no further one will come."""
    begun = len(job.attempts)
    if request.attempt > begun + (request.wait_s > 0):  # the next attempt may be waited for
        raise NotFound(f"job {job.key} has no attempt {request.attempt}; it has {begun}")
    number = request.attempt or begun
    if number == 0 or number > begun:
        return 0, False, job.final
    return number, job.attempts[number - 1].outcome is not None, job.final and number == begun


def _run_fits(run: Run, request: messages.ListRuns) -> bool:
    return run.name.startswith(request.name) and request.state in ("", run.state.value)


def _jobs_of(run: Run, request: messages.ListJobs) -> list[Job]:
    if not request.state and run.live_jobs == 0:
        return []
    wanted = request.state
    return [
        job
        for job in run.jobs.values()
        if (job.state.value == wanted if wanted else not job.final) and (job.spec.service or not request.services)
    ]


def _cancel_sentence(cancelled: int, stopping: int) -> str:
    waiting = f"{cancelled} waiting job{'s' * (cancelled != 1)} cancelled"
    running = f"{stopping} running job{'s' * (stopping != 1)} being stopped"
    return ", ".join([running] * (stopping > 0) + [waiting] * (cancelled > 0))


def _check_state(state: str, states: type[RunState] | type[JobState]) -> None:
    names = [member.value for member in states]
    if state and state not in names:
        raise InvalidRequest(f"{state!r} is not a state; there are {', '.join(names)}", field="state")
