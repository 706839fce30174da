"""Runs that are over: kept for a while, then forgotten, the oldest first."""

from __future__ import annotations

from collections.abc import Iterable

from titan_core.scheduler.actions import DeleteRun, ForgetRun
from titan_core.scheduler.model import Job, Run
from titan_core.scheduler.state import State

DELETED_KNOWN = 20_000
"""So many deleted runs are remembered: more than can be deleted while somebody has one in his hands."""


def retire(state: State, run: Run) -> None:
    """Nothing of the run is alive: keep it for a while, and let the oldest such runs go."""
    state.over.append(run)
    state.jobs_over += len(run.jobs)
    settings = state.settings
    while len(state.over) > settings.runs_kept or (state.jobs_over > settings.jobs_kept and len(state.over) > 1):
        forgotten = state.over.popleft()
        state.jobs_over -= len(forgotten.jobs)
        _forget(state, forgotten)


def revive(state: State, jobs: Iterable[Job]) -> None:
    """Runs of retried jobs are not over any more."""
    for run in {job.run for job in jobs}:
        if run.live_jobs == 0:
            state.over.remove(run)
            state.jobs_over -= len(run.jobs)


def on_expired(state: State, run_ids: Iterable[str]) -> None:
    """Have these runs deleted; a live one, such as one that a person has just retried, stays."""
    for run_id in run_ids:
        run = state.runs.get(run_id)
        if run is not None and run.live_jobs:
            continue
        if run is not None:
            state.over.remove(run)
            state.jobs_over -= len(run.jobs)
            _forget(state, run)
        state.deleted[run_id] = None
        state.act(DeleteRun(run_id))
    while len(state.deleted) > DELETED_KNOWN:
        del state.deleted[next(iter(state.deleted))]


def _forget(state: State, run: Run) -> None:
    del state.runs[run.run_id]
    for request_id in run.requests:
        state.requests.pop(request_id, None)
    for job in run.jobs.values():
        _part_from_parents(job)
    state.forgotten.append((state.generation, run))
    state.generation += 1
    state.act(ForgetRun(run.run_id))


def begin_reading(state: State) -> int:
    """From now on until `end_reading` of what this returns, runs that are forgotten stay whole."""
    state.reading[state.generation] = state.reading.get(state.generation, 0) + 1
    return state.generation


def end_reading(state: State, generation: int) -> None:
    state.reading[generation] -= 1
    if not state.reading[generation]:
        del state.reading[generation]


def take_apart(state: State) -> None:
    """The runs that earlier steps forgot know their jobs no more, nor do those their attempts: their memory is free
    at once, where the interpreter's collector would come for such a circle after very many others. Not in the step
    that forgets them, whose rows are still to be made, and not while somebody may have one in his hands."""
    while state.forgotten and state.forgotten[0][0] < next(iter(state.reading), state.generation):
        _take_apart(state.forgotten.popleft()[1])


def _take_apart(run: Run) -> None:
    for job in run.jobs.values():
        job.service = None
        if all(child.run is run for child in job.children):  # affinity asks where a parent ran
            job.attempts.clear()
    run.jobs.clear()
    run.changes.clear()
    run.services.clear()


def _part_from_parents(job: Job) -> None:
    """Neither does a parent in another run go on knowing the job, nor does the job keep that run in memory."""
    for parent in job.parents:
        if parent.run is not job.run:
            parent.children.remove(job)
    job.parents = ()
