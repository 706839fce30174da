"""The single place where messages become events, and what is known becomes replies.

`Handlers.answer` takes a request and returns its reply, or raises the TitanError it is refused with.
It runs on connection threads, many at once; the lock is the engine's, and is held only to look or to
decide, never while waiting, reading files or building long replies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from titan_core.errors import InvalidRequest, NotFound, TitanError, Unavailable
from titan_core.failpoints import reach
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.master.listings import MAX_LISTED, Listings
from titan_core.master.logs import LogName, LogStore
from titan_core.master.operations import Operations
from titan_core.master.schedule_requests import ScheduleRequests
from titan_core.master.service_requests import ServiceRequests
from titan_core.master.submissions import Submissions
from titan_core.master.views import Views, changed_jobs
from titan_core.protocol import messages
from titan_core.protocol.checks import shortened
from titan_core.protocol.codec import Message
from titan_core.protocol.monitor import stats_text
from titan_core.scheduler.actions import Action, RecordChange
from titan_core.scheduler.events import (
    DeadRetryRequested,
    JobCancelRequested,
    JobRetryRequested,
    RunCancelRequested,
    RunRetryRequested,
)
from titan_core.scheduler.explain import explain
from titan_core.scheduler.model import Job, Run
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FINAL, JobState
from titan_core.store.assets import AssetStore
from titan_core.store.history import History

MAX_WAIT_S = 30.0
"""A long poll is answered by then; the client asks again."""
LOG_CHUNK = 512 * 1024
"""Bytes of a log in one answer."""
NAMED_CANCELLED = 1000
"""Jobs that the answer to a cancellation names."""
RECALLED_AT_ONCE = 100
"""Runs that are taken back into memory for a retry of all that is DEAD, before they are retried."""
NAMED_AGAIN = 100_000
"""Jobs that the answer to a retry names."""

CHANGES = (
    messages.SubmitRun,
    messages.CancelJob,
    messages.StopService,
    messages.StartService,
    messages.RestartService,
    messages.ScaleService,
    messages.UpdateService,
    messages.StartWorker,
    messages.RetryJob,
    messages.ShutdownWorker,
    messages.DrainWorker,
    messages.PutSchedule,
    messages.PauseSchedule,
    messages.TriggerSchedule,
    messages.RemoveSchedule,
    messages.BackfillSchedule,
)
"""Requests whose answer is a promise, and that are refused while nothing can be written."""


class Handlers:
    """Requests in, replies out."""

    def __init__(
        self,
        engine: Engine,
        assets: AssetStore,
        logs: LogStore,
        history: History,
        database: Path | None,
        check_room: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._check_room = check_room
        self._assets = assets
        self._logs = logs
        self._history = history
        self._finder = Finder(engine, history)
        self._views = Views(engine.clock)
        self._listings = Listings(engine, history, self._views)
        self._submissions = Submissions(engine, assets, self._finder, history, check_room)
        self._operations = Operations(engine, self._finder, history, database)
        services = ServiceRequests(engine, self._finder, self._submissions, self._views)
        schedules = ScheduleRequests(engine, history, self._submissions, check_room)
        self._reactions: dict[type[Message], Callable[[Any], Message]] = {
            messages.SubmitRun: self._submissions.submit,
            messages.GetStats: self._stats,
            messages.GetClusterStatus: self._cluster,
            messages.ListWorkers: self._workers,
            messages.ListRuns: self._listings.runs,
            messages.ListJobs: self._listings.jobs,
            messages.ListAssets: lambda request: messages.AssetList(tuple(assets.list())),
            messages.GetRun: self._get_run,
            messages.GetJob: self._get_job,
            messages.GetLogs: self._get_logs,
            messages.Explain: self._explain,
            messages.CancelJob: self._cancel,
            messages.ListServices: services.listing,
            messages.StopService: services.stop,
            messages.StartService: services.start,
            messages.RestartService: services.restart,
            messages.ScaleService: services.scale,
            messages.UpdateService: services.update,
            messages.RetryJob: self._retry,
            messages.ShutdownWorker: self._operations.shut_down,
            messages.StartWorker: self._operations.start_worker,
            messages.DrainWorker: self._operations.drain,
            messages.ListEvents: self._operations.events,
            messages.Check: self._operations.check,
            messages.PutSchedule: schedules.put,
            messages.ListSchedules: schedules.listing,
            messages.GetSchedule: schedules.get,
            messages.PauseSchedule: schedules.pause,
            messages.TriggerSchedule: schedules.trigger,
            messages.RemoveSchedule: schedules.remove,
            messages.BackfillSchedule: schedules.backfill,
            messages.ListFires: schedules.fires,
        }

    def answer(self, request: Message) -> Message:
        """The reply to a client's request. Raises TitanError with the sentence that refuses it."""
        reaction = self._reactions.get(type(request))
        if reaction is None:
            raise InvalidRequest(f"{type(request).__name__} is not a request a client can make")
        changes = type(request) in CHANGES
        if changes:
            self._engine.check_writable()
        try:
            with self._engine.reading():
                reply = reaction(request)
        except TitanError:
            self._engine.settle()
            raise
        self._engine.settle(changes)
        if changes:
            reach("master.before_reply")
        return reply

    # ── the cluster ───────────────────────────────────────────────────────────────────────────────

    def _cluster(self, request: Message) -> messages.ClusterStatus:
        sessions = self._engine.sessions()
        status = self._engine.read(lambda state: self._views.cluster(state, sessions))
        return replace(status, trouble=self._trouble())

    def _trouble(self) -> str:
        """What a submission would be refused with now, whatever it is; empty: nothing."""
        try:
            self._engine.check_writable()
            self._check_room()
        except Unavailable as error:
            return error.message
        return ""

    def _stats(self, request: Message) -> messages.StatsText:
        return messages.StatsText(stats_text(self._cluster(request)))

    def _workers(self, request: Message) -> messages.WorkerList:
        sessions = self._engine.sessions()
        return messages.WorkerList(self._engine.read(lambda state: self._views.workers(state, sessions)))

    # ── runs and jobs ─────────────────────────────────────────────────────────────────────────────

    def _get_run(self, request: messages.GetRun) -> messages.RunStatus:
        run = self._finder.run(request.key)
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
        return replace(status, jobs=self._listings.statuses(jobs))

    def _get_job(self, request: messages.GetJob) -> messages.JobStatus:
        job = self._finder.job(request.key)
        topic = ("job", job.run.run_id, job.job_id)
        for _ in self._engine.topics.changes(topic, min(request.wait_s, MAX_WAIT_S)):
            if job.final:
                break
        return self._engine.read(lambda state: self._views.job(state, job))

    def _explain(self, request: messages.Explain) -> messages.Explanation:
        job = self._finder.job(request.key)
        now = self._engine.clock.monotonic()
        return self._engine.read(
            lambda state: messages.Explanation(
                job.run.run_id, job.job_id, job.state.value, tuple(explain(state, job, now))
            )
        )

    # ── changing what runs ────────────────────────────────────────────────────────────────────────

    def _cancel(self, request: messages.CancelJob) -> messages.Cancelled:
        reason = shortened(request.reason) or "cancelled on request"
        run, job = self._finder.run_or_job_in_memory(request.key)
        event = JobCancelRequested(run.run_id, job.job_id, reason) if job else RunCancelRequested(run.run_id, reason)
        changes = [action for action in self._engine.submit(event) if isinstance(action, RecordChange)]
        cancelled = [change.job.key for change in changes if change.after is JobState.CANCELLED]
        stopping = [change.job.key for change in changes if change.after is change.before]
        keys = tuple(stopping + cancelled)[:NAMED_CANCELLED]
        return messages.Cancelled(keys, _cancel_sentence(len(cancelled), len(stopping)))

    def _retry(self, request: messages.RetryJob) -> messages.Ack:
        if request.every_dead:
            return self._retry_every_dead()
        run, job = self._finder.run_or_job_in_memory(request.key)
        if job:
            return _again(self._engine.submit(JobRetryRequested(run.run_id, job.job_id)))
        return _again(self._engine.submit(RunRetryRequested(run.run_id)))

    def _retry_every_dead(self) -> messages.Ack:
        """What is history comes back a few runs at a time: memory has room for so many, and those that end meanwhile
        push older ones out."""
        past, _ = self._history.jobs(JobState.DEAD.value, MAX_LISTED)
        run_ids = list(dict(past))
        actions = self._engine.submit(DeadRetryRequested())
        for start in range(0, len(run_ids), RECALLED_AT_ONCE):
            self._finder.recall(run_ids[start : start + RECALLED_AT_ONCE])
            actions += self._engine.submit(DeadRetryRequested())
        return _again(actions)

    # ── logs ──────────────────────────────────────────────────────────────────────────────────────

    def _get_logs(self, request: messages.GetLogs) -> messages.LogChunk:
        job = self._finder.job(request.key)
        if request.attempt < 0:
            raise InvalidRequest(f"attempt {request.attempt} does not exist; the first is 1", field="attempt")
        topic = ("log", job.run.run_id, job.job_id)
        for _ in self._engine.topics.changes(topic, min(request.wait_s, MAX_WAIT_S)):
            chunk = self._log_chunk(job, request)
            if chunk.data or chunk.end:
                break
        return chunk

    def _log_chunk(self, job: Job, request: messages.GetLogs) -> messages.LogChunk:
        number, over, final = self._engine.read(lambda state: _attempt_facts(job, request))
        if number == 0:
            return messages.LogChunk(job.run.run_id, job.job_id, 0, 0, b"", final, final)
        name = LogName(job.run.run_id, job.job_id, number)
        start, data = self._logs.read(name, request.offset, LOG_CHUNK)
        over = over and not self._logs.is_awaited(name)  # asked before the size: it may be sent in between
        end = over and start + len(data) >= self._logs.size(name)
        return messages.LogChunk(*name, start, data, end, final)


