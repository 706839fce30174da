"""Reactions that concern services: wanted or not, how many instances, and renewing them one after the other.

A *renewal* (a restart by hand, or an update) gives a service a new revision. Instances take it over in turn:

    an instance more, of the new revision ─▶ it is ready ─▶ an old one stops, begins anew ─▶ it is ready ─▶ the next …
    none has the old revision any more ─▶ the one more is stopped

so that as many as are wanted are ready all the time. Where only the place of an old one would do, because of
a fixed port say, that one is stopped first. A new definition is *on trial* until an instance has served with
it for `min_uptime_s`: if one does not become ready, or ends before, it is taken back.

`settle` is called at the end of each step, for what the step may have consequences for. How a service that
ends by itself goes on is decided in `restarts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler import attempts, by_hand, instances, jobs, restarts, runs
from titan_core.scheduler.actions import RecordService
from titan_core.scheduler.model import Job, JobSpec, Run, Service
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FINAL, LOST_CAUSE, PAUSED, JobState, ServiceState

# ── what people ask ───────────────────────────────────────────────────────────────────────────────


def named(run: Run, job_id: str) -> list[Service]:
    """The service that a job of the run is an instance of; without a job id, all of the run.
    Raises NotFound, Conflict."""
    if not job_id:
        if not run.services:
            raise Conflict(f"run {run.run_id} has no service")
        return list(run.services.values())
    if job_id not in run.jobs:
        raise NotFound(f"run {run.run_id} has no job {job_id}")
    service = instances.find(run, job_id)
    if service is None:
        raise Conflict(f"job {run.run_id}/{job_id} is not a service", job=job_id)
    return [service]


def each(services: Iterable[Service], react: Callable[[Service], None]) -> None:
    """Have all react that can. Raises the Conflict of the first if none can."""
    refusals: list[Conflict] = []
    done = 0
    for service in services:
        try:
            react(service)
            done += 1
        except Conflict as refusal:
            refusals.append(refusal)
    if refusals and not done:
        raise refusals[0]


def stop(state: State, service: Service, reason: str) -> None:
    """It is wanted no more: each instance is COMPLETED once its process is gone, CANCELLED if it has none; the head
    also if it was never ready, and others wait for that."""
    head = service.head
    if not service.live:
        raise Conflict(f"service {head.key} is {head.state.value} already ({head.reason})", job=head.job_id)
    if all(job.being_cancelled for job in service.live):
        raise Conflict(f"service {head.key} is being cancelled already", job=head.job_id)
    _end_renewal(state, service, "")
    if service.fallback:
        service.fallback = 0
        state.act(RecordService(service))
    in_vain = not head.satisfied and any(not child.final for child in head.children)
    for job in service.live:
        if job is head and in_vain:
            by_hand.cancel_with_descendants(state, job, reason)
        elif not job.being_cancelled:
            _stop_instance(state, job, reason)


def start(state: State, service: Service) -> None:
    """It is wanted again. What rests, in a crash loop or between two attempts, is tried now."""
    resting = [job for job in service.live if job.state in PAUSED]
    stopping = [job for job in service.live if job.ending is not None and job.ending[0] is JobState.COMPLETED]
    over = [job for job in service.instances if job.state in FINAL]
    idle = resting + [*stopping, *over][: max(0, service.missing)]
    if not idle:
        raise Conflict(f"service {service.key} runs already, or is about to", job=service.head.job_id)
    _check_parents(service)
    for job in idle:
        _want_again(state, job, "started by hand")


def restart(state: State, service: Service) -> None:
    """Renew all instances, with the same definition. Raises Conflict for a service that is stopped."""
    _renew(state, service, service.spec)


def update(state: State, service: Service, spec: JobSpec) -> None:
    """Renew all instances, with this definition. Raises Conflict for a service that is stopped."""
    was, policy = service.specs[service.revision], spec.policy
    kept = replace(policy, instances=was.policy.instances, run_scoped=was.policy.run_scoped)
    head = service.head
    _renew(state, service, replace(spec, job_id=head.job_id, parents=was.parents, delay_s=was.delay_s, policy=kept))


def scale(state: State, service: Service, wanted: int) -> None:
    """Have so many instances. Raises Conflict for a service that is stopped, or is being renewed."""
    _check_live(service)
    if service.rolling:
        raise Conflict(f"service {service.key} is being renewed; scale it when that is over")
    if wanted > service.wanted - service.missing:
        _check_parents(service)
    service.wanted = wanted
    for job in reversed(service.staying[wanted:]):
        _stop_instance(state, job, f"scaled to {wanted}")
    _grow(state, service)
    state.act(RecordService(service))


# ── what follows ──────────────────────────────────────────────────────────────────────────────────


def settle(state: State) -> None:
    """Draw the consequences of what this step has changed. Runs come last: a renewal that goes on opens one again."""
    while state.unsettled:
        services: list[Run | Service] = [one for one in state.unsettled if isinstance(one, Service)]
        for what in services or [*state.unsettled]:
            state.unsettled.pop(what, None)
            if isinstance(what, Run):
                _stop_what_is_of_the_run(state, what)
            elif what.rolling or what.broken:
                _roll(state, what)


def on_not_placed(state: State) -> None:
    """Services that wait found no worker; one that is being renewed may have to make room for itself."""
    for job in state.placement.waiting_services():
        if job.service is not None and job.service.rolling:
            state.unsettled[job.service] = None


def state_of(service: Service, now: float) -> ServiceState:
    live = service.live
    ready = sum(job.ready for job in live)
    if not live:
        dead = any(job.state is JobState.DEAD for job in service.instances)
        return ServiceState.DEAD if dead else ServiceState.STOPPED
    if service.rolling or (ready >= service.wanted and restarts.on_trial(service, now)):
        return ServiceState.UPDATING
    if ready >= service.wanted:
        return ServiceState.READY
    if any(job.state is JobState.CRASHLOOP for job in live):
        return ServiceState.CRASHLOOP
    if ready:
        return ServiceState.DEGRADED
    running = any(job.state is JobState.RUNNING for job in live)
    return ServiceState.STARTING if running else ServiceState.WAITING


def _stop_what_is_of_the_run(state: State, run: Run) -> None:
    """Services that are there for the other jobs of their run, once none of those goes on."""
    of_the_run = [service for service in run.services.values() if service.spec.policy.run_scoped]
    live = [job for service in of_the_run for job in service.live]
    others = len(run.jobs) - sum(len(service.instances) for service in of_the_run)
    if live and others and run.open_jobs == sum(job.open for job in live):
        for service in of_the_run:
            for job in service.staying:
                _stop_instance(state, job, "its run is over")


def _stop_instance(state: State, job: Job, reason: str) -> None:
    if job.state is JobState.RUNNING:
        attempts.end(state, job, JobState.COMPLETED, reason)
    else:
        by_hand.cancel_with_descendants(state, job, reason)


def _grow(state: State, service: Service) -> None:
    """Instances that were stopped come back before new ones are made; those still stopping do not count."""
    over = [job for job in service.instances if job.state in FINAL]
    for job in over[: max(0, service.missing)]:
        _want_again(state, job, "scaled up")
    for _ in range(service.missing):
        jobs.begin_instance(state, service)


def _want_again(state: State, job: Job, reason: str) -> None:
    """An instance that is final, or rests, begins anew; one that is being stopped does so after that."""
    if job.state is JobState.RUNNING:
        job.ending = (JobState.QUEUED, reason)
        jobs.note(state, job, f"stopping: {reason}")
        return
    if job.state in FINAL:
        runs.revive(state, [job])
    if job.state in LOST_CAUSE and job.open_parents:
        jobs.begin_anew(state, job)
        jobs.move(state, job, JobState.BLOCKED, jobs.waits_for(job))
    else:
        jobs.renew(state, job, reason)


def _check_live(service: Service) -> None:
    if not service.staying:
        raise Conflict(f"service {service.key} is stopped; start it with: titan start {service.head.job_id}")


def _check_parents(service: Service) -> None:
    """All instances have the same ones."""
    hopeless = service.head.hopeless_parent
    if hopeless is not None:
        raise Conflict(
            f"service {service.key} depends on {hopeless.job_id}, which is {hopeless.state.value}; retry that one"
        )


# ── renewal ───────────────────────────────────────────────────────────────────────────────────────


def _renew(state: State, service: Service, spec: JobSpec) -> None:
    """Begin a renewal; one that is under way goes on with this definition."""
    _check_live(service)
    _check_parents(service)
    good = service.fallback if restarts.on_trial(service, state.now) else service.revision
    service.revision = max(service.specs) + 1
    service.specs[service.revision] = spec
    service.rolling, service.fallback, service.note = True, good, ""
    instances.forget_old_specs(service)
    state.act(RecordService(service, defined=service.revision))
    state.unsettled[service] = None


def _roll(state: State, service: Service) -> None:
    """The next step of a renewal, if it is time for one."""
    if service.broken and service.fallback:
        _take_back(state, service)
    hopeless = service.head.hopeless_parent
    if hopeless is not None:
        _end_renewal(state, service, f"not renewed, since parent {hopeless.job_id} is {hopeless.state.value}")
        return
    if not service.live:
        _end_renewal(state, service, service.note)
        return
    outdated = (job for job in service.live if job.revision != service.revision)
    old = sorted(outdated, key=lambda job: job.ready)  # who serves nobody first
    if any(_is_on_its_way(state, job) for job in service.live if job not in old):
        return
    if any(job.ending is not None for job in service.live):
        return
    if not old:
        _end_renewal(state, service, service.note, service.fallback)
    elif service.surge is None and service.fallback and _is_to_surge(state, service, old):
        _add_surge(state, service)
    else:
        _renew_instance(state, old[0])


def _is_on_its_way(state: State, job: Job) -> bool:
    """Of the new revision, and not ready: the renewal waits for it."""
    return not job.ready and job.ending is None and not _waits_for_a_sibling(state, job)


def _waits_for_a_sibling(state: State, job: Job) -> bool:
    """Whether other instances have its port, or its room, where it could run: it begins when one stops, or never."""
    return job.state is JobState.QUEUED and _is_to_replace(state, job)


def _is_to_surge(state: State, service: Service, old: list[Job]) -> bool:
    """Whether there is something to bridge, and not only the place of another instance to do it in. Where there is no
    place at all, the one more waits for it, and the others serve."""
    return any(job.ready for job in old) and not _is_to_replace(state, _probe(service))


def _is_to_replace(state: State, job: Job) -> bool:
    """Whether it finds a place, but only that of another instance of its service."""
    places = state.placement.places
    return not places(job) and bool(places(job, but_for_siblings=True))


def _probe(service: Service) -> Job:
    """An instance that could be made."""
    head = service.head
    probe = Job(head.run, service.spec, JobState.QUEUED, "", head.submitted_at, head.sequence)
    probe.service, probe.parents, probe.spawner_worker_id = service, head.parents, head.spawner_worker_id
    return probe


def _add_surge(state: State, service: Service) -> None:
    spare = [job for job in service.instances[1:] if job.state in FINAL]  # not the head: others may depend on it
    if spare:
        service.surge = spare[0]
        _want_again(state, spare[0], f"serves while others are renewed to revision {service.revision}")
    else:
        service.surge = jobs.begin_instance(state, service)
    state.act(RecordService(service))


def _renew_instance(state: State, job: Job) -> None:
    assert job.service is not None
    reason = f"renewed to revision {job.service.revision}"
    if job.state is JobState.RUNNING:
        attempts.end(state, job, JobState.QUEUED, reason)
    elif job.state in PAUSED:
        jobs.renew(state, job, reason)
    else:
        jobs.begin_anew(state, job)
        jobs.note(state, job, jobs.waits_for(job) if job.state is JobState.BLOCKED else reason)


def _take_back(state: State, service: Service) -> None:
    """The new revision did not become ready: back to the last one that was good."""
    service.note = f"revision {service.revision} was taken back: {service.broken}"
    service.broken, service.rolling = "", True
    service.revision, service.fallback = service.fallback, 0
    _drop_surge(state, service, service.note)
    for job in service.live:
        if job.revision != service.revision and job.state in PAUSED | {JobState.QUEUED}:
            _renew_waiting(state, job)
    state.act(RecordService(service))


def _renew_waiting(state: State, job: Job) -> None:
    """One that has no process, and need not be waited for."""
    if job.state is JobState.QUEUED:
        jobs.begin_anew(state, job)
        jobs.note(state, job, "back to the revision before")
    else:
        jobs.renew(state, job, "back to the revision before")


def _end_renewal(state: State, service: Service, note: str, fallback: int = 0) -> None:
    """With a `fallback` the definition stays on trial, unless it is that of the fallback."""
    if not service.rolling:
        return
    if fallback and service.specs[fallback] == service.spec:
        fallback = 0
    service.rolling, service.fallback, service.note, service.broken = False, fallback, note, ""
    _drop_surge(state, service, "the others are renewed")
    instances.forget_old_specs(service)
    state.act(RecordService(service))


def _drop_surge(state: State, service: Service, reason: str) -> None:
    """It stays where fewer others do than are wanted."""
    surge, service.surge = service.surge, None
    if surge is not None and surge in service.staying and service.missing < 0:
        _stop_instance(state, surge, reason)
