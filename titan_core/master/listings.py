"""Lists of runs and jobs: what is in memory, and behind it what is history, from the store.

The lock is held for a few jobs at a time, so that a long list does not stop the cluster.
"""

from __future__ import annotations

import functools
import itertools
import math

from titan_core.errors import InvalidRequest
from titan_core.master.engine import Engine
from titan_core.master.views import Views
from titan_core.protocol import messages
from titan_core.protocol.checks import check_range
from titan_core.scheduler.model import Job, Run
from titan_core.scheduler.recovery import restore_run
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FINAL, JobState, RunState
from titan_core.store.history import History

JOBS_AT_ONCE = 500
"""Job states read under one hold of the lock; a longer list is read in several."""
MAX_LISTED = 1_000_000
"""Runs, or jobs, of one list."""


class Listings:
    def __init__(self, engine: Engine, history: History, views: Views) -> None:
        self._engine = engine
        self._history = history
        self._views = views

    def runs(self, request: messages.ListRuns) -> messages.RunList:
        """Newest first."""
        check_range(request.limit, 1, MAX_LISTED, "limit")
        _check_state(request.state, RunState)
        known, listed = self._engine.read(lambda state: self._runs_in_memory(state, request))
        oldest = listed[-1][0] if len(listed) == request.limit else 0
        found = self._history.runs(
            request.limit + len(known), request.state, request.name, oldest, request.from_wall, request.until_wall
        )
        past = [run for run in found if run.run_id not in known]
        origins = self._history.origins(run.sequence for run in past) if past else {}
        listed += [(run.sequence, self._views.past_run(run, origins.get(run.sequence))) for run in past]
        listed.sort(key=lambda entry: -entry[0])
        return messages.RunList(tuple(status for _, status in listed[: request.limit]))

    def jobs(self, request: messages.ListJobs) -> messages.JobList:
        """Oldest run first; of jobs in a final state, newest run first: there the latest matter most."""
        check_range(request.limit, 1, MAX_LISTED, "limit")
        _check_state(request.state, JobState)
        found = self._engine.read(lambda state: _jobs_in_memory(state, request))
        if request.state not in {state.value for state in FINAL}:
            return messages.JobList(self.statuses(found[: request.limit]), len(found))
        found.reverse()
        known = {job.key for job in found}
        keys, total = self._history.jobs(request.state, request.limit + len(known), request.services)
        past = [key for key in keys if "/".join(key) not in known][: max(0, request.limit - len(found))]
        jobs = found[: request.limit] + self._past_jobs(past)
        dead = request.state == JobState.DEAD.value  # how often it was tried is what people ask next
        return messages.JobList(self.statuses(jobs, attempts=dead), max(total, len(found)))

    def statuses(self, jobs: list[Job], attempts: bool = False) -> tuple[messages.JobStatus, ...]:
        """Each job as it is when it is read."""
        statuses: list[messages.JobStatus] = []
        for start in range(0, len(jobs), JOBS_AT_ONCE):
            some = jobs[start : start + JOBS_AT_ONCE]
            statuses += self._engine.read(functools.partial(self._read_jobs, some, attempts))
        return tuple(statuses)

    def _read_jobs(self, jobs: list[Job], attempts: bool, state: State) -> list[messages.JobStatus]:
        return [self._views.job(state, job, attempts) for job in jobs]

    def _runs_in_memory(
        self, state: State, request: messages.ListRuns
    ) -> tuple[set[str], list[tuple[int, messages.RunStatus]]]:
        """Every run id there is, and those runs that are asked for."""
        bounds = self._bounds(request)
        fits = (run for run in reversed(state.runs.values()) if _run_fits(run, request) and _went_on(run, *bounds))
        listed = [(run.sequence, self._views.run(run)) for run in itertools.islice(fits, request.limit)]
        return set(state.runs), listed

    def _bounds(self, request: messages.ListRuns) -> tuple[float, float]:
        """The instants that are asked for, on the clock of the model."""
        from_wall = self._engine.clock.from_wall
        until_at = from_wall(request.until_wall) if request.until_wall else math.inf
        return from_wall(request.from_wall) if request.from_wall else -math.inf, until_at

    def _past_jobs(self, keys: list[tuple[str, str]]) -> list[Job]:
        """Each run is read once, however the jobs of several that grew at the same time lie among each other."""
        read = map(self._history.run, dict(keys))
        runs = {stored.run.run_id: restore_run(stored) for stored in read if stored is not None}
        return [runs[run_id].jobs[job_id] for run_id, job_id in keys if run_id in runs]


def _run_fits(run: Run, request: messages.ListRuns) -> bool:
    return run.name.startswith(request.name) and request.state in ("", run.state.value)


def _went_on(run: Run, from_at: float, until_at: float) -> bool:
    """A run whose services go on does so, too."""
    over_at = math.inf if run.live_jobs or run.finished_at is None else run.finished_at
    return run.submitted_at < until_at and over_at >= from_at


def _jobs_in_memory(state: State, request: messages.ListJobs) -> list[Job]:
    """In the order of the runs; without a state those that are not over."""
    if request.state:
        wanted = JobState(request.state)
        found = (job for run in state.runs.values() if run.counts[wanted] for job in run.jobs.values())
        return [job for job in found if job.state is wanted and (job.spec.service or not request.services)]
    found = (job for run in state.runs.values() if run.live_jobs for job in run.jobs.values())
    return [job for job in found if not job.final and (job.spec.service or not request.services)]


def _check_state(state: str, states: type[RunState] | type[JobState]) -> None:
    names = [member.value for member in states]
    if state and state not in names:
        raise InvalidRequest(f"{state!r} is not a state; there are {', '.join(names)}", field="state")
