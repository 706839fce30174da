"""What is true of the core after every event. For tests and simulations; it reads everything."""

from __future__ import annotations

from collections import Counter

from titan_core.scheduler import instances
from titan_core.scheduler.core import Core
from titan_core.scheduler.model import CHANGES_KEPT, LOST_KEPT, Job, Run, Service, Worker
from titan_core.scheduler.placement import capable, strict_worker_id
from titan_core.scheduler.schedule_model import Schedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FINAL, LOST_CAUSE, PAUSED, WAITING, FireOutcome, JobState, WorkerState


def check(core: Core) -> None:
    """Raises AssertionError naming the first thing that is not as it must be."""
    state = core.state
    for run in state.runs.values():
        _check_run(run)
        for job in run.jobs.values():
            _check_job(state, job)
    for worker in state.workers.values():
        _check_worker(state, worker)
    _require(not state.lost_workers.keys() & state.workers.keys(), "a worker that is there counts as lost")
    _require(len(state.lost_workers) <= LOST_KEPT, f"{len(state.lost_workers)} lost workers are remembered")
    for run in state.runs.values():
        for service in run.services.values():
            _check_service(service)
    for schedule in state.schedules.values():
        _check_schedule(state, schedule)
    _check_fires(state)
    _check_attempts(state)
    _check_over(state)
    _check_nothing_placeable_waits(state)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)


def _check_run(run: Run) -> None:
    counted = Counter(job.state for job in run.jobs.values())
    _require(
        all(run.counts[s] == counted[s] for s in JobState), f"{run.run_id}: counts {run.counts} are not {counted}"
    )
    open_jobs = sum(job.open for job in run.jobs.values())
    _require(run.open_jobs == open_jobs, f"{run.run_id}: {run.open_jobs} open jobs counted, {open_jobs} are there")
    _require(
        (run.finished_at is not None) == (open_jobs == 0), f"{run.run_id}: finished_at against {open_jobs} open jobs"
    )
    _require(
        len(run.changes) <= min(run.version, CHANGES_KEPT),
        f"{run.run_id}: {len(run.changes)} changes at version {run.version}",
    )


def _check_job(state: State, job: Job) -> None:
    unsatisfied = sum(not p.satisfied for p in job.parents)
    _require(job.open_parents == unsatisfied, f"{job.key}: {job.open_parents} open parents, {unsatisfied} are")
    _require((job.queue_ticket > 0) == (job.state is JobState.QUEUED), f"{job.key}: queue ticket in {job.state}")
    waits = job.state in (JobState.DELAYED, *PAUSED)
    _require((job.timer in state.timers) == waits, f"{job.key}: timer {job.timer} in {job.state}")
    if job.state is JobState.BLOCKED:
        _require(unsatisfied > 0, f"{job.key}: BLOCKED by nothing")
    elif job.state not in (JobState.CANCELLED,):
        _require(unsatisfied == 0, f"{job.key}: {job.state.value} before its parents")
    if job.state in WAITING:
        _require(not any(p.state in LOST_CAUSE for p in job.parents), f"{job.key}: {job.state.value} in vain")
    if job.state is JobState.COMPLETED:
        _require(job.satisfied, f"{job.key}: COMPLETED, children not released")
    _check_numbers(job)


def _check_numbers(job: Job) -> None:
    numbers = [attempt.number for attempt in job.attempts]
    _require(numbers == list(range(1, len(numbers) + 1)), f"{job.key}: attempts are numbered {numbers}")
    unfinished = [a for a in job.attempts if a.outcome is None]
    _require(unfinished == job.attempts[-1:] * (job.state is JobState.RUNNING), f"{job.key}: unfinished {unfinished}")
    _require(job.state in FINAL or job.finished_at is None, f"{job.key}: {job.state.value} with an end")


def _check_worker(state: State, worker: Worker) -> None:
    _require(
        worker.free_slots >= 0, f"{worker.worker_id}: {len(worker.running)} attempts in {worker.info.slots} slots"
    )
    silent = worker.state is WorkerState.DISCONNECTED
    _require((worker.timer in state.timers) == silent, f"{worker.worker_id}: timer in {worker.state}")
    for token, attempt in {**worker.running, **worker.services}.items():
        _require(state.attempts.get(token) is attempt, f"{worker.worker_id}: holds an attempt that is not active")
        _require(
            attempt.worker_id == worker.worker_id, f"{worker.worker_id}: holds an attempt of {attempt.worker_id}"
        )


