"""From rows back to the model: when the master starts, and when a run that left memory is asked for again.

Rows become objects (`restore_run`), then the same functions as for live events take them on: graphs are
linked, what is ready is queued, what waits for its time gets its timer, what was on a worker is held by
it. Workers come back as DISCONNECTED, with `grace_s` to register; what they then say is held against this.
"""

from __future__ import annotations

from collections.abc import Iterable

from titan_core.scheduler import attempts, catch_up, dag, fires, instances, jobs, retry
from titan_core.scheduler.actions import RetractMissed
from titan_core.scheduler.events import StateRecovered
from titan_core.scheduler.model import Attempt, Job, Run, Service, Worker, WorkerInfo
from titan_core.scheduler.records import AttemptRecord, StoredJob, StoredRun, StoredService, WorkerRecord
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.schedule_records import FireRecord, StoredSchedule, restore_fire, restore_schedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import JobState, Outcome, WorkerState


def on_recovered(state: State, event: StateRecovered) -> None:
    """Go on where the master before this one was when it last wrote to its disk."""
    assert not state.runs and not state.workers, "there is something already"
    state.term, state.grace_s, state.last_sequence = event.term, event.grace_s, event.last_sequence
    state.offset_s = event.offset_s
    if event.workers:
        state.growth.not_before = state.now + event.grace_s
    for record in event.workers:
        _expect(state, record)
    runs = [restore_run(stored) for stored in event.runs]
    state.runs = {run.run_id: run for run in runs}
    for run in runs:
        _link(state, run)
    for run in runs:
        for job in run.jobs.values():
            _set_going(state, job)
        state.unsettled.update(dict.fromkeys(run.services.values()))
    _file_requests(state, runs)
    _retire(state, sorted((run for run in runs if run.live_jobs == 0), key=_ended_at))
    if event.schedules or event.alerts:
        # The clock may have been set back while there was no master. Where there is no schedule, and nobody to be
        # told of a line, that can wait for the next schedule.
        state.act(RetractMissed(state.wall))
    _resume_schedules(state, event.schedules)
    _resume_alerts(state, event.alerts)


def on_recalled(state: State, stored: StoredRun) -> None:
    """Take a finished run back into memory, at its place by age; but not one that was deleted since it was read."""
    if stored.run.run_id in state.runs or stored.run.run_id in state.deleted:
        return
    run = restore_run(stored)
    run.fire = _remembered(state, run.fire)
    state.runs = dict(sorted([*state.runs.items(), (run.run_id, run)], key=lambda item: item[1].sequence))
    _link(state, run)
    _file_requests(state, [run])
    _retire(state, [run])


def _remembered(state: State, fire: Fire | None) -> Fire | None:
    """A line of a ledger is one object, whoever has it."""
    if fire is None:
        return None
    schedule = state.schedules.get(fire.schedule)
    known = [*(schedule.recent if schedule is not None else ()), *state.alerts.values()]
    return next((one for one in known if one.key == fire.key), fire)


def restore_run(stored: StoredRun) -> Run:
    """The run and its jobs as they were; they do not know their parents yet, and nothing knows them."""
    record = stored.run
    run = Run(record.run_id, record.name, record.secret, record.submitted_at, record.sequence)
    run.requests = list(stored.requests)
    run.finished_at = record.finished_at
    run.variables = stored.variables
    if stored.fire is not None:
        run.fire = restore_fire(stored.fire)
    for stored_job in stored.jobs:
        job = _restore_job(run, stored_job)
        run.jobs[job.job_id] = job
        run.counts[job.state] += 1
        run.open_jobs += job.open
        run.version = max(run.version, job.changed_version)
    for stored_service in stored.services:
        _restore_service(run, stored, stored_service)
    return run


def parent_runs(stored: StoredRun) -> set[str]:
    """The ids of the other runs that those of its jobs depend on that may still begin, if only by a retry by hand.

    They have to be in memory before the run is, as a job knows only the parents that it finds there.
    """
    return {
        parent.partition("/")[0]
        for job in stored.jobs
        if job.asked.spec.parents and job.became.state != JobState.COMPLETED.value
        for parent in job.asked.spec.parents
        if "/" in parent
    }


def link_within(run: Run) -> None:
    """Let the jobs of a restored run, which stays outside the core, know their parents of the same run."""
    for job in run.jobs.values():
        if job.spec.parents:
            dag.link(job, [run.jobs[parent] for parent in job.spec.parents if parent in run.jobs])


# ── rows to objects ───────────────────────────────────────────────────────────────────────────────


def _restore_job(run: Run, stored: StoredJob) -> Job:
    asked, became = stored.asked, stored.became
    job = Job(run, asked.spec, JobState(became.state), became.reason, asked.submitted_at, asked.sequence)
    job.changed_version, job.spawner_worker_id = became.version, asked.spawner_worker_id
    job.failures, job.losses, job.crashes = became.failures, became.losses, became.crashes
    job.attempts_before = became.attempts_before
    if became.ending_state:
        job.ending = JobState(became.ending_state), became.ending_reason
    job.due_at, job.started_at, job.finished_at = became.due_at, became.started_at, became.finished_at
    job.satisfied, job.ready, job.revision = became.satisfied, became.ready, became.revision
    if stored.attempts:
        job.attempts = [_restore_attempt(job, record) for record in stored.attempts]
    return job


