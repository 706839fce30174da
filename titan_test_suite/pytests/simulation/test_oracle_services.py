"""The judge is judged, as in `test_oracle`: defects in how services are kept, and in how the cluster grows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from titan_core.scheduler import attempts, jobs, recovery, restarts, scaling, services
from titan_core.scheduler.actions import RecordService
from titan_core.scheduler.events import StateRecovered
from titan_core.scheduler.model import Attempt, Job, Run, Service, Worker
from titan_core.scheduler.placement import Placement
from titan_core.scheduler.settings import Settings
from titan_core.scheduler.state import State
from titan_core.scheduler.states import INFRASTRUCTURE, JobState, WorkerState
from titan_test_suite.pytests.support.simulation.defects import Defects, Patch, around, rows_without

DEFECTS = Defects()
defect = DEFECTS.add


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_seen(name: str, monkeypatch: Patch) -> None:
    DEFECTS.check_is_seen(name, monkeypatch)


# ── restarts ──────────────────────────────────────────────────────────────────────────────────────


@defect
def a_crash_loop_has_no_end(monkeypatch: Patch) -> None:
    def rest(original: Callable[..., Any], state: State, job: Job, verdict: restarts.Verdict) -> None:
        original(state, job, verdict)
        if verdict.state is JobState.CRASHLOOP:
            state.timers.cancel(job.timer)

    around(monkeypatch, attempts, "_rest", rest)


@defect
def a_crash_loop_is_the_end(monkeypatch: Patch) -> None:
    def verdict(original: Callable[..., Any], attempt: Attempt, settings: Settings, now: float) -> restarts.Verdict:
        found: restarts.Verdict = original(attempt, settings, now)
        return found._replace(state=JobState.DEAD) if found.state is JobState.CRASHLOOP else found

    around(monkeypatch, restarts, "verdict", verdict)


@defect
def a_service_that_was_lost_with_its_worker_is_over(monkeypatch: Patch) -> None:
    def verdict(original: Callable[..., Any], attempt: Attempt, settings: Settings, now: float) -> restarts.Verdict:
        lost = attempt.outcome in INFRASTRUCTURE
        return restarts.Verdict(JobState.COMPLETED, "lost") if lost else original(attempt, settings, now)

    around(monkeypatch, restarts, "verdict", verdict)


@defect
def a_service_that_was_stopped_is_restarted(monkeypatch: Patch) -> None:
    def on_finished(original: Callable[..., Any], state: State, attempt: Attempt, report: Any) -> None:
        if attempt.job.ending is not None and attempt.job.ending[0] is JobState.COMPLETED:
            attempt.job.ending = None
        original(state, attempt, report)

    around(monkeypatch, attempts, "on_finished", on_finished)


@defect
def one_that_was_started_again_runs_what_it_ran_before(monkeypatch: Patch) -> None:
    monkeypatch.setattr(jobs, "adopt_revision", lambda state, job: None)


# ── renewal, number and scope ─────────────────────────────────────────────────────────────────────


@defect
def the_instance_that_served_meanwhile_is_forgotten(monkeypatch: Patch) -> None:
    def drop(state: State, service: Service, reason: str) -> None:
        service.surge = None

    monkeypatch.setattr(services, "_drop_surge", drop)


@defect
def what_is_no_good_is_not_taken_back(monkeypatch: Patch) -> None:
    def take_back(state: State, service: Service) -> None:
        service.broken = ""

    monkeypatch.setattr(services, "_take_back", take_back)


@defect
def a_renewal_is_over_when_it_begins(monkeypatch: Patch) -> None:
    monkeypatch.setattr(services, "_roll", lambda state, service: services._end_renewal(state, service, ""))


@defect
def a_renewal_does_not_go_on_after_a_start_of_the_master(monkeypatch: Patch) -> None:
    def on_recovered(original: Callable[..., Any], state: State, event: StateRecovered) -> None:
        original(state, event)
        for run in state.runs.values():
            for service in run.services.values():
                service.rolling = False

    around(monkeypatch, recovery, "on_recovered", on_recovered)


@defect
def scaling_down_goes_one_too_far(monkeypatch: Patch) -> None:
    def scale(original: Callable[..., Any], state: State, service: Service, wanted: int) -> None:
        original(state, service, wanted)
        if len(service.staying) > 1:
            services._stop_instance(state, service.staying[-1], "too many")

    around(monkeypatch, services, "scale", scale)


@defect
def scaling_down_stops_nothing(monkeypatch: Patch) -> None:
    def scale(original: Callable[..., Any], state: State, service: Service, wanted: int) -> None:
        if wanted >= len(service.staying):
            original(state, service, wanted)
        else:
            service.wanted = wanted
            state.act(RecordService(service))

    around(monkeypatch, services, "scale", scale)


@defect
def what_is_there_for_its_run_outlives_it(monkeypatch: Patch) -> None:
    monkeypatch.setattr(services, "_stop_what_is_of_the_run", lambda state, run: None)


@defect
def what_is_there_for_its_run_ends_with_any_job_of_it(monkeypatch: Patch) -> None:
    def stop(state: State, run: Run) -> None:
        for service in run.services.values():
            if service.spec.policy.run_scoped and any(job.final for job in run.jobs.values()):
                for job in service.staying:
                    services._stop_instance(state, job, "its run is over")

    monkeypatch.setattr(services, "_stop_what_is_of_the_run", stop)


@defect
def an_instance_that_is_ready_does_not_stand_for_its_service(monkeypatch: Patch) -> None:
    """Its children begin, and a master that was started again does not know why."""
    monkeypatch.setattr(attempts, "_satisfy_head", lambda state, head: jobs.satisfy(state, head))


@defect
def the_number_of_instances_is_not_written_down(monkeypatch: Patch) -> None:
    rows_without(monkeypatch, lambda made: made._replace(services=[s._replace(wanted=1) for s in made.services]))


@defect
def the_revision_of_an_instance_is_not_written_down(monkeypatch: Patch) -> None:
    rows_without(monkeypatch, lambda made: made._replace(states=[s._replace(revision=1) for s in made.states]))


# ── ports ─────────────────────────────────────────────────────────────────────────────────────────


@defect
def ports_are_not_looked_at(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Placement, "hosts_with_port", lambda placement, port: {})


# ── the size of the cluster ───────────────────────────────────────────────────────────────────────


@defect
def what_was_asked_for_does_not_count(monkeypatch: Patch) -> None:
    monkeypatch.setattr(scaling, "_expect", lambda state, expected: None)


@defect
def there_is_no_limit(monkeypatch: Patch) -> None:
    monkeypatch.setattr(scaling, "_room", lambda state, capability: 100)


@defect
def it_grows_by_workers_of_another_kind(monkeypatch: Patch) -> None:
    def spawn(
        original: Callable[..., Any], state: State, parent: Worker, port: int, offers: frozenset[str], ephemeral: bool
    ) -> None:
        original(state, parent, port, frozenset({"GPU"}) if ephemeral else offers, ephemeral)

    around(monkeypatch, scaling, "_spawn", spawn)


@defect
def it_grows_while_workers_of_before_may_come_back(monkeypatch: Patch) -> None:
    def look(original: Callable[..., Any], state: State) -> None:
        state.growth.not_before = 0.0
        original(state)

    around(monkeypatch, scaling, "look", look)


@defect
def busy_workers_are_stopped(monkeypatch: Patch) -> None:
    monkeypatch.setattr(scaling, "_is_idle", lambda worker: worker.state is WorkerState.ONLINE)
    monkeypatch.setattr(scaling, "_may_go_at", lambda state, worker: 0.0)


@defect
def workers_are_stopped_as_soon_as_they_are_idle(monkeypatch: Patch) -> None:
    monkeypatch.setattr(scaling, "_may_go_at", lambda state, worker: 0.0)


@defect
def workers_that_somebody_started_are_stopped(monkeypatch: Patch) -> None:
    def shrink(original: Callable[..., Any], state: State) -> None:
        original(state)
        for worker in list(state.workers.values()):
            if scaling._is_idle(worker) and scaling._may_go_at(state, worker) <= state.now:
                scaling._let_go(state, worker)

    around(monkeypatch, scaling, "_shrink", shrink)


@defect
def it_never_shrinks(monkeypatch: Patch) -> None:
    monkeypatch.setattr(scaling, "_shrink", lambda state: None)
