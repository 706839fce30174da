"""Reactions that concern jobs: from submission through the states to a final one.

`move` is the one door through which a job changes its state. All functions take the State they change.
"""

from __future__ import annotations

from collections.abc import Sequence

from titan_core.scheduler import dag, instances, restarts, retry, runs
from titan_core.scheduler.actions import RecordChange, RecordJobsAdded, RecordRunFinished, RecordService
from titan_core.scheduler.model import Job, JobSpec, Run, Service
from titan_core.scheduler.state import State
from titan_core.scheduler.states import EDGES, FINAL, LOST_CAUSE, WAITING, JobState

# ── the door ──────────────────────────────────────────────────────────────────────────────────────


def move(state: State, job: Job, to: JobState, reason: str) -> None:
    """Change the state of `job`; the books of its run are kept here and nowhere else."""
    before, run = job.state, job.run
    if to not in EDGES[before]:
        raise AssertionError(f"{job.key}: no edge from {before.value} to {to.value} ({reason})")
    was_open = job.open
    _leave(state, job)
    job.state, job.reason = to, reason
    run.counts[before] -= 1
    run.counts[to] += 1
    if to in FINAL:
        job.finished_at = state.now
        state.finished += 1
    _record(state, job, before)
    count_open(state, job, was_open)
    if job.service is not None:
        state.unsettled[job.service] = None
    if to in FINAL and run.live_jobs == 0:
        runs.retire(state, run)


def _leave(state: State, job: Job) -> None:
    """Undo what only the old state needed: its place in the queue, its timer, its being ready."""
    state.placement.withdraw(job)
    if job.timer:
        state.timers.cancel(job.timer)
    job.timer, job.due_at, job.ready = 0, None, False


def note(state: State, job: Job, reason: str) -> None:
    """Something about the job changed that is not its state."""
    job.reason = reason
    _record(state, job, job.state)


def _record(state: State, job: Job, before: JobState) -> None:
    _count_change(job)
    state.act(RecordChange(job, before, job.state, job.reason, job.changed_version, len(job.attempts)))


def _count_change(job: Job) -> None:
    job.run.version += 1
    job.changed_version = job.run.version
    job.run.changes.append(job)


def withdraw_ready(state: State, job: Job) -> None:
    """A service that is being stopped is not to be asked any more."""
    was_open = job.open
    job.ready = False
    count_open(state, job, was_open)


def count_open(state: State, job: Job, was_open: bool) -> None:
    run = job.run
    if job.open == was_open:
        return
    if run.services:
        state.unsettled[run] = None
    run.open_jobs += 1 if job.open else -1
    if run.fire is not None:
        state.stirred[run] = None
    if run.open_jobs == 0:
        run.finished_at = state.now
        state.act(RecordRunFinished(run))
    elif run.finished_at is not None:
        run.finished_at = None


# ── submission ────────────────────────────────────────────────────────────────────────────────────


def add(state: State, run: Run, specs: Sequence[JobSpec], request_id: bytes, spawner: bytes) -> None:
    """Add checked jobs to a run and set them going."""
    spawning = state.attempts.get(spawner)
    spawner_worker_id = spawning.worker_id if spawning else ""
    jobs = [_new_job(state, run, spec, spawner_worker_id) for spec in specs]
    services = [instances.found(job) for job in jobs if job.spec.service]
    for service in services:
        jobs += [new_instance(state, service) for _ in range(service.wanted - 1)]
    for job in jobs:
        if job.spec.parents:
            dag.link(job, [_parent(state, run, parent) for parent in job.spec.parents])
    state.act(RecordJobsAdded(run, tuple(jobs), request_id))
    for service in services:
        state.act(RecordService(service))
    for job in jobs:
        if job.state is JobState.BLOCKED:
            _set_going(state, job)


def new_instance(state: State, service: Service) -> Job:
    """One more instance, which nothing knows yet."""
    head = service.head
    spec = instances.spec_of(service, instances.next_id(service), service.revision)
    job = _new_job(state, head.run, spec, head.spawner_worker_id)
    job.revision = service.revision
    instances.join(service, job)
    return job


def begin_instance(state: State, service: Service) -> Job:
    """One more instance, set going."""
    job = new_instance(state, service)
    dag.link(job, list(service.head.parents))
    state.act(RecordJobsAdded(job.run, (job,)))
    head = service.head
    if job.open_parents or job.hopeless_parent:
        _set_going(state, job)
    elif head.state is JobState.DELAYED and head.due_at is not None:
        move(state, job, JobState.DELAYED, head.reason)
        wake_at(state, job, head.due_at)
    else:
        enqueue(state, job, "ready")  # the delay of the service is over
    return job


