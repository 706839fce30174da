"""Every native message, one frozen dataclass each, and which opcode carries it.

`BODIES` says what a frame of an opcode holds; `REPLIES` says what the DATA frame that answers a
request holds (None: the answer is a plain ACK). Durations are seconds (`*_s`), instants are seconds
since the Unix epoch (`*_wall`, 0.0 = has not happened), sizes are bytes. A `key` names a run or a
job as a user may type it: `<run id>/<job id>`, a job id, a run id, `last`, or a unique prefix.
"""

from __future__ import annotations

from titan_core.frozen import dataclass
from titan_core.protocol.codec import Message, tag
from titan_core.protocol.opcodes import Opcode

# ── proving knowledge of the token ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AuthHello(Message):
    nonce: bytes = tag(1)
    """32 random bytes of the side that dialled."""
    role: str = tag(2)
    """`client` or `worker`; for the log."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AuthChallenge(Message):
    nonce: bytes = tag(1)
    """32 random bytes of the side that listens."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AuthProof(Message):
    mac: bytes = tag(1)
    """HMAC-SHA256(token, "titan-dialler" | dialler's nonce | listener's nonce)."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AuthWelcome(Message):
    mac: bytes = tag(1)
    """HMAC-SHA256(token, "titan-listener" | dialler's nonce | listener's nonce)."""


# ── answers every request may get ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Ack(Message):
    text: str = tag(1, "")
    """A sentence for the user, where there is something to say."""
    keys: tuple[str, ...] = tag(2, ())
    """What the request concerned, by its full names: jobs, a service or a worker (at most 100,000 of them)."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Error(Message):
    code: str = tag(1)
    """Stable; the `code` of a class in `titan_core.errors`."""
    message: str = tag(2)
    retryable: bool = tag(3, False)
    details: tuple[tuple[str, str], ...] = tag(4, ())
    """Facts beside the sentence: `job` (the id at fault), `field`, `missing` (SHA-256, comma-separated)."""


# ── what is to be run ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Health(Message):
    """When a service counts as ready, and as unhealthy. Without `http` and `command` it is its port that is dialled,
    and one without a port is ready once its process has lasted half a second."""

    http: str = tag(1, "")
    """GET of this path on the service's port has to be answered with 2xx."""
    command: tuple[str, ...] = tag(2, ())
    """This has to exit with 0; it runs where the service does, with its environment."""
    interval_s: float = tag(3, 10.0)
    """Between two checks of a service that is ready."""
    timeout_s: float = tag(4, 2.0)
    """A check that takes longer has failed."""
    unhealthy_after: int = tag(5, 3)
    """So many failed checks in a row end the attempt."""
    ready_timeout_s: float = tag(6, 60.0)
    """An attempt that is not ready after so long is ended; 0 = no limit."""


