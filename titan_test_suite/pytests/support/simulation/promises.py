"""Everything of a core that a crash must not change, once it is durable; field by field."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from math import inf
from typing import Any

from titan_core.scheduler.core import Core
from titan_core.scheduler.model import Attempt, Job, Run, Service, Worker
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.state import State
from titan_core.scheduler.states import JobState


def promised(core: Core, first_new: float = inf) -> dict[str, Any]:
    """Without the runs that this core began, which have this number or a later one."""
    state = core.state
    runs = [run for run in state.runs.values() if run.sequence < first_new]
    facts: dict[str, Any] = {f"run {run.run_id}": _run(run) for run in runs}
    for run in runs:
        facts.update((f"service {service.key}", _service(service)) for service in run.services.values())
        facts.update((f"job {job.key}", _job(job)) for job in run.jobs.values())
        facts.update((f"edges {job.key}", _edges(job)) for job in run.jobs.values())
    facts.update((f"worker {worker.worker_id}", _worker(worker)) for worker in state.workers.values())
    facts["attempts on workers"] = sorted(state.attempts)
    facts["given up, but still good"] = sorted(state.lost)
    return facts | _schedules(state, first_new)


def differences(before: dict[str, Any], after: dict[str, Any], edges: bool) -> list[str]:
    """What is not the same, and how. Runs that are over need not be in memory. `edges`: between runs, too."""
    both = [_runs(before), _runs(after)]
    common = set(both[0]) & set(both[1])
    found = [f"{run} is not over, and there only once" for runs in both for run in runs.keys() - common if runs[run]]
    for name in dict.fromkeys([*before, *after]):
        kind, _, key = name.partition(" ")
        of_a_run = kind in ("run", "job", "service", "edges")
        if (of_a_run and key.partition("/")[0] not in common) or (kind == "edges" and not edges):
            continue
        was, became = before.get(name), after.get(name)
        if kind == "edges":
            was, became = _between(was, common), _between(became, common)
        if was != became and not (kind == "past" and set(was) <= set(became)):  # more may have passed meanwhile
            found.append(f"{name}:\n  {was}\n  {became}")
    return found


def _runs(facts: dict[str, Any]) -> dict[str, int]:
    """How many jobs of each run are alive."""
    return {name.removeprefix("run "): run[0] for name, run in facts.items() if name.startswith("run ")}


def _schedules(state: State, first_new: float) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, schedule in state.schedules.items():
        facts[f"schedule {name}"] = _schedule(schedule)
        facts[f"waits {name}"] = sorted(map(_fire, schedule.waiting))
        facts[f"past {name}"] = sorted(map(_fire, schedule.made_up))
    for name, live in state.live_fires.items():
        going_on = [(run.run_id, _fire(fire)) for run, fire in live.items() if run.sequence < first_new]
        if going_on:
            facts[f"live {name}"] = sorted(going_on)
    return facts


def _run(run: Run) -> tuple[Any, ...]:
    counts = tuple(run.counts[state] for state in JobState)
    named = (run.name, run.secret, run.sequence, run.submitted_at, sorted(run.requests))
    return (run.live_jobs, *named, run.finished_at, run.state, run.version, run.open_jobs, counts, list(run.jobs))


def _job(job: Job) -> tuple[Any, ...]:
    asked = (job.spec, job.submitted_at, job.sequence, job.spawner_worker_id)
    waits_for = None if job.final else job.open_parents
    place = (
        job.state,
        job.reason,
        job.changed_version,
        job.ending,
        waits_for,
        job.satisfied,
        job.ready,
        job.revision,
    )
    books = (job.failures, job.losses, job.crashes, job.attempts_before)
    times = (job.due_at, job.started_at, job.finished_at)
    return asked, place, books, times, list(map(_attempt, job.attempts))


def _between(edges: list[str] | None, runs: Container[str]) -> list[str]:
    """Those edges that lead to jobs of these runs. Not all that is history is loaded, and so need not be linked."""
    return [edge for edge in edges or () if edge.partition(" ")[2].partition("/")[0] in runs]


def _edges(job: Job) -> list[str]:
    return sorted([f"after {p.key}" for p in job.parents] + [f"before {c.key}" for c in job.children])


def _attempt(attempt: Attempt) -> tuple[Any, ...]:
    ended = (attempt.finished_at, attempt.outcome, attempt.exit_code, attempt.reason, attempt.peak_memory)
    return (
        attempt.number,
        attempt.token,
        attempt.worker_id,
        attempt.started_at,
        *ended,
        attempt.stopping,
        attempt.ready,
        attempt.port,
    )


def _service(service: Service) -> tuple[Any, ...]:
    """Definitions that nobody has, or may get, any more need not be known."""
    wanted = (service.wanted, service.revision, service.rolling, service.fallback, service.note)
    needed = {service.revision, service.fallback, *(job.revision for job in service.instances)}
    specs = {revision: spec for revision, spec in service.specs.items() if revision in needed}
    surge = service.surge.key if service.surge is not None else ""
    return service.head.key, wanted, surge, sorted(specs.items()), [job.key for job in service.instances]


def _schedule(schedule: Schedule) -> tuple[Any, ...]:
    """Which slots were decided on is seen by what becomes of them."""
    times = (schedule.created_wall, schedule.updated_wall)
    paused = (schedule.paused, schedule.pause_reason)
    return schedule.definition, schedule.secret, schedule.revision, times, paused, schedule.last_trigger


def _fire(fire: Fire) -> tuple[Any, ...]:
    return fire.kind.value, fire.slot, fire.outcome.value, fire.reason, fire.run_id, fire.made_up


def _worker(worker: Worker) -> tuple[Any, ...]:
    """Who started it, and what its machine has, it says itself when it is back."""
    return replace(worker.info, parent="", cpu_count=1), worker.held, sorted(worker.running), sorted(worker.services)