def _attempt_facts(job: Job, request: messages.GetLogs) -> tuple[int, bool, bool]:
    """The number of the attempt (0: it has not begun), whether it is over, and whether no further one will come."""
    begun = len(job.attempts)
    if request.attempt > begun + (request.wait_s > 0):  # the next attempt may be waited for
        raise NotFound(f"job {job.key} has no attempt {request.attempt}; it has {begun}")
    number = request.attempt or begun
    if number == 0 or number > begun:
        return 0, False, job.final
    return number, job.attempts[number - 1].outcome is not None, job.final and number == begun


def _again(actions: Iterable[Action]) -> messages.Ack:
    """The answer to a retry that was decided so: names what was DEAD or CANCELLED, and runs again."""
    changes = [action for action in actions if isinstance(action, RecordChange)]
    keys = [change.job.key for change in changes if change.before in FINAL and change.after not in FINAL]
    if not keys:
        return messages.Ack("no job is DEAD that could run again")
    if len(keys) == 1:
        return messages.Ack(f"job {keys[0]} runs again", tuple(keys))
    return messages.Ack(f"{keys[0]} and {len(keys) - 1} more run again", tuple(keys[:NAMED_AGAIN]))


def _cancel_sentence(cancelled: int, stopping: int) -> str:
    waiting = f"{cancelled} waiting job{'s' * (cancelled != 1)} cancelled"
    running = f"{stopping} running job{'s' * (stopping != 1)} being stopped"
    return ", ".join([running] * (stopping > 0) + [waiting] * (cancelled > 0))
