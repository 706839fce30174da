"""From what a user types to the run or job that is meant.

A key is `<run id>/<job id>`, a job id, a run id, `last`, a pipeline's name, or a unique prefix of an id.
Where several fit, the newest is meant for a name or a full job id, and a prefix is refused. The `DAG-`
prefix of text clients is accepted in front of job ids. All functions read the State under the engine's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.checks import shown
from titan_core.protocol.text import ID_PREFIX
from titan_core.scheduler.model import Job, Run, Worker
from titan_core.scheduler.state import State

T = TypeVar("T")

_NAMED = 5


def find_run(state: State, key: str) -> Run:
    """The run that `key` names. Raises NotFound, or InvalidRequest for a prefix that fits several."""
    run = _run_or_none(state, key)
    if run is None:
        raise NotFound(f"there is no run {shown(key)}; `titan ls` shows the runs there are")
    return run


def find_job(state: State, key: str) -> Job:
    """The job that `key` names. Raises NotFound, or InvalidRequest for a key that fits several."""
    run_key, separator, job_key = key.partition("/")
    if separator:
        return _in_run(find_run(state, run_key), job_key)
    job = _newest_job(state, key)
    if job is None:
        run = _run_or_none(state, key)
        job = _only_job(run) if run else _by_prefix(state, key)
    if job is None:
        raise NotFound(f"there is no job {shown(key)}; `titan ls` shows the runs, `titan ls RUN` the jobs of one")
    return job


def find_run_or_job(state: State, key: str) -> tuple[Run, Job | None]:
    """What `key` names: a whole run (its id, or `last`), a job, or a run by its name or a prefix, in this order."""
    if key in state.runs or key == "last":
        return find_run(state, key), None
    job = None if "/" in key else _newest_job(state, key)
    if job is None and "/" not in key and (run := _run_or_none(state, key)) is not None:
        return run, None
    job = job or find_job(state, key)
    return job.run, job


def find_worker(state: State, key: str) -> Worker:
    """The worker that `key` names: `host:port`, a port, `localhost:port`, or a unique prefix."""
    if key in state.workers:
        return state.workers[key]
    port = key.rpartition(":")[2]
    fits = [w for w in state.workers.values() if w.worker_id.startswith(key)] if key else []
    if not fits and (key == port or key.startswith(("localhost:", "127.0.0.1:"))):
        fits = [w for w in state.workers.values() if w.worker_id.rpartition(":")[2] == port]
    if not fits:
        known = ", ".join(sorted(state.workers)[:_NAMED]) or "none is connected"
        raise NotFound(f"there is no worker {shown(key)}; there is: {known}")
    return _unique(fits, key, (w.worker_id for w in fits))


def _run_or_none(state: State, key: str) -> Run | None:
    if key in state.runs:
        return state.runs[key]
    newest = reversed(state.runs.values())
    if key == "last":
        return next(newest, None)
    named = next((run for run in newest if run.name == key), None)
    if named is not None or not key:
        return named
    fits = [run for run in state.runs.values() if run.run_id.startswith(key)]
    return _unique(fits, key, (run.run_id for run in fits)) if fits else None


def _newest_job(state: State, key: str) -> Job | None:
    """The job of exactly this id in the newest run that has one."""
    for name in (key, key.removeprefix(ID_PREFIX)):
        for run in reversed(state.runs.values()):
            if name in run.jobs:
                return run.jobs[name]
    return None


def _only_job(run: Run) -> Job:
    if len(run.jobs) != 1:
        raise InvalidRequest(f"run {run.run_id} has {len(run.jobs)} jobs; name one as {run.run_id}/<job id>")
    return next(iter(run.jobs.values()))


def _in_run(run: Run, key: str) -> Job:
    for name in (key, key.removeprefix(ID_PREFIX)):
        if name in run.jobs:
            return run.jobs[name]
    fits = [job for job in run.jobs.values() if job.job_id.startswith(key)] if key else []
    if not fits:
        raise NotFound(f"run {run.run_id} has no job {shown(key)}; `titan ls {run.run_id}` shows its jobs")
    return _unique(fits, key, (job.job_id for job in fits))


def _by_prefix(state: State, key: str) -> Job | None:
    """The job whose id begins so, in the newest run that has one."""
    for run in reversed(state.runs.values()) if key else ():
        fits = [job for job in run.jobs.values() if job.job_id.startswith(key)]
        if fits:
            return _unique(fits, key, (job.job_id for job in fits))
    return None


def _unique(fits: list[T], key: str, names: Iterable[str]) -> T:
    if len(fits) == 1:
        return fits[0]
    some = ", ".join(list(names)[:_NAMED])
    raise InvalidRequest(f"{shown(key)} fits {len(fits)}: {some}{', …' * (len(fits) > _NAMED)}; give more of it")
