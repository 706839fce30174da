"""What the scheduler knows: runs, jobs, attempts, workers; their states and the edges between them.

Instants (`*_at`) are monotonic seconds of the master's clock. `jobs.move` is the one door through
which a job changes state; it refuses every edge that is not drawn here:

                ┌────────── BLOCKED (parents) ──────────┐
    submit ─────┼────────── DELAYED (timer) ────────────┼─▶ QUEUED ─▶ RUNNING ─▶ COMPLETED
                └───────────────────────────────────────┘     ▲  ▲       │
                                          attempt lost ───────┘  └─ backoff over ── FAILED ─▶ DEAD
    any state that is not final ─▶ CANCELLED                                (RUNNING ─▶ FAILED)
    DEAD, CANCELLED ─▶ BLOCKED, QUEUED: only when a person retries the job
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

CHANGES_KEPT = 512
"""Entries of `Run.changes`; a watcher that is further behind reads all jobs."""
USUAL_SERVICES = 32
"""Services on one worker, beside its slots, where the worker says nothing else."""
RECENT_KEPT = 10
"""Ended attempts a worker's record shows."""


class JobState(Enum):
    BLOCKED = "BLOCKED"
    """Waits for parents."""
    DELAYED = "DELAYED"
    """Waits for its time."""
    QUEUED = "QUEUED"
    """Ready; waits for a slot."""
    RUNNING = "RUNNING"
    """An attempt is on a worker."""
    FAILED = "FAILED"
    """The last attempt failed; the backoff before the next one runs."""
    COMPLETED = "COMPLETED"
    DEAD = "DEAD"
    """Failed, and out of retries."""
    CANCELLED = "CANCELLED"

    __hash__ = object.__hash__
    """Members are single objects; hashed by name, as Enum does, each step of a job would cost a fifth more."""


FINAL = frozenset({JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED})
LOST_CAUSE = frozenset({JobState.DEAD, JobState.CANCELLED})
"""Final states of a parent that cancel its children."""
WAITING = frozenset({JobState.BLOCKED, JobState.DELAYED, JobState.QUEUED, JobState.FAILED})