USUAL_HEALTH = Health()
"""Of whatever says nothing about it."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Task(Message):
    """What a worker executes. The scheduler carries it and does not look inside."""

    asset: str = tag(1)
    """The name of a file: `etl.py`, or of a project archive: `project.zip`."""
    sha256: str = tag(2, "")
    """Its content, 64 hex digits; empty in a submission: the file of that name in `perm_files/`, as it is now."""
    entry: str = tag(3, "")
    """The path to run inside the archive; empty: `asset` is itself the file to run."""
    args: tuple[str, ...] = tag(4, ())
    env: tuple[tuple[str, str], ...] = tag(5, ())
    timeout_s: float = tag(6, 0.0)
    """The attempt is killed when it has run this long; 0 = no limit."""
    port: int = tag(7, 0)
    """The TCP port a service listens on; 0 = none, -1 = the worker takes a free one."""
    stop_signal: int = tag(8, 15)
    stop_grace_s: float = tag(9, 10.0)
    """How long after the stop signal SIGKILL follows."""
    health: Health = tag(10, USUAL_HEALTH)
    max_memory: int = tag(11, 0)
    """Bytes of resident memory of all its processes together, above which a service is restarted; 0 = no limit."""
    warm: bool = tag(12, True)
    """A Python script of a job that is no service may begin in a process of the worker that has started already."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class JobSpec(Message):
    """One job as it is submitted."""

    job_id: str = tag(1)
    task: Task = tag(2)
    parents: tuple[str, ...] = tag(3, ())
    """Job ids of the same run, or `<run id>/<job id>` of another."""
    requirement: str = tag(4, "GENERAL")
    priority: int = tag(5, 1)
    delay_s: float = tag(6, 0.0)
    """Waited for after the parents are done."""
    affinity: str = tag(7, "")
    """`""`, `prefer` (the parent's worker if it has a free slot) or `strict` (wait for it)."""
    retries: int = tag(8, 0)
    retry_backoff_s: float = tag(9, 1.0)
    """Wait before the first retry; doubles with each further one."""
    max_attempts: int = tag(10, 0)
    """Upper bound on all attempts, also those lost with a worker; 0 = the two budgets only."""
    service: bool = tag(11, False)
    restart: str = tag(12, "always")
    """Of a service that ends by itself: `always`, `on-failure` (not after exit code 0), `never` (then `retries`)."""
    min_uptime_s: float = tag(13, 10.0)
    """An attempt of a service that lasted so long was a good one: the next restart is immediate again."""
    instances: int = tag(14, 1)
    scope: str = tag(15, "cluster")
    """Of a service: `cluster`, or `run`: stopped when nothing else of its run goes on."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AssetContent(Message):
    """A small file that travels inside the submission that needs it."""

    sha256: str = tag(1)
    data: bytes = tag(2, b"")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SubmitRun(Message):
    name: str = tag(1)
    """The name of the pipeline; the run id begins with it. Ignored when `run_id` is given."""
    jobs: tuple[JobSpec, ...] = tag(2, ())
    request_id: bytes = tag(3, b"")
    """16 random bytes of the client: the same submission sent again gets the same answer."""
    run_id: str = tag(4, "")
    """Add the jobs to this run instead of starting one."""
    spawner: bytes = tag(5, b"")
    """Token of the attempt that submits, when a job does."""
    contents: tuple[AssetContent, ...] = tag(6, ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Submitted(Message):
    run_id: str = tag(1)
    job_count: int = tag(2, 0)


# ── asking ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StopService(Message):
    key: str = tag(1)
    """A service, or a run: then every service of it. The same for the four that follow, but for UpdateService."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StartService(Message):
    key: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RestartService(Message):
    key: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ScaleService(Message):
    key: str = tag(1)
    """A service."""
    instances: int = tag(2)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class UpdateService(Message):
    key: str = tag(1)
    """A service."""
    job: JobSpec = tag(2)
    """Its new definition; `job_id`, `parents`, `delay_s`, `instances` and `scope` stay what they were."""
    contents: tuple[AssetContent, ...] = tag(3, ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListServices(Message):
    key: str = tag(1, "")
    """A service, or a run; empty: every service that is wanted."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class InstanceStatus(Message):
    """One instance of a service: a job of its run."""

    job_id: str = tag(1)
    state: str = tag(2)
    """A `JobState`."""
    reason: str = tag(3, "")
    ready: bool = tag(4, False)
    worker: str = tag(5, "")
    address: str = tag(6, "")
    """`host:port` where it can be reached; empty unless it is ready and has a port."""
    attempt: int = tag(7, 0)
    restarts: int = tag(8, 0)
    """How often it was started again since it was submitted, or since a person started it."""
    revision: int = tag(9, 1)
    started_wall: float = tag(10, 0.0)
    cpu_percent: float = tag(11, 0.0)
    """100 = one processor, as the worker last said."""
    memory: int = tag(12, 0)
    """Bytes of resident memory of all its processes."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ServiceStatus(Message):
    run_id: str = tag(1)
    job_id: str = tag(2)
    state: str = tag(3)
    """A `ServiceState`."""
    reason: str = tag(4, "")
    wanted: int = tag(5, 1)
    """Instances there are to be."""
    ready: int = tag(6, 0)
    """Instances that are ready."""
    revision: int = tag(7, 1)
    """Grows with each update and each restart by hand."""
    asset: str = tag(8, "")
    requirement: str = tag(9, "")
    restart: str = tag(10, "")
    scope: str = tag(11, "")
    port: int = tag(12, 0)
    """As in `Task`."""
    instances: tuple[InstanceStatus, ...] = tag(13, ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ServiceList(Message):
    services: tuple[ServiceStatus, ...] = tag(1, ())
    """Oldest first."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class GetStats(Message):
    pass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StatsText(Message):
    text: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class GetClusterStatus(Message):
    pass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ShutdownWorker(Message):
    worker: str = tag(1)
    """`host:port`, or a unique prefix or port of it."""
    force: bool = tag(2, False)
    """Also when the worker is permanent."""
    now: bool = tag(3, False)
    """Do not wait for the jobs that run there: they are interrupted, and made again elsewhere."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StartWorker(Message):
    """Have a worker that is connected start another one beside it."""

    port: int = tag(1)
    capability: str = tag(2, "")
    """What it can do; empty: what the worker that starts it can do."""
    beside: str = tag(3, "")
    """The worker that is to start it, `host:port` or its port; empty: the master chooses."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class GetLogs(Message):
    key: str = tag(1)
    attempt: int = tag(2, 0)
    """0 = the latest."""
    offset: int = tag(3, 0)
    """First byte wanted; negative = that many bytes before the end."""
    wait_s: float = tag(4, 0.0)
    """When there is nothing to send yet, wait up to this long (at most 30 s) for more."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LogChunk(Message):
    run_id: str = tag(1)
    job_id: str = tag(2)
    attempt: int = tag(3)
    """0 = no attempt has begun."""
    offset: int = tag(4)
    """Where `data` begins in the log; ask again from `offset + len(data)`."""
    data: bytes = tag(5, b"")
    end: bool = tag(6, False)
    """The attempt is over and this chunk reaches the end of its log."""
    final: bool = tag(7, False)
    """The job is in a final state: no further attempt will come."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class GetJob(Message):
    key: str = tag(1)
    wait_s: float = tag(2, 0.0)
    """Wait up to this long (at most 30 s) for the job to reach a final state before answering."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AttemptStatus(Message):
    number: int = tag(1)
    worker: str = tag(2, "")
    outcome: str = tag(3, "")
    """`RUNNING`, or how it ended: an `Outcome`."""
    exit_code: int = tag(4, -1)
    """The process's own; 128 + signal when a signal ended it; -1 = there is none."""
    reason: str = tag(5, "")
    started_wall: float = tag(6, 0.0)
    finished_wall: float = tag(7, 0.0)
    peak_memory: int = tag(8, 0)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class JobStatus(Message):
    run_id: str = tag(1)
    job_id: str = tag(2)
    state: str = tag(3)
    reason: str = tag(4, "")
    """Why it is in that state."""
    asset: str = tag(5, "")
    requirement: str = tag(6, "")
    priority: int = tag(7, 0)
    service: bool = tag(8, False)
    port: int = tag(9, 0)
    parents: tuple[str, ...] = tag(10, ())
    worker: str = tag(11, "")
    """Where the latest attempt runs or ran."""
    exit_code: int = tag(12, -1)
    submitted_wall: float = tag(13, 0.0)
    started_wall: float = tag(14, 0.0)
    finished_wall: float = tag(15, 0.0)
    due_wall: float = tag(16, 0.0)
    """When a DELAYED or FAILED job is due again."""
    attempts: tuple[AttemptStatus, ...] = tag(17, ())
    final: bool = tag(18, False)
    ready: bool = tag(19, False)
    """Of a service: it answers."""
    address: str = tag(20, "")
    """Of a service that is ready and has a port: `host:port`."""
    instance_of: str = tag(21, "")
    """The service that it is a further instance of."""
    revision: int = tag(22, 1)
    """Of a service: which definition it runs; grows with each update and each restart by hand."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StateCount(Message):
    state: str = tag(1)
    count: int = tag(2)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class GetRun(Message):
    key: str = tag(1)
    wait_s: float = tag(2, 0.0)
    """Wait up to this long (at most 30 s) for `version` to pass `since`, or for the end if `until_final`."""
    since: int = tag(3, 0)
    """Send only the jobs that changed after this version; 0 = all."""
    until_final: bool = tag(4, False)
    jobs: bool = tag(5, True)
    """Whether jobs are wanted at all, or only the counts."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RunStatus(Message):
    run_id: str = tag(1)
    name: str = tag(2)
    state: str = tag(3)
    """A `RunState`."""
    version: int = tag(4)
    """Grows by one with every change of a job of the run."""
    counts: tuple[StateCount, ...] = tag(5, ())
    submitted_wall: float = tag(6, 0.0)
    finished_wall: float = tag(7, 0.0)
    jobs: tuple[JobStatus, ...] = tag(8, ())
    """In submission order, without their attempts."""
    final: bool = tag(9, False)
    schedule: str = tag(10, "")
    """The schedule that started it; empty: none."""
    scheduled_wall: float = tag(11, 0.0)
    """The slot that it was started for."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListRuns(Message):
    limit: int = tag(1, 50)
    """The newest so many."""
    state: str = tag(2, "")
    name: str = tag(3, "")
    """Only runs whose name begins so."""
    from_wall: float = tag(4, 0.0)
    """Only runs that went on at this instant or later."""
    until_wall: float = tag(5, 0.0)
    """Only runs that were submitted before this instant; 0 = whenever."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RunList(Message):
    runs: tuple[RunStatus, ...] = tag(1, ())
    """Newest first, without jobs."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListJobs(Message):
    limit: int = tag(1, 200)
    state: str = tag(2, "")
    """Only jobs in this state; empty = every job that is not final; services that are up among them."""
    services: bool = tag(3, False)
    """Only services."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class JobList(Message):
    jobs: tuple[JobStatus, ...] = tag(1, ())
    """Oldest run first, without their attempts; in a final state newest run first, DEAD ones with their attempts."""
    total: int = tag(2, 0)
    """How many there are, also beyond `limit`."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CancelJob(Message):
    key: str = tag(1)
    reason: str = tag(2, "")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Cancelled(Message):
    keys: tuple[str, ...] = tag(1, ())
    """Jobs that will not run, or are being stopped, because of this request (at most 1,000 of them)."""
    text: str = tag(2, "")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RetryJob(Message):
    key: str = tag(1, "")
    """A DEAD or CANCELLED job, or a run: then every such job of it."""
    every_dead: bool = tag(2, False)
    """Instead of `key`: every DEAD job there is."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Explain(Message):
    key: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Explanation(Message):
    run_id: str = tag(1)
    job_id: str = tag(2)
    state: str = tag(3)
    reasons: tuple[str, ...] = tag(4, ())
    """Sentences, the most important first."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListEvents(Message):
    key: str = tag(1)
    """A run, or a job."""
    after: int = tag(2, 0)
    """Only events with a greater `number`."""
    limit: int = tag(3, 1000)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class JobEvent(Message):
    number: int = tag(1)
    """Grows with each event of the run; the run's `version` after it."""
    wall: float = tag(2)
    job_id: str = tag(3)
    before: str = tag(4)
    after: str = tag(5)
    """A `JobState`; the same as `before` when something else about the job changed."""
    reason: str = tag(6, "")
    attempt: int = tag(7, 0)
    """The latest one then; 0 = none had begun."""
    worker: str = tag(8, "")
    """Where that attempt was."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class EventList(Message):
    run_id: str = tag(1)
    events: tuple[JobEvent, ...] = tag(2, ())
    """Oldest first."""
    more: bool = tag(3, False)
    """There are further ones: ask again with `after` = the last number."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListWorkers(Message):
    pass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class DrainWorker(Message):
    worker: str = tag(1)
    """`host:port`, or a unique prefix or port of it."""
    undo: bool = tag(2, False)
    """Give it work again."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WorkerHistory(Message):
    key: str = tag(1)
    state: str = tag(2)
    """`RUNNING`, or an `Outcome`."""
    duration_s: float = tag(3, 0.0)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WorkerStatus(Message):
    worker_id: str = tag(1)
    """`host:port`."""
    state: str = tag(2)
    """A `WorkerState`."""
    capabilities: tuple[str, ...] = tag(3, ())
    slots: int = tag(4, 0)
    used: int = tag(5, 0)
    services: tuple[str, ...] = tag(6, ())
    """Keys of the services it hosts."""
    jobs: tuple[str, ...] = tag(7, ())
    """Keys of the jobs in its slots."""
    permanent: bool = tag(8, False)
    address: str = tag(9, "")
    """Where its connection comes from."""
    pid: int = tag(10, 0)
    cpu_count: int = tag(11, 0)
    memory_total: int = tag(12, 0)
    cpu_percent: float = tag(13, 0.0)
    memory_used: int = tag(14, 0)
    connected_wall: float = tag(15, 0.0)
    history: tuple[WorkerHistory, ...] = tag(16, ())
    """The attempts in its slots, then up to ten that ended, newest first."""
    trouble: str = tag(17, "")
    """Why it can not run jobs at present; empty: it can."""
    ephemeral: bool = tag(18, False)
    """It is stopped when there is nothing to do."""
    parent: str = tag(19, "")
    """The worker that started it."""
    max_services: int = tag(20, 0)
    started_wall: float = tag(21, 0.0)
    """When its process began."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WorkerList(Message):
    workers: tuple[WorkerStatus, ...] = tag(1, ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PoolStatus(Message):
    """The workers of one capability, and the jobs that wait for them."""

    capability: str = tag(1)
    workers: int = tag(2, 0)
    """That take work."""
    slots: int = tag(3, 0)
    free: int = tag(4, 0)
    waiting: int = tag(5, 0)
    """Jobs that are ready and find no slot; counted up to 10,000."""
    starting: int = tag(6, 0)
    """Workers that were asked for and have not registered yet."""
    trouble: str = tag(7, "")
    """Why the pool does not grow though it should; empty: nothing keeps it from it."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LostWorker(Message):
    """One that was taken for dead, and has not come back."""

    worker_id: str = tag(1)
    lost_wall: float = tag(2, 0.0)
    reason: str = tag(3, "")
    attempts: int = tag(4, 0)
    """How many it held at that moment: they are made again elsewhere, as far as their budgets go."""
    capabilities: tuple[str, ...] = tag(5, ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ClusterStatus(Message):
    workers: tuple[WorkerStatus, ...] = tag(1, ())
    counts: tuple[StateCount, ...] = tag(2, ())
    """Jobs the master remembers, by state."""
    trouble: str = tag(3, "")
    """Why the master takes no submissions at present; empty: it does."""
    pools: tuple[PoolStatus, ...] = tag(4, ())
    """By capability."""
    finished: int = tag(5, 0)
    """Jobs that came to an end since the master was started."""
    lost: tuple[LostWorker, ...] = tag(6, ())
    """Workers taken for dead within a day, at most 20, newest first; since the master was started."""


# ── assets ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class UploadAsset(Message):
    """Announces content; unless the answer says `have`, ASSET_DATA with exactly these bytes follows."""

    name: str = tag(1)
    """Path below `perm_files/`; empty: keep the content for jobs that name its SHA-256, publish nothing."""
    sha256: str = tag(2)
    size: int = tag(3)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class UploadReply(Message):
    have: bool = tag(1)
    """The master holds this content: do not send it, the upload is complete."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FetchAsset(Message):
    name: str = tag(1, "")
    sha256: str = tag(2, "")
    """One of the two. The answer is AssetInfo, then ASSET_DATA with the bytes."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AssetInfo(Message):
    name: str = tag(1)
    sha256: str = tag(2)
    size: int = tag(3)
    modified_wall: float = tag(4, 0.0)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListAssets(Message):
    pass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AssetList(Message):
    assets: tuple[AssetInfo, ...] = tag(1, ())


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Timing(Message):
    """When a schedule is due. Exactly one of `cron`, `every_s` and `at` is given; see `titan_core.timetable`."""

    cron: str = tag(1, "")
    """Five fields: minute, hour, day of month, month, day of week; with `seconds`, six; or `@daily` and its like."""
    every_s: float = tag(2, 0.0)
    """Whole seconds from one fire to the next."""
    at: str = tag(3, "")
    """Once: ISO 8601, to the second; without an offset, in `timezone`."""
    timezone: str = tag(4, "UTC")
    """A name of the time zone database, such as `Europe/Berlin`."""
    seconds: bool = tag(5, False)
    """`cron` has a field for seconds in front."""
    jitter_s: float = tag(6, 0.0)
    """Each fire is put off by its own part of this, but never up to the next one."""
    start: str = tag(7, "")
    """Nothing is due before; as `at`. With `every_s`, the first fire."""
    end: str = tag(8, "")
    """Nothing is due after; as `at`."""
    anchor_wall: float = tag(9, 0.0)
    """Of `every_s` without `start`: when it was added; set by the master."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Alert(Message):
    """Who is told; at most one of the two."""

    webhook: str = tag(1, "")
    """An http or https URL that gets a POST."""
    jobs: tuple[JobSpec, ...] = tag(2, ())
    """One job, which is run."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ScheduleSpec(Message):
    """What is run when, as it was asked for."""

    name: str = tag(1)
    """Of the schedule, and of the runs that it starts."""
    timing: Timing = tag(2)
    jobs: tuple[JobSpec, ...] = tag(3, ())
    overlap: str = tag(4, "skip")
    """When a fire is due while an earlier run goes on: `skip`, `queue`, `allow` or `replace`."""
    catch_up: str = tag(5, "last")
    """Of the fires that came to nothing while there was no master: `none`, the `last`, or `all` are made up for."""
    catch_up_window_s: float = tag(6, 604800.0)
    """Those that are older are not made up for."""
    on_missed: Alert = tag(7, Alert())
    on_failure: Alert = tag(8, Alert())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PutSchedule(Message):
    """Make a schedule, or give the one of this name a new definition."""

    schedule: ScheduleSpec = tag(1)
    contents: tuple[AssetContent, ...] = tag(2, ())
    pause: bool = tag(3, False)
    """It is paused from now on."""
    resume: bool = tag(4, False)
    """It is not; with neither, it stays as it is, and a new one is not."""
    only_new: bool = tag(5, False)
    """Refuse to change one that exists."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FireStatus(Message):
    """One line of the ledger: what became of a fire."""

    schedule: str = tag(1)
    slot_wall: float = tag(2)
    """When it was due, whole seconds."""
    kind: str = tag(3)
    """`schedule`: its time had come; `trigger`: a person asked for it; `span`: its time had come often."""
    outcome: str = tag(4)
    """A `FireOutcome`."""
    reason: str = tag(5, "")
    run_id: str = tag(6, "")
    """Of the run that it started, or will."""
    run_state: str = tag(7, "")
    """A `RunState`; empty: no run has begun."""
    decided_wall: float = tag(8, 0.0)
    """When the outcome became what it is; of RAN, when the run began."""
    finished_wall: float = tag(9, 0.0)
    """When its run was over."""
    alert: str = tag(10, "")
    """What became of telling somebody: empty (nobody is), `due`, `sent`, or why not."""
    until_wall: float = tag(11, 0.0)
    """Of a span: the line stands for all slots from `slot_wall` to here that have none of their own."""
    made_up: bool = tag(12, False)
    """It ran after its time, by catch-up or backfill."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ScheduleStatus(Message):
    name: str = tag(1)
    state: str = tag(2)
    """A `ScheduleState`."""
    timing: Timing = tag(3)
    reason: str = tag(4, "")
    """Why it is paused, where somebody said so."""
    overlap: str = tag(5, "")
    catch_up: str = tag(6, "")
    catch_up_window_s: float = tag(7, 0.0)
    next_wall: float = tag(8, 0.0)
    """The next slot; 0 = there is none."""
    live: tuple[str, ...] = tag(9, ())
    """Ids of its runs that go on (at most 100 of them)."""
    queued: int = tag(10, 0)
    """Fires that wait for their turn."""
    last: tuple[FireStatus, ...] = tag(11, ())
    """The newest line of its ledger, if there is one."""
    revision: int = tag(12, 1)
    """Grows with each new definition."""
    created_wall: float = tag(13, 0.0)
    updated_wall: float = tag(14, 0.0)
    job_count: int = tag(15, 0)
    jobs: tuple[JobSpec, ...] = tag(16, ())
    """Only for GetSchedule."""
    on_missed: Alert = tag(17, Alert())
    on_failure: Alert = tag(18, Alert())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SchedulePut(Message):
    """What became of a PutSchedule."""

    outcome: str = tag(1)
    """`created`, `updated` or `unchanged`."""
    schedule: ScheduleStatus = tag(2)
    changes: tuple[str, ...] = tag(3, ())
    """Of an update, a line each: `cron: 0 2 * * * -> 0 3 * * *`, `+ job load`, `job extract: file changed`."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListSchedules(Message):
    pass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ScheduleList(Message):
    schedules: tuple[ScheduleStatus, ...] = tag(1, ())
    """By name."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class GetSchedule(Message):
    name: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PauseSchedule(Message):
    name: str = tag(1)
    undo: bool = tag(2, False)
    """Let it fire again."""
    reason: str = tag(3, "")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TriggerSchedule(Message):
    """Fire it now, whatever its time. `overlap` holds; with `skip`, it is refused while a run goes on."""

    name: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Triggered(Message):
    fire: FireStatus = tag(1)
    """RAN, or QUEUED."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RemoveSchedule(Message):
    """Its runs go on, its ledger stays."""

    name: str = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class BackfillSchedule(Message):
    """Have the past fires from `first` to `last` made up for that have not run, oldest first."""

    name: str = tag(1)
    first: str = tag(2, "")
    """As `Timing.at`, in the time zone of the schedule."""
    last: str = tag(3, "")
    cancel: bool = tag(4, False)
    """Instead: let nothing wait any more that is being made up for."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Backfilled(Message):
    text: str = tag(1)
    run_ids: tuple[str, ...] = tag(2, ())
    """Of the runs that begin now or later, oldest slot first."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ListFires(Message):
    """The ledger, newest first."""

    name: str = tag(1)
    limit: int = tag(2, 50)
    before_wall: float = tag(3, 0.0)
    """Only slots before; 0 = all."""
    outcome: str = tag(4, "")
    """Only these; empty: all."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FireList(Message):
    fires: tuple[FireStatus, ...] = tag(1, ())
    more: bool = tag(2, False)
    """There are older ones."""


# ── log lines, as they are printed ────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class AttachCollector(Message):
    """Have the workers send what attempts print to this address as well, as datagrams: see `protocol.datagrams`."""

    port: int = tag(1)
    key: bytes = tag(2)
    """32 random bytes, by which the datagrams are known to be the workers'."""
    host: str = tag(3, "")
    """Empty: where this request comes from."""
    lease_s: float = tag(4, 30.0)
    """It ends after so long, unless it is asked for again."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LogSink(Message):
    """Somebody who collects log lines."""

    port: int = tag(1)
    key: bytes = tag(2)
    host: str = tag(3, "")
    """Empty: the host at which the worker reaches the master."""
    lease_s: float = tag(4, 30.0)
    """From when the worker hears of it."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LogSinks(Message):
    """Master → worker: these, and no others."""

    sinks: tuple[LogSink, ...] = tag(1, ())


# ── the store ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Backup(Message):
    """The answer is BackupInfo, then ASSET_DATA with the bytes of a tar archive, or an ERROR in the midst of them."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class BackupInfo(Message):
    size: int = tag(1)
    """About so many bytes follow; for the progress."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Check(Message):
    pass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CheckReport(Message):
    problems: tuple[str, ...] = tag(1, ())
    """Empty: everything is as it must be."""
    runs: int = tag(2, 0)
    jobs: int = tag(3, 0)
    attempts: int = tag(4, 0)


# ── the session between master and worker ─────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Result(Message):
    """How an attempt ended."""

    token: bytes = tag(1)
    outcome: str = tag(2)
    """An `Outcome`."""
    exit_code: int = tag(3, -1)
    reason: str = tag(4, "")
    started_wall: float = tag(5, 0.0)
    finished_wall: float = tag(6, 0.0)
    peak_memory: int = tag(7, 0)
    """Largest resident set of the process or one it waited for."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Register(Message):
    port: int = tag(1)
    hostname: str = tag(2)
    capabilities: tuple[str, ...] = tag(3)
    slots: int = tag(4)
    instance: bytes = tag(5)
    """16 random bytes made when the worker process starts: the same worker, or a new one on its port."""
    permanent: bool = tag(6, False)
    pid: int = tag(7, 0)
    cpu_count: int = tag(8, 0)
    memory_total: int = tag(9, 0)
    running: tuple[bytes, ...] = tag(10, ())
    """Tokens of the attempts it runs."""
    finished: tuple[Result, ...] = tag(11, ())
    """Results it has not seen acknowledged."""
    max_services: int = tag(12, 32)
    """How many services it hosts, beside its slots."""
    trouble: str = tag(13, "")
    """Why it can not run jobs at present; empty: it can."""
    ephemeral: bool = tag(14, False)
    """To be stopped when there is nothing to do."""
    parent: str = tag(15, "")
    """The worker that started it, `host:port`; empty: a person, or another program."""
    address: str = tag(16, "")
    """Where its services are reached; empty: where its connection comes from."""
    started_wall: float = tag(17, 0.0)
    """When its process began."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LogPosition(Message):
    token: bytes = tag(1)
    offset: int = tag(2, 0)
    """Bytes of this attempt's log the master holds; go on from there."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Registered(Message):
    worker_id: str = tag(1)
    heartbeat_s: float = tag(2)
    """Send a HEARTBEAT at least this often."""
    death_s: float = tag(3)
    """Either side takes the other for gone after so long without a frame."""
    adopted: tuple[LogPosition, ...] = tag(4, ())
    """Which of `running` go on. All others are to be stopped and forgotten."""
    cluster: bytes = tag(5, b"")
    """16 random bytes, made with the home of the master."""
    term: int = tag(6, 0)
    """Grows with each start of a master of this cluster: a worker obeys none of a term older than it has seen."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StartAttempt(Message):
    token: bytes = tag(1)
    run_id: str = tag(2)
    job_id: str = tag(3)
    number: int = tag(4)
    task: Task = tag(5)
    service: bool = tag(6, False)
    services: tuple[tuple[str, str], ...] = tag(7, ())
    """The services of its run that are ready: job id and `host:port`."""
    variables: tuple[tuple[str, str], ...] = tag(8, ())
    """What the jobs of its run are told beside their own variables: `TITAN_SCHEDULED_FOR` and its like. `{name}` in
    an argument stands for the value of `TITAN_<NAME>`."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class StopAttempt(Message):
    token: bytes = tag(1)
    reason: str = tag(2, "")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ServiceReady(Message):
    """An attempt of a service answers; said once, and again in each session that follows."""

    token: bytes = tag(1)
    pid: int = tag(2, 0)
    port: int = tag(3, 0)
    """On which it listens; 0 = none."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ResultAck(Message):
    tokens: tuple[bytes, ...] = tag(1)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LogBatch(Message):
    token: bytes = tag(1)
    offset: int = tag(2, 0)
    """Where `data` begins in the attempt's log; the same bytes may come twice."""
    data: bytes = tag(3, b"")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ServiceUsage(Message):
    """What a service takes, all its processes together."""

    token: bytes = tag(1)
    cpu_percent: float = tag(2, 0.0)
    """100 = one processor, since the last heartbeat."""
    memory: int = tag(3, 0)
    """Bytes of resident memory."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SpawnWorker(Message):
    """Master → worker: start a worker of this master on this port of your host, as a process of its own."""

    port: int = tag(1)
    capabilities: tuple[str, ...] = tag(2)
    ephemeral: bool = tag(3, True)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class SpawnFailed(Message):
    """Worker → master: there is no such worker, or it ended before it had registered."""

    port: int = tag(1)
    reason: str = tag(2, "")


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Heartbeat(Message):
    used: int = tag(1, 0)
    services: int = tag(2, 0)
    cpu_percent: float = tag(3, 0.0)
    memory_used: int = tag(4, 0)
    running: tuple[bytes, ...] = tag(5, ())
    """Of a worker: tokens of the attempts it runs."""
    trouble: str = tag(6, "")
    """Of a worker: why it can not run jobs at present; empty: it can."""
    kill: tuple[bytes, ...] = tag(7, ())
    """Of the master: those among `running` that are not its attempts any more; to be ended and forgotten."""
    usage: tuple[ServiceUsage, ...] = tag(8, ())
    """Of a worker: what its services take."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Shutdown(Message):
    """Master → worker: stop, as at a stop signal."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ForgetRuns(Message):
    """Master → worker: nobody will ask for these runs again; delete their files."""

    run_ids: tuple[str, ...] = tag(1, ())


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Goodbye(Message):
    """Worker → master: stopping; what still runs comes back as `INTERRUPTED` results. The answer, master → worker:
    no order comes after this."""


BODIES: dict[int, type[Message]] = {
    Opcode.HEARTBEAT: Heartbeat,
    Opcode.REGISTER: Register,
    Opcode.SUBMIT_DAG: SubmitRun,
    Opcode.STOP: StopService,
    Opcode.STATS: GetStats,
    Opcode.STATS_JSON: GetClusterStatus,
    Opcode.KILL_WORKER: ShutdownWorker,
    Opcode.JOB_COMPLETE: Result,
    Opcode.GET_LOGS: GetLogs,
    Opcode.LOG_BATCH: LogBatch,
    Opcode.LIST_RUNS: ListRuns,
    Opcode.GET_RUN: GetRun,
    Opcode.RETRY: RetryJob,
    Opcode.EXPLAIN: Explain,
    Opcode.LIST_JOBS: ListJobs,
    Opcode.LIST_WORKERS: ListWorkers,
    Opcode.LIST_ASSETS: ListAssets,
    Opcode.LIST_EVENTS: ListEvents,
    Opcode.DRAIN_WORKER: DrainWorker,
    Opcode.BACKUP: Backup,
    Opcode.CHECK: Check,
    Opcode.START_SERVICE: StartService,
    Opcode.RESTART_SERVICE: RestartService,
    Opcode.SCALE_SERVICE: ScaleService,
    Opcode.UPDATE_SERVICE: UpdateService,
    Opcode.LIST_SERVICES: ListServices,
    Opcode.START_WORKER: StartWorker,
    Opcode.PUT_SCHEDULE: PutSchedule,
    Opcode.LIST_SCHEDULES: ListSchedules,
    Opcode.GET_SCHEDULE: GetSchedule,
    Opcode.PAUSE_SCHEDULE: PauseSchedule,
    Opcode.TRIGGER_SCHEDULE: TriggerSchedule,
    Opcode.REMOVE_SCHEDULE: RemoveSchedule,
    Opcode.BACKFILL_SCHEDULE: BackfillSchedule,
    Opcode.LIST_FIRES: ListFires,
    Opcode.ATTACH_COLLECTOR: AttachCollector,
    Opcode.LOG_SINKS: LogSinks,
    Opcode.START_ATTEMPT: StartAttempt,
    Opcode.STOP_ATTEMPT: StopAttempt,
    Opcode.SERVICE_READY: ServiceReady,
    Opcode.SPAWN_WORKER: SpawnWorker,
    Opcode.SPAWN_FAILED: SpawnFailed,
    Opcode.RESULT_ACK: ResultAck,
    Opcode.SHUTDOWN: Shutdown,
    Opcode.GOODBYE: Goodbye,
    Opcode.FORGET_RUNS: ForgetRuns,
    Opcode.ACK: Ack,
    Opcode.ERROR: Error,
    Opcode.UPLOAD_ASSET: UploadAsset,
    Opcode.FETCH_ASSET: FetchAsset,
    Opcode.GET_JOB_STATUS: GetJob,
    Opcode.CANCEL_JOB: CancelJob,
    Opcode.AUTH_HELLO: AuthHello,
    Opcode.AUTH_CHALLENGE: AuthChallenge,
    Opcode.AUTH_PROOF: AuthProof,
    Opcode.AUTH_WELCOME: AuthWelcome,
}
"""What a native frame of each opcode holds. DATA holds the reply to the request it answers; ASSET_DATA raw bytes."""

OPCODES: dict[type[Message], int] = {message: opcode for opcode, message in BODIES.items()}

REPLIES: dict[Opcode, type[Message] | None] = {
    Opcode.REGISTER: Registered,
    Opcode.SUBMIT_DAG: Submitted,
    Opcode.STOP: None,
    Opcode.STATS: StatsText,
    Opcode.STATS_JSON: ClusterStatus,
    Opcode.KILL_WORKER: None,
    Opcode.GET_LOGS: LogChunk,
    Opcode.LIST_RUNS: RunList,
    Opcode.GET_RUN: RunStatus,
    Opcode.RETRY: None,
    Opcode.EXPLAIN: Explanation,
    Opcode.LIST_JOBS: JobList,
    Opcode.LIST_WORKERS: WorkerList,
    Opcode.LIST_ASSETS: AssetList,
    Opcode.LIST_EVENTS: EventList,
    Opcode.DRAIN_WORKER: None,
    Opcode.BACKUP: BackupInfo,
    Opcode.CHECK: CheckReport,
    Opcode.START_SERVICE: None,
    Opcode.RESTART_SERVICE: None,
    Opcode.SCALE_SERVICE: None,
    Opcode.UPDATE_SERVICE: None,
    Opcode.LIST_SERVICES: ServiceList,
    Opcode.START_WORKER: None,
    Opcode.PUT_SCHEDULE: SchedulePut,
    Opcode.LIST_SCHEDULES: ScheduleList,
    Opcode.GET_SCHEDULE: ScheduleStatus,
    Opcode.PAUSE_SCHEDULE: ScheduleStatus,
    Opcode.TRIGGER_SCHEDULE: Triggered,
    Opcode.REMOVE_SCHEDULE: None,
    Opcode.BACKFILL_SCHEDULE: Backfilled,
    Opcode.LIST_FIRES: FireList,
    Opcode.ATTACH_COLLECTOR: None,
    Opcode.UPLOAD_ASSET: UploadReply,
    Opcode.ASSET_DATA: AssetInfo,
    Opcode.FETCH_ASSET: AssetInfo,
    Opcode.GET_JOB_STATUS: JobStatus,
    Opcode.CANCEL_JOB: Cancelled,
}
"""What answers each request, in a DATA frame; None: an ACK. Opcodes that are not here are never answered."""
