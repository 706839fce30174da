"""TitanClient: every request a program can make of a master.

Each method is one request, or one conversation, over the pool of connections; those for services and for schedules,
and the parts with more to them, live in modules of their own. Safe to share between threads. Errors are those of
`titan_sdk.errors`; a `key` names a run or a job: as a person may type it (see `protocol.messages`), or by its handle.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, overload

from titan_core.errors import InvalidRequest
from titan_core.net.content import Progress, ignore_progress
from titan_core.protocol.checks import MAX_NAME
from titan_core.protocol.messages import (
    Ack,
    AssetInfo,
    AssetList,
    AttachCollector,
    CancelJob,
    Cancelled,
    Check,
    CheckReport,
    ClusterStatus,
    DrainWorker,
    Explain,
    Explanation,
    GetClusterStatus,
    GetJob,
    GetRun,
    GetStats,
    JobEvent,
    JobList,
    JobStatus,
    ListAssets,
    ListJobs,
    ListRuns,
    ListWorkers,
    LogChunk,
    RetryJob,
    RunList,
    RunStatus,
    SchedulePut,
    ShutdownWorker,
    StartWorker,
    StatsText,
    WorkerList,
    WorkerStatus,
)
from titan_sdk import events, logs, polling
from titan_sdk.access import Access, OwnAttempt
from titan_sdk.figures import figures
from titan_sdk.handles import JobHandle, Key, RunHandle, key_of
from titan_sdk.jobs import TitanJob
from titan_sdk.local_files import describe_file
from titan_sdk.pipeline import Pipeline, load, located, prepared
from titan_sdk.project import pack_project
from titan_sdk.requests import Pathname
from titan_sdk.schedule_requests import ScheduleRequests
from titan_sdk.service_requests import ServiceRequests
from titan_sdk.submission import Submitter
from titan_sdk.transfers import appearing, download, receive_backup, upload
from titan_sdk.transport import OnAway, Transport, say_nothing

if TYPE_CHECKING:
    from titan_core.protocol.text import Submission

CHECK_S = 600.0
"""What reading everything that is kept may take."""


class TitanClient(ServiceRequests, ScheduleRequests):
    """A client of the master at `host:port`; without them, of the one that TITAN_MASTER or the home names.

    `timeout` is how long, in seconds, the master may take for an answer. The token is looked for in
    `token`, `token_file`, TITAN_TOKEN, TITAN_TOKEN_FILE, and the home (`home`, TITAN_HOME, or the
    current directory). Nothing is dialled before the first request. `on_away` is called, with a
    sentence, when a master that is waited for does not answer and is tried again. Inside a job, what is
    submitted belongs to that job: it prefers its worker, and `add_jobs` adds to its run.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        *,
        token: str | None = None,
        token_file: Pathname | None = None,
        home: Pathname | None = None,
        timeout: float = 10.0,
        on_away: OnAway = say_nothing,
    ) -> None:
        access = Access(
            host, port, token, os.fspath(token_file) if token_file else None, Path(home).absolute() if home else None
        )
        self._own = OwnAttempt.of()
        transport = Transport(access, timeout, on_away)
        super().__init__(transport, Submitter(transport, self._own))

    def close(self) -> None:
        """End the connections; threads that wait get ClientClosed. Idempotent."""
        self._transport.close()

    def __enter__(self) -> TitanClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── submitting ────────────────────────────────────────────────────────────────────────────────

    def submit_job(self, job: TitanJob | None = None, **fields: Any) -> JobHandle:
        """Run one job, described by a TitanJob or by its fields. Accepted, and safe, when this returns.

        Raises InvalidRequest, NotFound (a file); then nothing was queued.
        """
        if (job is None) == (not fields):
            raise InvalidRequest("submit_job takes a TitanJob, or the fields of one: filename=…, args=…")
        job = TitanJob(**fields) if job is None else job
        return JobHandle(self, self._submitter.submit(job.job_id[:MAX_NAME], [job]).run_id, job.job_id)

    def submit_dag(self, name: str, jobs: Iterable[TitanJob], run_id: Key | None = None) -> RunHandle:
        """Start a run of these jobs (or add them to the run `run_id`), all or none of them.

        Raises InvalidRequest, InvalidGraph (with the cycle, or the parent that is not there), NotFound.
        """
        target = key_of(run_id) if run_id else ""
        return RunHandle(self, self._submitter.submit(name, jobs, target).run_id)

    def add_jobs(self, jobs: Iterable[TitanJob], run_id: Key | None = None) -> RunHandle:
        """Add jobs to a run that is not over; inside a job, by default to its own. Raises also Conflict."""
        target = key_of(run_id) if run_id else self._own.run_id
        if not target:
            raise InvalidRequest("add_jobs needs run_id=…: only inside a job it is known which run is meant")
        return self.submit_dag(target, jobs, target)

    def apply(self, pipeline: Pipeline | Pathname, update: bool = True) -> RunHandle | SchedulePut:
        """Submit a pipeline: a YAML file, a directory that holds one, `-` for stdin, or a loaded one.

        One with `schedule:` starts no run, but makes its schedule, or with `update` changes it; then a SchedulePut is
        given back. Raises PipelineError with file and line for whatever is wrong with it.
        """
        pipeline = pipeline if isinstance(pipeline, Pipeline) else load(pipeline)
        if pipeline.schedule is not None:
            return self.schedule(pipeline.name, pipeline, update=update)
        with located(pipeline), prepared(pipeline) as ready:
            return RunHandle(self, self._submitter.submit(ready.name, ready.jobs, folder=ready.folder).run_id)

    def submit_parsed(self, name: str, parsed: Submission) -> RunHandle:
        """Start a run of jobs that were read from the text form. Raises as `submit_dag` does."""
        return RunHandle(self, self._submitter.submit_specs(name, parsed.jobs, parsed.contents).run_id)

    # ── asking ────────────────────────────────────────────────────────────────────────────────────

    def run(self, key: Key, since: int = 0, jobs: bool = True) -> RunStatus:
        """A run, with those of its jobs that changed after its version `since`, or none. Raises NotFound."""
        return self._ask(GetRun(key_of(key), since=since, jobs=jobs), RunStatus)

    def job(self, key: Key) -> JobStatus:
        """A job with its attempts. Raises NotFound."""
        return self._ask(GetJob(key_of(key)), JobStatus)

    def get_job_status(self, key: Key) -> str:
        """The state of a job, such as `RUNNING`. Raises NotFound."""
        return self.job(key).state

    def runs(
        self, limit: int = 50, state: str = "", name: str = "", from_wall: float = 0.0, until_wall: float = 0.0
    ) -> tuple[RunStatus, ...]:
        """The newest runs, without jobs; only those in `state`, or whose name begins with `name`, or that went on
        between two instants, in seconds since the Unix epoch (0.0 = no bound)."""
        return self._ask(ListRuns(limit, state, name, from_wall, until_wall), RunList).runs

    def jobs(self, state: str = "", services: bool = False, limit: int = 200) -> JobList:
        """Jobs of all runs: in `state`, or every one that is not final; only services if asked."""
        return self._ask(ListJobs(limit, state, services), JobList)

    def dead_jobs(self, limit: int = 200) -> JobList:
        """The dead letters of the newest runs, with their attempts, those that died last first."""
        found = self._ask(ListJobs(limit, "DEAD"), JobList)
        return replace(found, jobs=tuple(sorted(found.jobs, key=lambda job: -job.finished_wall)))

    def events(self, key: Key, after: int = 0, follow: bool = False) -> Iterator[JobEvent]:
        """What happened to a run or a job, with reasons, oldest first; with `follow`, on until it is over.

        Only events whose `number` is greater than `after`. Raises NotFound.
        """
        return events.events(self._transport, key_of(key), after, follow)

    def workers(self) -> tuple[WorkerStatus, ...]:
        return self._ask(ListWorkers(), WorkerList).workers

    def cluster(self) -> ClusterStatus:
        """The workers, and how many jobs are in which state."""
        return self._ask(GetClusterStatus(), ClusterStatus)

    def stats(self) -> dict[str, Any]:
        """The cluster in figures: `active_workers`, `queue_size`, `jobs` by state, `trouble`, and the `workers`."""
        return figures(self.cluster())

    def stats_text(self) -> str:
        """The monitor text."""
        return self._ask(GetStats(), StatsText).text

    def explain(self, key: Key) -> Explanation:
        """Why a job is where it is. Raises NotFound."""
        return self._ask(Explain(key_of(key)), Explanation)

    # ── waiting ───────────────────────────────────────────────────────────────────────────────────

    def wait(self, key: Key, timeout: float | None = None) -> RunStatus | JobStatus:
        """The final status of the run, or job, `key`. Raises WaitTimedOut after `timeout` seconds, NotFound."""
        return polling.wait_for(self._transport, key_of(key), timeout)

    def wait_for_run(self, key: Key, timeout: float | None = None, jobs: bool = True) -> RunStatus:
        """The final status of the run, with its jobs, or none: of 10,000 they take a tenth of a second. Raises
        WaitTimedOut, NotFound."""
        return polling.wait_for_run(self._transport, key_of(key), timeout, jobs)

    def wait_for_job(self, key: Key, timeout: float | None = None) -> JobStatus:
        """The final status of the job, with its attempts. Raises WaitTimedOut, NotFound."""
        return polling.wait_for_job(self._transport, key_of(key), timeout)

    def watch(self, key: Key, timeout: float | None = None) -> Iterator[RunStatus]:
        """The run as it changes: first with all jobs, then with those that changed; ends with the final one."""
        return polling.watch_run(self._transport, key_of(key), timeout)

    def watch_worker(self, worker_id: str, timeout: float | None = None) -> Iterator[WorkerStatus]:
        """The worker `host:port` as it changes; ends when none of its slots is used, or it is gone."""
        return polling.watch_worker(self._transport, worker_id, timeout)

    # ── logs ──────────────────────────────────────────────────────────────────────────────────────

    def fetch_logs(self, key: Key, attempt: int = 0) -> str:
        """What an attempt (0 = the latest) has printed until now. Raises NotFound."""
        return logs.text_of(self.log_chunks(key, attempt))

    def stream_logs(self, key: Key, attempt: int = 0, follow: bool = True) -> Iterator[str]:
        """The lines of the log, as they are printed, until the job is over. Raises NotFound."""
        return logs.lines_of(self.log_chunks(key, attempt, follow))

    def log_chunks(self, key: Key, attempt: int = 0, follow: bool = False, tail_bytes: int = 0) -> Iterator[LogChunk]:
        """The log as bytes, from its beginning or its last `tail_bytes`, chunk by chunk. Raises NotFound."""
        return logs.log_chunks(self._transport, key_of(key), attempt, follow, tail_bytes)

    def attach_collector(self, port: int, key: bytes, host: str = "", lease: float = 30.0) -> Ack:
        """Have all workers send what jobs print to this UDP port as well, for `lease` seconds; ask again before.

        What comes is read with `titan_sdk.datagrams`; `key`, 32 random bytes, says what is really theirs. Without
        `host`, an IP address, it is where this client connects from.
        """
        return self._ask(AttachCollector(port, key, host, lease), Ack)

    # ── changing ──────────────────────────────────────────────────────────────────────────────────

    def cancel(self, key: Key, reason: str = "") -> Cancelled:
        """Cancel a job with what depends on it, or a run. Raises NotFound, Conflict (it is over)."""
        return self._ask(CancelJob(key_of(key), reason), Cancelled)

    def retry(self, key: Key) -> Ack:
        """Run a DEAD or CANCELLED job again, or all of a run; which, and a sentence. Raises NotFound, Conflict."""
        return self._transport.ask(RetryJob(key_of(key)), Ack, repeatable=False)

    def retry_dead(self) -> Ack:
        """Run every DEAD job there is again; which, and a sentence."""
        return self._transport.ask(RetryJob(every_dead=True), Ack, repeatable=False)

    def drain_worker(self, worker: str, undo: bool = False) -> Ack:
        """Give a worker, `host:port` or its port, no more jobs; or jobs again. What runs there goes on.

        Gives its full name, and a sentence. Raises NotFound.
        """
        return self._ask(DrainWorker(worker, undo), Ack)

    def start_worker(self, port: int, capability: str = "", beside: str = "") -> Ack:
        """Have a worker start another one on its host, at `port`; which starts it, and a sentence.

        Without `capability` the new one can do what its starter can; `beside`, `host:port` or its port, is the
        starter, else the master chooses. Raises NotFound, Conflict, Unavailable.
        """
        return self._transport.ask(StartWorker(port, capability, beside), Ack, repeatable=False)

    def shutdown_worker(self, worker: str, force: bool = False, now: bool = False) -> Ack:
        """Stop a worker, `host:port` or its port, once its jobs are over; with `now`, at once: they are made again
        elsewhere. A permanent one only with `force`. Raises NotFound, Conflict."""
        return self._ask(ShutdownWorker(worker, force, now), Ack)

    # ── assets ────────────────────────────────────────────────────────────────────────────────────

    def upload_file(self, path: Pathname, name: str | None = None, progress: Progress = ignore_progress) -> AssetInfo:
        """Put a file into the master's perm_files/, as `name` or under its own. Raises NotFound, InvalidRequest."""
        file = describe_file(Path(path))
        return upload(self._transport, name or file.path.name, file, progress)

    def upload_project_folder(self, path: Pathname, name: str, progress: Progress = ignore_progress) -> AssetInfo:
        """Pack a folder and put it into perm_files/ as `name`, to which `.zip` is added if it lacks it.

        A job then runs `<name>.zip/path/entry.py` with `is_archive=True`. See `titan_sdk.project` for
        what is left out. Raises NotFound, InvalidRequest.
        """
        with tempfile.TemporaryDirectory(prefix="titan-") as directory:
            archive = Path(directory) / "project.zip"
            pack_project(Path(path), archive)
            return upload(self._transport, name.removesuffix(".zip") + ".zip", describe_file(archive), progress)

    @overload
    def fetch_artifact(self, name: str, target: None = None, progress: Progress = ...) -> bytes: ...

    @overload
    def fetch_artifact(self, name: str, target: Pathname, progress: Progress = ...) -> Path: ...

    def fetch_artifact(
        self, name: str, target: Pathname | None = None, progress: Progress = ignore_progress
    ) -> bytes | Path:
        """A file of perm_files/: its bytes; or with `target`, a file or a directory, the path it was written to.

        Raises NotFound, ChecksumMismatch, InvalidRequest (`target` can not be written).
        """
        if target is None:
            return download(self._transport, name, None, progress)[1]
        path = Path(target) / Path(name).name if Path(target).is_dir() else Path(target)
        download(self._transport, name, path, progress)
        return path

    def assets(self) -> tuple[AssetInfo, ...]:
        """The files of perm_files/."""
        return self._ask(ListAssets(), AssetList).assets

    # ── the home ──────────────────────────────────────────────────────────────────────────────────

    def backup(self, target: Pathname | BinaryIO, progress: Progress = ignore_progress) -> int:
        """A copy of what the master needs to go on elsewhere, as a tar archive; its size in bytes.

        `target` is a file that is being written, or a path, where the archive appears once it is whole,
        readable by its owner only. Raises Unavailable, ConnectionLost, InvalidRequest (it can not be written).
        """
        if not isinstance(target, str | os.PathLike):
            return receive_backup(self._transport, target, progress)
        with appearing(Path(target)) as file:
            return receive_backup(self._transport, file, progress)

    def check(self) -> CheckReport:
        """Whether what the master keeps is sound, all of which is read; this may take minutes."""
        return self._transport.ask(Check(), CheckReport, wait_s=CHECK_S)
