"""What is to be done: everything the core ever asks for, in the imperative, in the order it is to happen.

Actions hold references into the model; they are read under the engine's lock, or for what never changes.
"""

from __future__ import annotations

from titan_core.frozen import dataclass
from titan_core.scheduler.model import Attempt, Job, Run, Service, Worker
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.states import JobState


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Send the attempt to its worker."""

    attempt: Attempt
    services: tuple[tuple[str, str], ...] = ()
    """The services of its run that are ready now, with their addresses."""


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
class SpawnWorker:
    """Tell the worker to start another one beside it."""

    worker_id: str
    port: int
    capabilities: tuple[str, ...]
    ephemeral: bool


@dataclass(frozen=True, slots=True)
class Provision:
    """Have the provisioner of this cluster make so many more workers with this capability."""

    capability: str
    count: int


@dataclass(frozen=True, slots=True)
class Release:
    """Tell the provisioner that a worker which it may have made is being stopped."""

    worker_id: str
    capability: str


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
class RecordService:
    """What is wanted of a service changed; with `defined`, its definition of this revision is new."""

    service: Service
    defined: int = 0


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


@dataclass(frozen=True, slots=True)
class RecordSchedule:
    """A schedule is new, has changed, or is `removed`."""

    schedule: Schedule
    removed: bool = False


@dataclass(frozen=True, slots=True)
class RecordFire:
    """A line of a ledger is new, or says something else now."""

    fire: Fire


@dataclass(frozen=True, slots=True)
class RetractMissed:
    """The clock was set back: no slot later than this was MISSED."""

    after_wall: float


@dataclass(frozen=True, slots=True)
class SendAlert:
    """Tell a webhook of this fire."""

    fire: Fire
    about: str
    """`missed` or `failure`."""
    webhook: str


Action = (
    StartAttempt
    | StopAttempt
    | AcknowledgeResult
    | AcceptWorker
    | ShutDownWorker
    | SpawnWorker
    | Provision
    | Release
    | RecordJobsAdded
    | RecordChange
    | RecordService
    | RecordRunFinished
    | RecordWorker
    | RecordSchedule
    | RecordFire
    | RetractMissed
    | SendAlert
    | ForgetRun
    | DeleteRun
)