def find(state: State, run: Run | None, name: str) -> Job | None:
    """The job a parent list means by `name`: of this run, or `<run id>/<job id>`."""
    run_id, separator, job_id = name.partition("/")
    if separator:
        run = state.runs.get(run_id)
    return run.jobs.get(job_id if separator else name) if run else None


def _new_job(state: State, run: Run, spec: JobSpec, spawner_worker_id: str) -> Job:
    job = Job(run, spec, JobState.BLOCKED, "", state.now, state.next_sequence())
    job.spawner_worker_id = spawner_worker_id
    run.jobs[spec.job_id] = job
    run.counts[JobState.BLOCKED] += 1
    run.open_jobs += 1
    run.finished_at = None
    if run.fire is not None:
        state.stirred[run] = None
    _count_change(job)
    return job


def _parent(state: State, run: Run, name: str) -> Job:
    parent = find(state, run, name)
    assert parent is not None, "the graph was checked"
    return parent


def _set_going(state: State, job: Job) -> None:
    """The first step of a new, or retried, job: what its parents allow."""
    hopeless = job.hopeless_parent
    if hopeless:
        finish(state, job, JobState.CANCELLED, f"parent {hopeless.job_id} is {hopeless.state.value}")
    elif job.open_parents == 0:
        _ready(state, job)
    else:
        job.reason = waits_for(job)


def waits_for(job: Job) -> str:
    return f"waits for {job.open_parents} of {len(job.parents)} parents"


def _ready(state: State, job: Job) -> None:
    """Nothing but time, and a slot, is in its way."""
    if job.spec.delay_s > 0:
        move(state, job, JobState.DELAYED, f"delayed by {job.spec.delay_s:g} s")
        wake_at(state, job, state.now + job.spec.delay_s)
    else:
        enqueue(state, job, "ready")


def enqueue(state: State, job: Job, reason: str) -> None:
    move(state, job, JobState.QUEUED, reason)
    state.placement.queue(job)


def wake_at(state: State, job: Job, due_at: float) -> None:
    job.due_at = due_at
    job.timer = state.timers.add(due_at, job)


def wake(state: State, job: Job) -> None:
    """Its delay, or backoff, is over."""
    if job.state is JobState.DELAYED:
        enqueue(state, job, "due")
    else:
        enqueue(state, job, restarts.describe(job) if restarts.restarts(job) else retry.describe(job.attempts[-1]))


def renew(state: State, job: Job, reason: str) -> None:
    """An instance of a service is to begin anew."""
    begin_anew(state, job)
    enqueue(state, job, reason)


def begin_anew(state: State, job: Job) -> None:
    """With nothing held against it; an instance of a service with the newest definition."""
    if job.service is not None:
        adopt_revision(state, job)
    forgive(job)


def adopt_revision(state: State, job: Job) -> None:
    """The next attempt runs the newest definition of its service; one that was lost is not to come back."""
    service = job.service
    assert service is not None, f"{job.key} is no service"
    if job.attempts:
        state.lost.pop(job.attempts[-1].token, None)
    waits = job.queue_ticket > 0
    state.placement.withdraw(job)
    job.revision = service.revision
    job.spec = instances.spec_of(service, job.job_id, service.revision)
    if waits:
        state.placement.queue(job)


def forgive(job: Job) -> None:
    """Budgets, and what counts against them, begin anew."""
    job.failures = job.losses = job.crashes = 0
    job.attempts_before = len(job.attempts)
    job.finished_at = None


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def finish(state: State, job: Job, final: JobState, reason: str) -> None:
    _end(state, job, final, reason)
    if final is JobState.COMPLETED:
        satisfy(state, job)
    else:
        cancel_waiting(state, job, f"parent {job.job_id} is {final.value}")


def _end(state: State, job: Job, final: JobState, reason: str) -> None:
    if job.attempts:
        state.lost.pop(job.attempts[-1].token, None)
    move(state, job, final, reason)
    if final in LOST_CAUSE:
        children = (child.service for child in job.children if child.service is not None)
        state.unsettled.update((service, None) for service in children if service.rolling)


def satisfy(state: State, job: Job) -> None:
    """Let the children go on; once in the life of a job."""
    if job.satisfied:
        return
    job.satisfied = True
    for child in job.children:
        child.open_parents -= 1
        if child.state is not JobState.BLOCKED:
            continue
        if child.open_parents == 0:
            _ready(state, child)
        else:
            child.reason = waits_for(child)


def cancel_waiting(state: State, job: Job, reason: str) -> None:
    """Cancel the descendants of `job` that do not run, however far down. Those that run have no use for it any more:
    it was a service, and ready when they began."""
    for descendant in dag.descendants(job, WAITING):
        _end(state, descendant, JobState.CANCELLED, reason)
