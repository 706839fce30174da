"""What people ask for: cancel, run something again. For services see `services`.

Requests that can not be granted raise Conflict before anything has changed.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

from titan_core.errors import Conflict
from titan_core.scheduler import attempts, jobs, runs
from titan_core.scheduler.model import Job, Run
from titan_core.scheduler.state import State
from titan_core.scheduler.states import LOST_CAUSE, JobState


def cancel(state: State, job: Job, reason: str) -> None:
    """Cancel the job and all that waits for it. Raises Conflict when it is over already."""
    if job.final:
        raise Conflict(f"job {job.key} is {job.state.value} already ({job.reason})", job=job.job_id)
    cancel_with_descendants(state, job, reason)


def cancel_run(state: State, run: Run, reason: str) -> None:
    """Cancel every job of the run that is not final. Raises Conflict when none is left."""
    if run.live_jobs == 0:
        raise Conflict(f"run {run.run_id} is {run.state.value} already")
    for job in list(run.jobs.values()):
        if not job.final:
            cancel_with_descendants(state, job, reason)


def retry_jobs(state: State, wanted: Sequence[Job]) -> None:
    """Run DEAD and CANCELLED jobs again, with fresh budgets, and the descendants that they took with them.

    Raises Conflict, and changes nothing, when one of them can not: it is in another state, or waits for a
    parent that is DEAD or CANCELLED and not among them. Descendants that wait for such a parent stay CANCELLED. So do
    instances of a service beyond those that are wanted; a Conflict when all are such.
    """
    for job in wanted:
        if job.state not in LOST_CAUSE:
            raise Conflict(f"job {job.key} is {job.state.value}; only a DEAD or CANCELLED job can be retried")
    _check_wanted(wanted)
    wanted = _without_surplus(wanted)
    _check_parents_return(set(wanted))
    family = _with_descendants(wanted)
    chosen = _with_descendants(wanted, without=set(family).difference(_without_surplus(family)))
    runs.revive(state, chosen)
    for job in chosen:
        jobs.begin_anew(state, job)
        if job.open_parents:
            jobs.move(state, job, JobState.BLOCKED, jobs.waits_for(job))
        else:
            jobs.enqueue(state, job, "retried by hand")


def _without_surplus(wanted: Sequence[Job]) -> list[Job]:
    """Those of a service as long as some of its instances are missing."""
    missing = {job.service: job.service.missing for job in wanted if job.service is not None}
    chosen = []
    for job in wanted:
        if job.service is None:
            chosen.append(job)
        elif missing[job.service] > 0:
            chosen.append(job)
            missing[job.service] -= 1
    return chosen


def _check_wanted(wanted: Sequence[Job]) -> None:
    if wanted and not _without_surplus(wanted):
        assert wanted[0].service is not None
        raise Conflict(f"service {wanted[0].service.key} has as many instances as are wanted")


def retry_dead(state: State) -> None:
    """Run every DEAD job again, but those that a DEAD or CANCELLED parent keeps from it; there may be none."""
    dead = _without_surplus([job for run in state.runs.values() if run.counts[JobState.DEAD] for job in _dead(run)])
    while True:
        returning = set(dead)
        able = [job for job in dead if all(p in returning for p in job.parents if p.state in LOST_CAUSE)]
        if len(able) == len(dead):
            break
        dead = able
    retry_jobs(state, dead)


def _dead(run: Run) -> list[Job]:
    return [job for job in run.jobs.values() if job.state is JobState.DEAD]


def _check_parents_return(wanted: set[Job]) -> None:
    for job in wanted:
        for parent in job.parents:
            if parent.state in LOST_CAUSE and parent not in wanted:
                raise Conflict(
                    f"job {job.key} depends on {parent.job_id}, which is {parent.state.value}; retry that one",
                    job=job.job_id,
                )


def _with_descendants(wanted: Sequence[Job], without: Container[Job] = ()) -> list[Job]:
    """`wanted`, and the CANCELLED jobs, but for these, all of whose DEAD and CANCELLED parents are in this list."""
    returning = dict.fromkeys(wanted)
    frontier = list(returning)
    missing: dict[Job, int] = {}  # how many such parents of a child are not known to return
    for job in frontier:
        for child in job.children:
            if child.state is not JobState.CANCELLED or child in returning or child in without:
                continue
            if child not in missing:
                missing[child] = sum(parent.state in LOST_CAUSE for parent in child.parents)
            missing[child] -= 1
            if not missing[child]:
                returning[child] = None
                frontier.append(child)
    return frontier


def cancel_with_descendants(state: State, job: Job, reason: str) -> None:
    """What is not final already; what runs is stopped first."""
    if job.state is JobState.RUNNING:
        attempts.end(state, job, JobState.CANCELLED, reason)
        jobs.cancel_waiting(state, job, f"parent {job.job_id} is CANCELLED")
    elif not job.final:
        jobs.finish(state, job, JobState.CANCELLED, reason)
