"""What is kept of the model: immutable rows, taken under the engine's lock at the end of each step.

A step is one event with all it caused; its rows are one `Batch`, which the store keeps whole or not
at all. A job has two rows, what was asked (`JobRecord`, never changes) and what became of it
(`StateRecord`), one for each attempt, and one for each change (`EventRecord`). A service has one beside
those of its jobs, and one for each definition it was given later; for schedules see `schedule_records`.
What follows from other rows, such as how many parents a job still waits for, is not kept. Instants are
monotonic, as in the model; the store turns them into wall time and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from titan_core.scheduler.actions import (
    Action,
    RecordChange,
    RecordFire,
    RecordJobsAdded,
    RecordRunFinished,
    RecordSchedule,
    RecordService,
    RecordWorker,
    RetractMissed,
)
from titan_core.scheduler.model import Attempt, Job, JobSpec, Run, Service, Worker
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.schedule_records import (
    FireRecord,
    OriginRecord,
    ScheduleRecord,
    fire_record,
    origin_record,
    schedule_record,
)
from titan_core.scheduler.states import JobState

GONE = "GONE"
"""`WorkerRecord.state` of a worker that stopped, or was taken for dead."""


class RunRecord(NamedTuple):
    sequence: int
    """Its number; the runs of a home, in order of submission."""
    run_id: str
    name: str
    secret: bytes
    submitted_at: float
    finished_at: float | None
    state: str
    """A `RunState`."""
    live_jobs: int
    """Jobs that are not final; 0 = the run is history."""
    counts: tuple[int, ...]
    """Jobs by state, in the order of `JobState`."""


class RequestRecord(NamedTuple):
    request_id: bytes
    run: int


class JobRecord(NamedTuple):
    sequence: int
    run: int
    job_id: str
    spec: JobSpec
    submitted_at: float
    spawner_worker_id: str
    instance_of: int = 0
    """Of a further instance of a service: the number of the first one."""


class StateRecord(NamedTuple):
    job: int
    run: int
    state: str
    reason: str
    version: int
    """`run.version` at its last change."""
    failures: int
    losses: int
    crashes: int
    attempts_before: int
    ending_state: str
    """What it becomes once its worker has stopped it; empty: nothing."""
    ending_reason: str
    due_at: float | None
    started_at: float | None
    finished_at: float | None
    satisfied: bool
    ready: bool
    revision: int = 1


class AttemptRecord(NamedTuple):
    job: int
    number: int
    token: bytes
    worker_id: str
    started_at: float
    finished_at: float | None
    outcome: str
    """An `Outcome`; empty: not over."""
    exit_code: int
    reason: str
    peak_memory: int
    stopping: bool
    ready: bool
    counted: bool
    """It completed its job; at most one attempt of a job did."""
    port: int = 0


class EventRecord(NamedTuple):
    run: int
    version: int
    """Of the run, after the change; unique in it."""
    job: int
    at: float
    before: str
    after: str
    reason: str
    attempt: int
    """The latest attempt at that instant; 0 = none had begun."""


class WorkerRecord(NamedTuple):
    worker_id: str
    instance: bytes
    capabilities: tuple[str, ...]
    slots: int
    max_services: int
    permanent: bool
    facts: Any
    state: str
    """A `WorkerState`, or GONE."""
    held: bool
    """A person had it drained."""
    seen_at: float
    ephemeral: bool = False
    address: str = ""
    shutting_down: bool = False


class ServiceRecord(NamedTuple):
    """What is wanted of a service."""

    job: int
    """The first instance."""
    run: int
    wanted: int
    revision: int
    rolling: bool
    fallback: int
    surge: int
    """The instance that serves while others are renewed; 0 = none."""
    note: str


class DefinitionRecord(NamedTuple):
    """A definition that a service was given later; never changes. The first one is in its JobRecord."""

    job: int
    run: int
    revision: int
    spec: JobSpec


class Batch(NamedTuple):
    """What one step changed; at most one row of each thing."""

    runs: list[RunRecord]
    requests: list[RequestRecord]
    jobs: list[JobRecord]
    states: list[StateRecord]
    attempts: list[AttemptRecord]
    events: list[EventRecord]
    workers: list[WorkerRecord]
    services: Sequence[ServiceRecord] = ()
    definitions: Sequence[DefinitionRecord] = ()
    origins: Sequence[OriginRecord] = ()
    schedules: Sequence[ScheduleRecord] = ()
    fires: Sequence[FireRecord] = ()
    retracted_after: float | None = None
    """Before the rows of this step: no slot later than this was MISSED."""


def batch(actions: Iterable[Action], now: float) -> Batch | None:
    """The rows of a step; None when it changed nothing that is kept.

    Taken when the step is over, so that every row says how its thing is then.
    """
    changes: list[RecordChange] = []
    runs: dict[Run, None] = {}
    requests: list[RequestRecord] = []
    jobs: list[JobRecord] = []
    touched: dict[Job, int] = {}  # and its latest attempt before the step: that one, and newer ones, may have changed
    workers: dict[str, WorkerRecord] = {}
    services: dict[Service, None] = {}
    definitions: list[DefinitionRecord] = []
    origins: list[OriginRecord] = []
    schedules: dict[Schedule, bool] = {}
    fires: dict[Fire, None] = {}
    retracted_after: float | None = None
    for action in actions:
        match action:
            case RecordChange(job):
                changes.append(action)
                touched.setdefault(job, action.attempt)
                runs[job.run] = None
            case RecordJobsAdded(run, added, request_id):
                runs[run] = None
                jobs.extend(map(_job, added))
                touched.update(dict.fromkeys(added, 0))
                if request_id:
                    requests.append(RequestRecord(request_id, run.sequence))
                if run.variables:
                    origins.append(origin_record(run))
            case RecordRunFinished(run):
                runs[run] = None
            case RecordWorker(worker, gone):
                workers[worker.worker_id] = _worker(worker, gone, now)
            case RecordService(service, defined):
                services[service] = None
                if defined in service.specs:
                    definitions.append(_definition(service, defined))
            case RecordSchedule(schedule, removed):
                schedules[schedule] = removed
            case RecordFire(fire):
                fires[fire] = None
            case RetractMissed(after_wall):
                retracted_after = after_wall
    if not (touched or workers or services or schedules or fires or retracted_after is not None):
        return None
    return Batch(
        list(map(_run, runs)),
        requests,
        jobs,
        list(map(_state, touched)),
        [_attempt(job, attempt) for job, first in touched.items() for attempt in job.attempts[max(0, first - 1) :]],
        [_event(change, now) for change in changes],
        list(workers.values()),
        list(map(_service, services)),
        definitions,
        origins,
        [schedule_record(schedule, removed) for schedule, removed in schedules.items()],
        list(map(fire_record, fires)),
        retracted_after,
    )


def _run(run: Run) -> RunRecord:
    return RunRecord(
        run.sequence,
        run.run_id,
        run.name,
        run.secret,
        run.submitted_at,
        run.finished_at,
        run.state.value,
        run.live_jobs,
        tuple(run.counts.values()),
    )


def _job(job: Job) -> JobRecord:
    service = job.service
    instance_of = service.head.sequence if service is not None and service.head is not job else 0
    return JobRecord(
        job.sequence,
        job.run.sequence,
        job.spec.job_id,
        job.spec,
        job.submitted_at,
        job.spawner_worker_id,
        instance_of,
    )


def _service(service: Service) -> ServiceRecord:
    head, surge = service.head, service.surge
    return ServiceRecord(
        head.sequence,
        head.run.sequence,
        service.wanted,
        service.revision,
        service.rolling,
        service.fallback,
        surge.sequence if surge is not None else 0,
        service.note,
    )


def _definition(service: Service, revision: int) -> DefinitionRecord:
    head = service.head
    return DefinitionRecord(head.sequence, head.run.sequence, revision, service.specs[revision])


def _state(job: Job) -> StateRecord:
    ending_state, ending_reason = ("", "") if job.ending is None else (job.ending[0].value, job.ending[1])
    return StateRecord(
        job.sequence,
        job.run.sequence,
        job.state.value,
        job.reason,
        job.changed_version,
        job.failures,
        job.losses,
        job.crashes,
        job.attempts_before,
        ending_state,
        ending_reason,
        job.due_at,
        job.started_at,
        job.finished_at,
        job.satisfied,
        job.ready,
        job.revision,
    )


def _attempt(job: Job, attempt: Attempt) -> AttemptRecord:
    return AttemptRecord(
        job.sequence,
        attempt.number,
        attempt.token,
        attempt.worker_id,
        attempt.started_at,
        attempt.finished_at,
        attempt.outcome.value if attempt.outcome else "",
        attempt.exit_code,
        attempt.reason,
        attempt.peak_memory,
        attempt.stopping,
        attempt.ready,
        job.state is JobState.COMPLETED and attempt is job.attempts[-1],
        attempt.port,
    )


def _event(change: RecordChange, now: float) -> EventRecord:
    job = change.job
    return EventRecord(
        job.run.sequence,
        change.version,
        job.sequence,
        now,
        change.before.value,
        change.after.value,
        change.reason,
        change.attempt,
    )


def _worker(worker: Worker, gone: bool, now: float) -> WorkerRecord:
    info = worker.info
    return WorkerRecord(
        worker.worker_id,
        info.instance,
        tuple(sorted(info.capabilities)),
        info.slots,
        info.max_services,
        info.permanent,
        info.facts,
        GONE if gone else worker.state.value,
        worker.held,
        now,
        info.ephemeral,
        info.address,
        worker.shutting_down,
    )


class StoredJob(NamedTuple):
    asked: JobRecord
    became: StateRecord
    attempts: tuple[AttemptRecord, ...]
    """By number."""


class StoredService(NamedTuple):
    wants: ServiceRecord
    definitions: tuple[tuple[int, JobSpec], ...]
    """Those it was given later, by revision."""


class StoredRun(NamedTuple):
    """A run as the store gives it back."""

    run: RunRecord
    requests: tuple[bytes, ...]
    jobs: tuple[StoredJob, ...]
    """In order of submission."""
    services: tuple[StoredService, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    fire: FireRecord | None = None
    """Of a schedule, that started it."""
