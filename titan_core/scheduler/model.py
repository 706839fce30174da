"""What the scheduler knows: runs, jobs, attempts, services, workers. Their states are in `states`; schedules are in
`schedule_model`.

Instants (`*_at`) are monotonic seconds of the master's clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING, Any

from titan_core.frozen import dataclass
from titan_core.scheduler.states import FINAL, LOST_CAUSE, Affinity, JobState, Outcome, Restart, RunState, WorkerState

if TYPE_CHECKING:
    from titan_core.scheduler.schedule_model import Fire

CHANGES_KEPT = 512
"""Entries of `Run.changes`; a watcher that is further behind reads all jobs."""
USUAL_SERVICES = 32
"""Services on one worker, beside its slots, where the worker says nothing else."""
RECENT_KEPT = 10
"""Ended attempts a worker's record shows."""
LOST_KEPT = 20
"""Workers that were taken for dead lately and are remembered as such."""


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """What the scheduler knows of a service beyond a job."""

    restart: Restart = Restart.ALWAYS
    min_uptime_s: float = 10.0
    """An attempt that lasted so long was a good one."""
    instances: int = 1
    run_scoped: bool = False
    """Stopped when nothing else of its run goes on."""
    port: int = 0
    """The TCP port it must have, one on each host; 0 = none, or whichever its worker finds free."""


USUAL_POLICY = ServicePolicy()


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
    policy: ServicePolicy = USUAL_POLICY


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
    ready: bool = False
    """Of a service: it answered."""
    port: int = 0
    """Of a service that is ready: where it listens; 0 = nowhere."""

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
    """Children need not wait for it: it is COMPLETED, or a service that was ready. Stays true."""
    ready: bool = False
    """A service that answers now."""
    service: Service | None = None
    """That it is an instance of."""
    revision: int = 1
    """Of the service's definition: what the next, or present, attempt runs."""

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
        """Whether its run has to wait for it: neither final nor a service that is ready."""
        return not self.ready and self.state not in FINAL

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt."""
        return self.attempts[-1] if self.attempts else None


@dataclass(slots=True, eq=False, repr=False)
class Service:
    """A job that is meant to keep running: what is wanted of it, and the jobs that are its instances.

    The job that was submitted is the first instance, and lends its name to the service; `web.2` is the second.
    """

    head: Job
    wanted: int
    """Instances there are to be, when it is not stopped."""
    specs: dict[int, JobSpec]
    """Definitions by revision: from the oldest that some instance still has, or may go back to, to the newest."""
    instances: list[Job] = field(default_factory=list)
    """All there ever were, the head first; those that are final may be wanted again."""
    revision: int = 1
    """What all instances are to have."""
    rolling: bool = False
    """Instances are being renewed, one after the other."""
    fallback: int = 0
    """The revision it goes back to should the new one be no good; 0 = none. Stays when a renewal is over: see
    `restarts.on_trial`."""
    surge: Job | None = None
    """The instance beyond `wanted` that serves while others are renewed."""
    note: str = ""
    """How the last renewal ended, if not well."""
    broken: str = ""
    """Why the new revision is no good, as it turned out in this step."""

    def __repr__(self) -> str:
        return f"<Service {self.key}: {len(self.live)}/{self.wanted}>"

    @property
    def key(self) -> str:
        return self.head.key

    @property
    def spec(self) -> JobSpec:
        """The definition that new instances get."""
        return self.specs[self.revision]

    @property
    def live(self) -> list[Job]:
        """The instances that are not final."""
        return [job for job in self.instances if job.state not in FINAL]

    @property
    def staying(self) -> list[Job]:
        """The instances that go on, or begin anew; not those that are being stopped."""
        return [job for job in self.live if job.ending is None or job.ending[0] not in FINAL]

    @property
    def missing(self) -> int:
        """How many more are wanted than stay; the one beyond `wanted` does not count."""
        return self.wanted - sum(job is not self.surge for job in self.staying)

    def spare(self, final: JobState) -> int:
        """How many instances that are in this state nobody misses: of a service that goes on, those beyond the ones
        that are missing; of one that was there for its run, those that were CANCELLED when that was over."""
        ended = sum(job.state is final for job in self.instances)
        if self.live:
            return max(0, ended - max(0, self.missing))
        return ended if self.spec.policy.run_scoped and final is JobState.CANCELLED else 0


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
    services: dict[str, Service] = field(default_factory=dict)
    """By the id of the job that was submitted."""
    version: int = 0
    """Grows by one with every change of a job."""
    changes: deque[Job] = field(default_factory=lambda: deque(maxlen=CHANGES_KEPT))
    """The jobs of the last changes, oldest first, one entry a change; so that a watcher need not read all jobs."""
    finished_at: float | None = None
    variables: tuple[tuple[str, str], ...] = ()
    """What its jobs are told beside their own variables."""
    fire: Fire | None = None
    """Of a schedule, that started it."""

    def __repr__(self) -> str:
        return f"<Run {self.run_id}: {self.state.value}>"

    @property
    def live_jobs(self) -> int:
        """Jobs that are not final; unlike `open_jobs`, services that are ready count."""
        return len(self.jobs) - sum(map(self.counts.__getitem__, FINAL))

    @property
    def state(self) -> RunState:
        if self.open_jobs:
            return RunState.RUNNING
        if self._has(JobState.DEAD):
            return RunState.FAILED
        return RunState.CANCELLED if self._has(JobState.CANCELLED) else RunState.COMPLETED

    def _has(self, final: JobState) -> bool:
        """Whether a job is in this state; instances that their service does without do not count."""
        count = self.counts[final]
        return count > 0 and count > sum(service.spare(final) for service in self.services.values())


def host_of(worker_id: str) -> str:
    return worker_id.rpartition(":")[0]


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
    ephemeral: bool = False
    """The scaler may stop it."""
    parent: str = ""
    """The worker that started it."""
    address: str = ""
    """Where its services are reached; empty: not known, or not told."""
    cpu_count: int = 1

    @property
    def host(self) -> str:
        return host_of(self.worker_id)


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
    """A person, or the scaler, wants it gone, and it has not said goodbye yet."""
    shutdown_sent: bool = False
    """It was told so; until then its jobs may end."""
    idle_since: float | None = None
    """Since when nothing runs there; None: something does."""
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

    @property
    def takes_work(self) -> bool:
        return self.state is WorkerState.ONLINE and not self.trouble

    def has_room(self, service: bool) -> bool:
        """Whether one more job, or service, may be placed here now."""
        if not self.takes_work:
            return False
        return len(self.services) < self.info.max_services if service else self.free_slots > 0

    @property
    def load(self) -> float:
        """Attempts per slot; services count as one each."""
        return (len(self.running) + len(self.services)) / self.info.slots


@dataclass(frozen=True, slots=True)
class LostWorker:
    """One that was taken for dead, though nobody had asked it to go, and has not come back."""

    worker_id: str
    lost_at: float
    reason: str
    attempts: int
    """How many it held at that moment, those of services included."""
    capabilities: frozenset[str]