_S = JobState
EDGES: dict[JobState, frozenset[JobState]] = {
    _S.BLOCKED: frozenset({_S.DELAYED, _S.QUEUED, _S.CANCELLED}),
    _S.DELAYED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.COMPLETED, _S.FAILED, _S.QUEUED, _S.CANCELLED}),
    _S.FAILED: frozenset({_S.QUEUED, _S.DEAD, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.DEAD: frozenset({_S.BLOCKED, _S.QUEUED}),
    _S.CANCELLED: frozenset({_S.BLOCKED, _S.QUEUED}),
}


class RunState(Enum):
    RUNNING = "RUNNING"
    """Some job is not final; a service that is up does not count."""
    COMPLETED = "COMPLETED"
    """Every job is COMPLETED, or a service that is up."""
    FAILED = "FAILED"
    """Over, with at least one DEAD job."""
    CANCELLED = "CANCELLED"
    """Over, none DEAD, at least one CANCELLED job."""


class Outcome(Enum):
    """How an attempt ended."""

    SUCCEEDED = "SUCCEEDED"
    """Exit code 0."""
    FAILED = "FAILED"
    """Another exit code, or ended by a signal that nobody here sent."""
    TIMED_OUT = "TIMED_OUT"
    STOPPED = "STOPPED"
    """Ended because the master asked for it."""
    NOT_STARTED = "NOT_STARTED"
    """No process could be made of it: no interpreter, no such entry, not executable."""
    INTERRUPTED = "INTERRUPTED"
    """Ended because its worker was stopping."""
    LOST = "LOST"
    """Its worker went away; said by the master, never by a worker."""


INFRASTRUCTURE = frozenset({Outcome.INTERRUPTED, Outcome.LOST, Outcome.STOPPED})
"""Outcomes that say nothing about the job: charged to the infrastructure budget, not to `retries`."""
INFRASTRUCTURE_BUDGET = 3
"""Attempts a job may lose with its workers before it is DEAD."""
POISON_CRASHES = 3
"""Crashes of workers at which a job may be present before it is taken for their cause."""


class WorkerState(Enum):
    ONLINE = "ONLINE"
    DISCONNECTED = "DISCONNECTED"
    """Its session is gone; its attempts may still be running until it is taken for dead."""
    DRAINING = "DRAINING"
    """Gets no more work."""


class Affinity(Enum):
    NONE = ""
    PREFER = "prefer"
    """The parent's worker if it has a free slot, else any."""
    STRICT = "strict"
    """The parent's worker, however long that takes."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What the client asked for; never changes. `task` is for the worker: the scheduler does not look inside."""

    job_id: str
    task: Any
    parents: tuple[str, ...] = ()
    """Job ids of the same run, or `<run id>/<job id>`."""
    requirement: str = "GENERAL"
    priority: int = 1
    delay_s: float = 0.0
    affinity: Affinity = Affinity.NONE
    retries: int = 0
    retry_backoff_s: float = 1.0
    max_attempts: int = 0
    service: bool = False


@dataclass(slots=True, eq=False, repr=False)
class Attempt:
    """One numbered try. `token` is the fence: a result counts only for the attempt it names."""

    job: Job
    number: int
    token: bytes
    worker_id: str
    started_at: float
    finished_at: float | None = None
    outcome: Outcome | None = None
    exit_code: int = -1
    reason: str = ""
    peak_memory: int = 0
    stopping: bool = False
    """The worker was told to stop it; its slot is taken until the worker says that it has ended."""
    up: bool = False
    """Of a service: its process was there."""

    def __repr__(self) -> str:
        return f"<Attempt {self.number} of {self.job.key} on {self.worker_id}: {self.outcome}>"


@dataclass(slots=True, eq=False, repr=False)
class Job:
    run: Run
    spec: JobSpec
    state: JobState
    reason: str
    submitted_at: float
    sequence: int
    """Age: grows with each job submitted; the tie-break within a priority."""
    changed_version: int = 0
    """`run.version` at the last change of this job."""
    spawner_worker_id: str = ""
    parents: tuple[Job, ...] = ()
    children: list[Job] = field(default_factory=list)
    open_parents: int = 0
    """Parents that do not count as satisfied yet."""
    attempts: list[Attempt] = field(default_factory=list)
    failures: int = 0
    """Attempts that failed by themselves since submission, or since a person retried the job."""
    losses: int = 0
    """Attempts lost with their worker, since the same instant."""
    crashes: int = 0
    """Those of them whose worker had crashed: a new process came in its place."""
    attempts_before: int = 0
    """Attempts the job had at that instant: `max_attempts` counts from there."""
    ending: tuple[JobState, str] | None = None
    """What the job becomes, and why, as soon as its worker has stopped it."""
    timer: int = 0
    """Ticket of the pending timer; 0 = none."""
    queue_ticket: int = 0
    """Which entry of the ready queue is the valid one; 0 = not queued."""
    due_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    satisfied: bool = False
    """Children need not wait for it: it is COMPLETED, or a service whose process was there. Stays true."""
    up: bool = False
    """A service whose process is there now."""

    def __repr__(self) -> str:
        return f"<Job {self.key}: {self.state.value}>"

    @property
    def job_id(self) -> str:
        return self.spec.job_id

    @property
    def key(self) -> str:
        return f"{self.run.run_id}/{self.spec.job_id}"

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def hopeless_parent(self) -> Job | None:
        """A parent because of which the job can not start, nor start again, unless a person retries that one."""
        return next((parent for parent in self.parents if parent.state in LOST_CAUSE), None)

    @property
    def being_cancelled(self) -> bool:
        """Its worker is to stop it; then it is CANCELLED, whatever the outcome."""
        return self.ending is not None and self.ending[0] is JobState.CANCELLED

    @property
    def open(self) -> bool:
        """Whether its run has to wait for it: neither final nor a service that is up."""
        return not self.up and self.state not in FINAL

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None


@dataclass(slots=True, eq=False, repr=False)
class Run:
    run_id: str
    name: str
    secret: bytes
    """16 random bytes from which the tokens of its attempts are derived."""
    submitted_at: float
    sequence: int
    """Age: grows with each run, and each job, submitted."""
    requests: list[bytes] = field(default_factory=list)
    """Request ids of the submissions that made it."""
    jobs: dict[str, Job] = field(default_factory=dict)
    counts: dict[JobState, int] = field(default_factory=lambda: dict.fromkeys(JobState, 0))
    open_jobs: int = 0
    """How many of its jobs are `open`."""
    version: int = 0
    """Grows by one with every change of a job."""
    changes: deque[Job] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    """The jobs of the last changes, oldest first, one entry a change; so that a watcher need not read all jobs."""
    finished_at: float | None = None

    def __repr__(self) -> str:
        return f"<Run {self.run_id}: {self.state.value}>"

    @property
    def live_jobs(self) -> int:
        """Jobs that are not final; unlike `open_jobs`, services that are up count."""
        return len(self.jobs) - sum(self.counts[state] for state in FINAL)

    @property
    def state(self) -> RunState:
        if self.open_jobs:
            return RunState.RUNNING
        if self.counts[JobState.DEAD]:
            return RunState.FAILED
        return RunState.CANCELLED if self.counts[JobState.CANCELLED] else RunState.COMPLETED


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself; `facts` (its pid, memory, …) are carried for display only."""

    worker_id: str
    """`host:port`."""
    instance: bytes
    capabilities: frozenset[str]
    slots: int
    permanent: bool = False
    facts: Any = None
    max_services: int = USUAL_SERVICES


@dataclass(slots=True, eq=False, repr=False)
class Worker:
    info: WorkerInfo
    sequence: int
    """Order of first registration; the stable tie-break of placement."""
    state: WorkerState
    session: int
    """Which session is the live one; events of an older one are ignored."""
    connected_at: float
    running: dict[bytes, Attempt] = field(default_factory=dict)
    """Attempts in its slots, by token."""
    services: dict[bytes, Attempt] = field(default_factory=dict)
    """Attempts of services, which take no slot."""
    recent: deque[Attempt] = field(default_factory=lambda: deque(maxlen=RECENT_KEPT))
    """Attempts that ended, oldest first."""
    timer: int = 0
    """Ticket of the timer at whose end it is taken for dead; 0 = none."""
    leaving: bool = False
    """It said goodbye: once its session ends it will not be back."""
    shutting_down: bool = False
    """A person wants it gone, and it has not said goodbye yet."""
    held: bool = False
    """A person had it drained; stays so when it registers again."""
    trouble: str = ""
    """Why it can not run jobs at present; empty: it can."""
    placement_version: int = 0
    """Which entries of the placement heaps still say the truth about it."""

    def __repr__(self) -> str:
        return f"<Worker {self.worker_id}: {self.state.value}, {len(self.running)}/{self.info.slots}>"

    @property
    def worker_id(self) -> str:
        return self.info.worker_id

    @property
    def free_slots(self) -> int:
        return self.info.slots - len(self.running)

    def has_room(self, service: bool) -> bool:
        """Whether one more job, or service, may be placed here now."""
        if self.state is not WorkerState.ONLINE or self.trouble:
            return False
        return len(self.services) < self.info.max_services if service else self.free_slots > 0

    @property
    def load(self) -> float:
        """Attempts per slot; services count as one each."""
        return (len(self.running) + len(self.services)) / self.info.slots
