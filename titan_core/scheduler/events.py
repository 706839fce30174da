"""What happened: everything the core is ever told, in the past tense. Ids, secrets and facts come in with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from titan_core.frozen import dataclass
from titan_core.scheduler.model import JobSpec, WorkerInfo
from titan_core.scheduler.records import StoredRun, WorkerRecord
from titan_core.scheduler.schedule_model import Definition
from titan_core.scheduler.schedule_records import FireRecord, StoredSchedule
from titan_core.scheduler.states import FireKind, Outcome


@dataclass(frozen=True, slots=True)
class StateRecovered:
    """The master has started: this is what an earlier one left on disk. The first event of a core, or none."""

    term: int
    """Which start of the master this is; grows."""
    grace_s: float
    """How long its workers may take to come back."""
    runs: tuple[StoredRun, ...]
    """In order of submission."""
    workers: tuple[WorkerRecord, ...]
    last_sequence: int
    """The greatest number ever given to a run or a job."""
    offset_s: float = 0.0
    """Wall time minus monotonic time."""
    schedules: tuple[StoredSchedule, ...] = ()
    alerts: tuple[FireRecord, ...] = ()
    """Fires of which somebody is still to be told."""


@dataclass(frozen=True, slots=True)
class RunRecalled:
    """A run that had left memory is asked for again."""

    stored: StoredRun


@dataclass(frozen=True, slots=True)
class RunsExpired:
    """These finished runs are older, or more, than are to be kept."""

    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunSubmitted:
    """A new run. Refused as a whole (InvalidGraph) when its graph is not sound."""

    run_id: str
    name: str
    secret: bytes
    """16 random bytes."""
    jobs: tuple[JobSpec, ...]
    request_id: bytes = b""
    spawner: bytes = b""
    """Token of the attempt whose process submits."""


@dataclass(frozen=True, slots=True)
class JobsAdded:
    """More jobs for a run that is not over."""

    run_id: str
    jobs: tuple[JobSpec, ...]
    request_id: bytes = b""
    spawner: bytes = b""


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """How an attempt ended, as its worker tells it."""

    token: bytes
    outcome: Outcome
    exit_code: int = -1
    reason: str = ""
    peak_memory: int = 0


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """A worker opened a session: for the first time, again, or as a new process on the same port."""

    info: WorkerInfo
    session: int
    running: tuple[bytes, ...] = ()
    finished: tuple[AttemptReport, ...] = ()
    trouble: str = ""
    """Why it can not run jobs at present; empty: it can."""


@dataclass(frozen=True, slots=True)
class WorkerDisconnected:
    """A session ended, or was silent for too long."""

    worker_id: str
    session: int
    last_heard_at: float


@dataclass(frozen=True, slots=True)
class WorkerSaidGoodbye:
    """It is stopping, and takes no more work."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class ServiceReady:
    """An attempt of a service answers. A worker that can not know whether it was heard says so again."""

    worker_id: str
    token: bytes
    port: int = 0
    """On which it listens; 0 = none."""


@dataclass(frozen=True, slots=True)
class AttemptsFinished:
    """What a worker says has ended, in this order."""

    worker_id: str
    reports: tuple[AttemptReport, ...]


@dataclass(frozen=True, slots=True)
class JobCancelRequested:
    run_id: str
    job_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunCancelRequested:
    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceStopRequested:
    """A service is wanted no more; its instances end COMPLETED if they ran, CANCELLED if they never did."""

    run_id: str
    job_id: str
    """Any instance of it; empty: every service of the run. The same for the two that follow."""
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceStartRequested:
    """A service is wanted again, or what rests in a crash loop or a pause is to be tried now."""

    run_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class ServiceRestartRequested:
    """All instances of a service are to be started again, one after the other."""

    run_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class ServiceScaleRequested:
    run_id: str
    job_id: str
    instances: int


@dataclass(frozen=True, slots=True)
class ServiceUpdateRequested:
    """A service gets a new definition, which its instances take over one after the other."""

    run_id: str
    job_id: str
    spec: JobSpec
    """Its id, parents, delay, and the number and scope of the instances do not count."""


@dataclass(frozen=True, slots=True)
class ScalingDue:
    """It is time to hold what waits against what is free."""


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """A worker could not start the one it was told to start on this port."""

    worker_id: str
    port: int
    reason: str