def _check_service(service: Service) -> None:
    name = service.key
    _require(service.instances[0] is service.head, f"{name}: its head is not its first instance")
    _require(all(job.service is service for job in service.instances), f"{name}: an instance is another's")
    _require(service.revision in service.specs, f"{name}: revision {service.revision} has no definition")
    _require(service.rolling or not service.surge, f"{name}: has a surge, and is not being renewed")
    _require(not service.fallback or service.fallback in service.specs, f"{name}: can not go back")
    _require(not service.broken, f"{name}: {service.broken}, and nothing was done about it")
    for job in service.live:
        spec = instances.spec_of(service, job.job_id, job.revision)
        _require(job.spec == spec, f"{job.key}: does not run revision {job.revision}")
        _require(not job.ready or job.state is JobState.RUNNING, f"{job.key}: ready, and {job.state.value}")
    _require(service.missing >= 0, f"{name}: {len(service.staying)} instances, {service.wanted} are wanted")


def _check_schedule(state: State, schedule: Schedule) -> None:
    name, following = schedule.name, schedule.next_slot
    _require((schedule.timer in state.timers) == (following is not None), f"{name}: timer against slot {following}")
    _require(following is None or following > schedule.cursor, f"{name}: slot {following} after {schedule.cursor}")
    _require(following not in schedule.ahead, f"{name}: slot {following} has been decided on")
    _require(schedule.live is state.live_fires.get(name), f"{name}: its runs are not those of its name")
    waiting = [*schedule.waiting, *schedule.made_up]
    _require(all(fire.outcome is FireOutcome.QUEUED for fire in waiting), f"{name}: waits, and is not QUEUED")
    known = [(fire.kind, fire.slot) for fire in (*waiting, *schedule.live.values())]
    _require(len(set(known)) == len(known), f"{name}: a slot is there twice in {sorted(slot for _, slot in known)}")
    idle = not schedule.paused and not schedule.live
    _require(not (idle and waiting), f"{name}: {waiting} could run")


def _check_fires(state: State) -> None:
    """Each run of a schedule that goes on is known as such, with its line; nothing is left to be settled."""
    live = {run: run.fire for run in state.runs.values() if run.fire is not None and run.open_jobs}
    known = {run: fire for runs in state.live_fires.values() for run, fire in runs.items()}
    _require(known == live, f"live are {sorted(map(repr, live))}, known {sorted(map(repr, known))}")
    for run, fire in known.items():
        _require(fire.run_id == run.run_id, f"{run.run_id}: its line names {fire.run_id}")
        _require(fire.outcome is FireOutcome.RAN, f"{run.run_id}: its line says {fire.outcome.value}")
        _require(
            fire.run_state is run.state, f"{run.run_id}: its line says {fire.run_state}, it is {run.state.value}"
        )
    _require(not state.stirred, f"{state.stirred} are not settled")


def _check_attempts(state: State) -> None:
    held = sum(len(w.running) + len(w.services) for w in state.workers.values())
    _require(len(state.attempts) == held, f"{len(state.attempts)} active attempts, workers hold {held}")
    running = [job for run in state.runs.values() for job in run.jobs.values() if job.state is JobState.RUNNING]
    _require(len(running) == held, f"{len(running)} jobs RUNNING, workers hold {held} attempts")
    for token, attempt in state.lost.items():
        _require(attempt is attempt.job.attempts[-1], "a lost attempt has a successor")
        _require(
            attempt.job.state is JobState.QUEUED and token == attempt.token, "a lost attempt of a job not QUEUED"
        )


def _check_over(state: State) -> None:
    over = [run for run in state.runs.values() if run.live_jobs == 0]
    _require(set(state.over) == set(over) and len(state.over) == len(over), f"over are {over}, not {state.over}")
    _require(state.jobs_over == sum(len(run.jobs) for run in over), f"{state.jobs_over} jobs are not those of {over}")


def _check_nothing_placeable_waits(state: State) -> None:
    for run in state.runs.values():
        if not run.counts[JobState.QUEUED]:
            continue
        for job in run.jobs.values():
            if job.state is JobState.QUEUED:
                places = _places(state, job)
                _require(not places, f"{job.key}: QUEUED though {[w.worker_id for w in places]} could take it")


def _places(state: State, job: Job) -> list[Worker]:
    if job.spec.service:
        return state.placement.places(job)
    bound_to = strict_worker_id(job)
    places = [w for w in capable(job, state.workers.values()) if w.has_room(False)]
    return [w for w in places if bound_to in ("", w.worker_id)]
