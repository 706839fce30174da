"""The core: events in, actions out, nothing else. The caller holds the one lock and knows the time.

    core.handle(RunSubmitted(…), now)  ->  [RecordJobsAdded, RecordChange…, StartAttempt…]

An event is refused (RequestRefused) before anything has changed, or it is carried out whole. After
each event, every job that can be placed has been placed. Timers fire with TimePassed alone, so that a
refused request never takes the actions of a timer with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler import (
    attempts,
    by_hand,
    catch_up,
    dag,
    fires,
    jobs,
    recovery,
    runs,
    scaling,
    schedules,
    services,
    workers,
)
from titan_core.scheduler.actions import Action
from titan_core.scheduler.events import (
    AlertSettled,
    AttemptsFinished,
    BackfillCancelled,
    BackfillRequested,
    DeadRetryRequested,
    Event,
    JobCancelRequested,
    JobRetryRequested,
    JobsAdded,
    ProvisionFailed,
    RunCancelRequested,
    RunRecalled,
    RunRetryRequested,
    RunsExpired,
    RunSubmitted,
    ScalingDue,
    ScheduleDefined,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleTriggered,
    ServiceReady,
    ServiceRestartRequested,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceStopRequested,
    ServiceUpdateRequested,
    SpawnFailed,
    StateRecovered,
    TimePassed,
    WallClockSet,
    WorkerDisconnected,
    WorkerHoldRequested,
    WorkerRegistered,
    WorkerSaidGoodbye,
    WorkerShutdownRequested,
    WorkerStartRequested,
    WorkerTroubleChanged,
)
from titan_core.scheduler.model import Job, JobSpec, Run, Service, Worker
from titan_core.scheduler.schedule_model import Schedule
from titan_core.scheduler.settings import Settings
from titan_core.scheduler.state import Growth, State
from titan_core.scheduler.states import LOST_CAUSE

FIRED_AT_ONCE = 50
"""Schedules that fire in one step; of more that are due, the others follow in the next, and who waits for the lock
comes between."""

_ServiceRequest = (
    ServiceStopRequested
    | ServiceStartRequested
    | ServiceRestartRequested
    | ServiceScaleRequested
    | ServiceUpdateRequested
)


class Core:
    """The scheduler. `state` is there to be read (views, explain, invariants); only `handle` changes it."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.state = State(settings or Settings())
        self._reactions: dict[type, Callable[[Any], None]] = {
            StateRecovered: lambda event: recovery.on_recovered(self.state, event),
            RunRecalled: lambda event: recovery.on_recalled(self.state, event.stored),
            RunsExpired: lambda event: runs.on_expired(self.state, event.run_ids),
            RunSubmitted: self._on_run_submitted,
            JobsAdded: self._on_jobs_added,
            WorkerRegistered: self._on_worker_registered,
            WorkerDisconnected: lambda event: workers.on_disconnected(self.state, event),
            WorkerSaidGoodbye: lambda event: workers.on_goodbye(self.state, event.worker_id),
            WorkerShutdownRequested: lambda event: workers.on_shutdown_requested(self.state, event),
            WorkerHoldRequested: lambda event: workers.on_hold_requested(self.state, event),
            WorkerTroubleChanged: lambda event: workers.on_trouble_changed(self.state, event),
            ServiceReady: self._on_service_ready,
            AttemptsFinished: lambda event: workers.on_results(self.state, event.worker_id, event.reports),
            JobCancelRequested: lambda event: by_hand.cancel(self.state, self._job(event), event.reason),
            RunCancelRequested: lambda event: by_hand.cancel_run(self.state, self._run(event.run_id), event.reason),
            ServiceStopRequested: self._on_service_stop_requested,
            ServiceStartRequested: self._on_service_start_requested,
            ServiceRestartRequested: self._on_service_restart_requested,
            ServiceScaleRequested: self._on_service_scale_requested,
            ServiceUpdateRequested: self._on_service_update_requested,
            ScalingDue: lambda event: scaling.look(self.state),
            SpawnFailed: lambda event: scaling.on_spawn_failed(self.state, event),
            ProvisionFailed: lambda event: scaling.on_provision_failed(self.state, event),
            WorkerStartRequested: lambda event: scaling.on_worker_start_requested(self.state, event),
            JobRetryRequested: lambda event: by_hand.retry_jobs(self.state, [self._job(event)]),
            RunRetryRequested: self._on_run_retry_requested,
            DeadRetryRequested: lambda event: by_hand.retry_dead(self.state),
            ScheduleDefined: lambda event: schedules.on_defined(self.state, event),
            SchedulePaused: lambda event: schedules.on_paused(self.state, event.name, event.reason),
            ScheduleResumed: lambda event: schedules.on_resumed(self.state, event.name),
            ScheduleTriggered: lambda event: schedules.on_triggered(self.state, event.name),
            ScheduleRemoved: lambda event: schedules.on_removed(self.state, event.name),
            BackfillRequested: lambda event: schedules.on_backfill_requested(self.state, event),
            BackfillCancelled: lambda event: schedules.on_backfill_cancelled(self.state, event.name),
            AlertSettled: self._on_alert_settled,
            WallClockSet: lambda event: catch_up.on_clock_set(self.state, event.offset_s, event.ahead),
            TimePassed: self._on_time_passed,
        }

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take in what happened at `now` (monotonic seconds; never less than before), say what is to be done.

        Raises RequestRefused, having changed nothing, for a request that can not be granted.
        """
        state = self.state
        state.now = max(now, state.now)
        state.actions = []
        runs.take_apart(state)
        self._reactions[type(event)](event)
        self._settle_and_place()
        scaling.notice(state)
        return state.actions

    def next_due_at(self) -> float | None:
        """When a TimePassed is wanted next; None: not before another event."""
        return self.state.timers.next_due_at()

    # ── reactions ─────────────────────────────────────────────────────────────────────────────────

    def _on_run_submitted(self, event: RunSubmitted) -> None:
        state = self.state
        if event.request_id in state.requests:
            return
        if event.run_id in state.runs:
            raise Conflict(f"run {event.run_id} exists already")
        dag.check(event.jobs, lambda name: jobs.find(state, None, name))
        run = Run(event.run_id, event.name, event.secret, state.now, state.next_sequence())
        state.runs[run.run_id] = run
        self._add(run, event.jobs, event.request_id, event.spawner)

    def _on_jobs_added(self, event: JobsAdded) -> None:
        if event.request_id in self.state.requests:
            return
        run = self._run(event.run_id)
        self._check_may_grow(run, event.spawner)
        dag.check(event.jobs, lambda name: jobs.find(self.state, run, name))
        self._add(run, event.jobs, event.request_id, event.spawner)

    def _check_may_grow(self, run: Run, spawner: bytes) -> None:
        if run.live_jobs == 0:
            raise Conflict(f"run {run.run_id} is {run.state.value} already; submit a new run")
        spawning = self.state.attempts.get(spawner)
        if spawning is not None and spawning.job.run is run and spawning.job.being_cancelled:
            raise Conflict(f"job {spawning.job.key} is being cancelled; it can add no jobs to its run")

    def _add(self, run: Run, specs: Sequence[JobSpec], request_id: bytes, spawner: bytes) -> None:
        if request_id:
            self.state.requests[request_id] = run.run_id
            run.requests.append(request_id)
        jobs.add(self.state, run, specs, request_id, spawner)

    def _on_worker_registered(self, event: WorkerRegistered) -> None:
        known = event.info.worker_id in self.state.workers
        workers.on_registered(self.state, event)
        if not known:
            scaling.on_joined(self.state, self.state.workers[event.info.worker_id])

    def _on_service_ready(self, event: ServiceReady) -> None:
        attempt = self.state.attempts.get(event.token)
        if attempt is not None and attempt.worker_id == event.worker_id:
            attempts.on_ready(self.state, attempt, event.port)

    def _on_service_stop_requested(self, event: ServiceStopRequested) -> None:
        state = self.state
        services.each(self._services(event), lambda service: services.stop(state, service, event.reason))

    def _on_service_start_requested(self, event: ServiceStartRequested) -> None:
        services.each(self._services(event), lambda service: services.start(self.state, service))

    def _on_service_restart_requested(self, event: ServiceRestartRequested) -> None:
        services.each(self._services(event), lambda service: services.restart(self.state, service))

    def _on_service_scale_requested(self, event: ServiceScaleRequested) -> None:
        for service in self._services(event):
            services.scale(self.state, service, event.instances)

    def _on_service_update_requested(self, event: ServiceUpdateRequested) -> None:
        for service in self._services(event):
            services.update(self.state, service, event.spec)

    def _on_run_retry_requested(self, event: RunRetryRequested) -> None:
        run = self._run(event.run_id)
        lost_causes = [job for job in run.jobs.values() if job.state in LOST_CAUSE]
        if not lost_causes:
            raise Conflict(f"run {run.run_id} is {run.state.value}; it has no DEAD or CANCELLED job")
        by_hand.retry_jobs(self.state, lost_causes)

    def _on_time_passed(self, event: TimePassed) -> None:
        fired = 0
        for what in self.state.timers.pop_due(self.state.now):
            if isinstance(what, Worker):
                workers.on_silent(self.state, what)
            elif isinstance(what, Growth):
                scaling.on_timer(self.state)
            elif isinstance(what, Schedule):
                schedules.on_due(self.state, what, event.trouble)
                fired += 1
                if fired == FIRED_AT_ONCE:
                    break
            else:
                jobs.wake(self.state, what)

    def _on_alert_settled(self, event: AlertSettled) -> None:
        key = event.schedule, event.kind, event.slot, event.about
        fires.on_alert_settled(self.state, key, event.problem)

    def _settle_and_place(self) -> None:
        """Each may give the others something to do."""
        self._settle()
        self._place()
        while self.state.unsettled or self.state.stirred:
            self._settle()
            self._place()

    def _settle(self) -> None:
        if self.state.stirred:
            fires.settle(self.state)
        services.settle(self.state)

    def _place(self) -> None:
        placement = self.state.placement
        services_looked_at = placement.services_stirred
        while (placed := placement.next()) is not None:
            attempts.start(self.state, *placed)
        if services_looked_at:
            services.on_not_placed(self.state)

    # ── finding what an event names ───────────────────────────────────────────────────────────────

    def _run(self, run_id: str) -> Run:
        run = self.state.runs.get(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id}")
        return run

    def _services(self, event: _ServiceRequest) -> list[Service]:
        return services.named(self._run(event.run_id), event.job_id)

    def _job(self, event: JobCancelRequested | JobRetryRequested) -> Job:
        job = self._run(event.run_id).jobs.get(event.job_id)
        if job is None:
            raise NotFound(f"run {event.run_id} has no job {event.job_id}")
        return job