@dataclass(frozen=True, slots=True)
class ProvisionFailed:
    """The provisioner could not make so many workers with this capability."""

    capability: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class WorkerStartRequested:
    """A person wants one more worker, on this port."""

    port: int
    capability: str = ""
    """Empty: what the worker can do that starts it."""
    beside: str = ""
    """The worker that is to start it; empty: any."""


@dataclass(frozen=True, slots=True)
class WorkerShutdownRequested:
    """A person wants a worker gone once its jobs have ended. A permanent one needs `force`, or it is a Conflict."""

    worker_id: str
    force: bool = False
    now: bool = False
    """Its jobs are not waited for."""


@dataclass(frozen=True, slots=True)
class WorkerHoldRequested:
    """A person wants a worker to get no more work, until it is undone; what it runs goes on."""

    worker_id: str
    undo: bool = False


@dataclass(frozen=True, slots=True)
class WorkerTroubleChanged:
    """A worker can not run jobs at present, and says why; or can again (empty)."""

    worker_id: str
    session: int
    trouble: str


@dataclass(frozen=True, slots=True)
class JobRetryRequested:
    """A person wants a DEAD or CANCELLED job to run again; so do those descendants it took with it."""

    run_id: str
    job_id: str


@dataclass(frozen=True, slots=True)
class RunRetryRequested:
    """The same for every DEAD or CANCELLED job of a run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class DeadRetryRequested:
    """The same for every DEAD job in memory that no parent keeps from running."""


@dataclass(frozen=True, slots=True)
class ScheduleDefined:
    """A schedule was asked for: a new one, or a new definition of one that is there."""

    definition: Definition
    secret: bytes
    """16 random bytes, for a new one."""
    pause: bool = False
    resume: bool = False
    """With neither, it stays as it is."""
    only_new: bool = False
    """Refused (Conflict) if there is one of this name."""
    ahead: tuple[int, ...] = ()
    """Of an earlier one of this name: slots later than now that were decided on, but for those that were MISSED …"""
    last_trigger: int = 0
    """… and the slot of the newest fire that a person asked for."""


@dataclass(frozen=True, slots=True)
class SchedulePaused:
    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ScheduleResumed:
    name: str


@dataclass(frozen=True, slots=True)
class ScheduleTriggered:
    """A person fires it now. Refused (Conflict) when nothing would come of it."""

    name: str


@dataclass(frozen=True, slots=True)
class ScheduleRemoved:
    name: str


@dataclass(frozen=True, slots=True)
class BackfillRequested:
    """These past slots, ascending, have not run, and are to be made up for."""

    name: str
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BackfillCancelled:
    name: str


@dataclass(frozen=True, slots=True)
class AlertSettled:
    """Somebody was told of a fire; or could not be, and why."""

    schedule: str
    kind: FireKind
    slot: int
    about: str
    """`missed` or `failure`."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WallClockSet:
    """The wall clock was set, or is looked at for the first time."""

    offset_s: float
    """Wall time minus monotonic time."""
    ahead: Mapping[str, tuple[int, ...]] | None = field(default_factory=dict)
    """By schedule: slots later than now that have been decided on, but for those that were MISSED. None: that is not
    known, and no slot comes before the last one that was decided on."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Some timer is due."""

    trouble: str = ""
    """Why no run can be made at present; empty: one can."""


Event = (
    StateRecovered
    | RunRecalled
    | RunsExpired
    | RunSubmitted
    | JobsAdded
    | WorkerRegistered
    | WorkerDisconnected
    | WorkerSaidGoodbye
    | ServiceReady
    | AttemptsFinished
    | JobCancelRequested
    | RunCancelRequested
    | ServiceStopRequested
    | ServiceStartRequested
    | ServiceRestartRequested
    | ServiceScaleRequested
    | ServiceUpdateRequested
    | ScalingDue
    | SpawnFailed
    | ProvisionFailed
    | WorkerStartRequested
    | WorkerShutdownRequested
    | WorkerHoldRequested
    | WorkerTroubleChanged
    | JobRetryRequested
    | RunRetryRequested
    | DeadRetryRequested
    | ScheduleDefined
    | SchedulePaused
    | ScheduleResumed
    | ScheduleTriggered
    | ScheduleRemoved
    | BackfillRequested
    | BackfillCancelled
    | AlertSettled
    | WallClockSet
    | TimePassed
)
