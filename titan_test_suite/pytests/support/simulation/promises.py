"""Everything of a core that a crash must not change, once it is durable; field by field."""

from __future__ import annotations

from typing import Any

from titan_core.scheduler.core import Core
from titan_core.scheduler.model import Attempt, Job, JobState, Run, Worker


def promised(core: Core) -> dict[str, Any]:
    state = core.state
    facts: dict[str, Any] = {run.run_id: _run(run) for run in state.runs.values()}
    for run in state.runs.values():
        facts.update((job.key, _job(job)) for job in run.jobs.values())
    facts.update((f"worker {worker.worker_id}", _worker(worker)) for worker in state.workers.values())
    facts["attempts on workers"] = sorted(state.attempts)
    facts["given up, but still good"] = sorted(state.lost)
    facts["requests"] = dict(sorted(state.requests.items()))
    facts["over"] = sorted(run.run_id for run in state.over), state.jobs_over
    return facts


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not the same, and how."""
    names = [*before, *(name for name in after if name not in before)]
    return [f"{n}:\n  {before.get(n)}\n  {after.get(n)}" for n in names if before.get(n) != after.get(n)]


def _run(run: Run) -> tuple[Any, ...]:
    counts = tuple(run.counts[state] for state in JobState)
    named = (run.name, run.secret, run.sequence, run.submitted_at, sorted(run.requests))
    return (*named, run.finished_at, run.state, run.version, run.open_jobs, counts, list(run.jobs))


def _job(job: Job) -> tuple[Any, ...]:
    asked = (job.spec, job.submitted_at, job.sequence, job.spawner_worker_id, sorted(p.key for p in job.parents))
    place = (job.state, job.reason, job.changed_version, job.ending, job.open_parents, job.satisfied, job.up)
    books = (job.failures, job.losses, job.crashes, job.attempts_before)
    times = (job.due_at, job.started_at, job.finished_at)
    return asked, place, books, times, sorted(c.key for c in job.children), list(map(_attempt, job.attempts))


def _attempt(attempt: Attempt) -> tuple[Any, ...]:
    ended = (attempt.finished_at, attempt.outcome, attempt.exit_code, attempt.reason, attempt.peak_memory)
    return attempt.number, attempt.token, attempt.worker_id, attempt.started_at, *ended, attempt.stopping, attempt.up


def _worker(worker: Worker) -> tuple[Any, ...]:
    return worker.info, worker.held, sorted(worker.running), sorted(worker.services)
