"""What is to be done: everything the core ever asks for, in the imperative, in the order it is to happen.

Actions hold references into the model; they are read under the engine's lock, or for what never changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from titan_core.scheduler.model import Attempt, Job, JobState, Run, Worker


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Send the attempt to its worker."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Tell the worker to end this attempt and everything it started."""

    worker_id: str
    token: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class AcknowledgeResult:
    """Tell the worker that it may forget this result, whether it counted or not."""

    worker_id: str
    token: bytes


@dataclass(frozen=True, slots=True)
class AcceptWorker:
    """Answer a registration: first on its session, before any other frame."""

    worker_id: str
    session: int
    adopted: tuple[Attempt, ...]
    """Attempts the worker runs that go on; it is to kill all others."""


@dataclass(frozen=True, slots=True)
class ShutDownWorker:
    """Tell the worker to stop."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class RecordJobsAdded:
    """New jobs, all BLOCKED; what becomes of them follows as changes."""

    run: Run
    jobs: tuple[Job, ...]
    request_id: bytes = b""
    """Of the submission they came with; empty: it had none."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    """A job changed its state, or (`before` is `after`) something else about it: for watchers and the history."""

    job: Job
    before: JobState
    after: JobState
    reason: str
    version: int
    """Of the run, with this change."""
    attempt: int
    """The number of the latest attempt then; 0 = none had begun."""


@dataclass(frozen=True, slots=True)
class RecordRunFinished:
    run: Run


@dataclass(frozen=True, slots=True)
class RecordWorker:
    """A worker registered, is drained, or is `gone`."""

    worker: Worker
    gone: bool = False


@dataclass(frozen=True, slots=True)
class ForgetRun:
    """The run is history, and left the core's memory; what is on disk stays."""

    run_id: str


@dataclass(frozen=True, slots=True)
class DeleteRun:
    """Nobody will ask for the run any more: delete what is kept of it, its logs and its files."""

    run_id: str


Action = (
    StartAttempt
    | StopAttempt
    | AcknowledgeResult
    | AcceptWorker
    | ShutDownWorker
    | RecordJobsAdded
    | RecordChange
    | RecordRunFinished
    | RecordWorker
    | ForgetRun
    | DeleteRun
)