def _restore_service(run: Run, stored: StoredRun, record: StoredService) -> None:
    """The service of a job, and the jobs that are its instances, each with its revision."""
    by_number = {one.asked.sequence: run.jobs[one.asked.job_id] for one in stored.jobs}
    wants = record.wants
    head = by_number[wants.job]
    service = Service(head, wants.wanted, {1: head.spec, **dict(record.definitions)})
    service.revision, service.rolling, service.fallback = wants.revision, wants.rolling, wants.fallback
    service.surge, service.note = by_number.get(wants.surge), wants.note
    run.services[head.job_id] = service
    for one in stored.jobs:
        if wants.job in (one.asked.sequence, one.asked.instance_of):
            job = by_number[one.asked.sequence]
            instances.join(service, job)
            job.spec = instances.spec_of(service, job.job_id, job.revision)
    instances.forget_old_specs(service)


def _restore_attempt(job: Job, record: AttemptRecord) -> Attempt:
    return Attempt(
        job,
        record.number,
        record.token,
        record.worker_id,
        record.started_at,
        record.finished_at,
        Outcome(record.outcome) if record.outcome else None,
        record.exit_code,
        record.reason,
        record.peak_memory,
        record.stopping,
        record.ready,
        record.port,
    )


# ── objects to their places ───────────────────────────────────────────────────────────────────────


def _expect(state: State, record: WorkerRecord) -> None:
    """A worker that was there: it has the grace to come back."""
    info = WorkerInfo(
        record.worker_id,
        record.instance,
        frozenset(record.capabilities),
        record.slots,
        record.permanent,
        record.facts,
        record.max_services,
        record.ephemeral,
        address=record.address,
    )
    worker = Worker(info, state.next_sequence(), WorkerState.DISCONNECTED, 0, state.now)
    worker.held, worker.shutting_down = record.held, record.shutting_down
    worker.timer = state.timers.add(state.now + state.grace_s, worker)
    state.workers[worker.worker_id] = worker
    state.placement.update(worker)


def _link(state: State, run: Run) -> None:
    """A parent in another run that is not in memory was deleted, or the job is COMPLETED: see `parent_runs`."""
    for job in run.jobs.values():
        if job.spec.parents:
            parents = (jobs.find(state, run, name) for name in job.spec.parents)
            dag.link(job, [parent for parent in parents if parent is not None])


def _set_going(state: State, job: Job) -> None:
    if job.state is JobState.BLOCKED:
        job.reason = jobs.waits_for(job)
    elif job.state is JobState.QUEUED:
        state.placement.queue(job)
        attempt = job.attempt
        if attempt is not None and attempt.outcome is Outcome.LOST and attempt.number > job.attempts_before:
            state.lost[attempt.token] = attempt
    elif job.state is JobState.RUNNING:
        running = job.attempts[-1]
        attempts.hold(state, running, state.workers[running.worker_id])
    elif job.due_at is not None:
        jobs.wake_at(state, job, min(job.due_at, state.now + _longest_wait_s(state, job)))


def _resume_schedules(state: State, stored_schedules: Iterable[StoredSchedule]) -> None:
    """Each goes on after the last slot that was decided on; runs that are over were noted by who launched them."""
    for run in state.runs.values():
        if run.fire is not None and run.open_jobs:
            state.live_of(run.fire.schedule)[run] = run.fire
    for stored in stored_schedules:
        schedule = restore_schedule(stored)
        schedule.live = state.live_of(schedule.name)
        state.schedules[schedule.name] = schedule
    for schedule in state.schedules.values():
        _resume(state, schedule)


def _resume(state: State, schedule: Schedule) -> None:
    catch_up.rewind(state, schedule, ())
    catch_up.catch_up(state, schedule, catch_up.NO_MASTER)


def _resume_alerts(state: State, alerts: Iterable[FireRecord]) -> None:
    """Whoever was not told yet, or of whom that is not known, is told again; not of what has been taken back."""
    started = {fire.key: fire for run in state.runs.values() if (fire := run.fire)}
    for restored in map(restore_fire, alerts):
        if not catch_up.is_taken_back(restored, state.wall):
            fires.resend_alert(state, started.get(restored.key, restored))


def _longest_wait_s(state: State, job: Job) -> float:
    """Whatever the wall clock, by which instants are stored, was set to while there was no master."""
    if job.state is JobState.DELAYED:
        return job.spec.delay_s
    if job.state is JobState.CRASHLOOP:
        return state.settings.crash_loop_retry_s
    if job.spec.service:
        return max(retry.MAX_BACKOFF_S, state.settings.restart_max_s)
    attempt = job.attempts[-1]
    return max(retry.backoff_s(attempt), retry.trouble_backoff_s(attempt))


def _file_requests(state: State, runs: Iterable[Run]) -> None:
    for run in runs:
        state.requests.update(dict.fromkeys(run.requests, run.run_id))


def _retire(state: State, runs: Iterable[Run]) -> None:
    for run in runs:
        state.over.append(run)
        state.jobs_over += len(run.jobs)


def _ended_at(run: Run) -> float:
    return run.finished_at if run.finished_at is not None else run.submitted_at
