"""The dependency graph: is a set of new jobs sound, and who waits for whom.

Checked as a whole before anything is queued. New jobs may have parents that exist already, never
the other way round, so a cycle lies among the new jobs alone.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from titan_core.errors import InvalidGraph
from titan_core.scheduler.model import Job, JobSpec
from titan_core.scheduler.states import JobState

FindJob = Callable[[str], Job | None]
"""An existing job by the name a parent list uses: a job id of the same run, or `<run id>/<job id>`."""


def check(specs: Sequence[JobSpec], find: FindJob) -> None:
    """Raises InvalidGraph, with `job` in its details, for a duplicate, an unknown parent or a cycle (named)."""
    ids = _check_duplicates(specs, find)
    named_before: set[str] = set()
    in_order = True
    for spec in specs:
        for parent in spec.parents:
            if parent in named_before:
                continue
            if parent in ids:
                in_order = False
            elif find(parent) is None:
                raise InvalidGraph(
                    f"job {spec.job_id!r} depends on {parent!r}, which is neither in this submission nor in its run",
                    job=spec.job_id,
                )
        named_before.add(spec.job_id)
    if in_order:  # each after its parents: there can be no cycle
        return
    cycle = find_cycle({spec.job_id: [p for p in spec.parents if p in ids] for spec in specs if spec.parents})
    if cycle:
        raise InvalidGraph(f"cycle: {' → '.join(_shortened(cycle))}", job=cycle[0])


def find_cycle(parents: dict[str, list[str]]) -> list[str]:
    """A cycle as a path that ends where it began, each job depending on the next; empty when there is none. A job
    that is not among the keys has no parents."""
    settled: set[str] = set()
    for start, its_parents in parents.items():
        if settled.issuperset(its_parents):  # nearly always, where jobs are named after their parents
            settled.add(start)
        elif path := _walk(start, parents, settled):
            return path
    return []


def _walk(start: str, parents: dict[str, list[str]], settled: set[str]) -> list[str]:
    """Depth first from `start`, without recursion; jobs on no cycle are added to `settled`."""
    path, on_path = [start], {start}
    pending = [iter(parents[start])]
    while path:
        parent = next((p for p in pending[-1] if p not in settled), None)
        if parent is None:
            settled.add(path[-1])
            on_path.discard(path.pop())
            pending.pop()
        elif parent in on_path:
            return [*path[path.index(parent) :], parent]
        else:
            path.append(parent)
            on_path.add(parent)
            pending.append(iter(parents.get(parent, ())))
    return []


def _check_duplicates(specs: Sequence[JobSpec], find: FindJob) -> set[str]:
    """The ids of the jobs."""
    seen: set[str] = set()
    for spec in specs:
        if spec.job_id in seen:
            raise InvalidGraph(f"job id {spec.job_id!r} is used twice in this submission", job=spec.job_id)
        if find(spec.job_id) is not None:
            raise InvalidGraph(f"job id {spec.job_id!r} exists already in this run", job=spec.job_id)
        seen.add(spec.job_id)
    return seen


def _shortened(cycle: list[str]) -> list[str]:
    return cycle if len(cycle) <= 20 else [*cycle[:10], f"… {len(cycle) - 19} more …", *cycle[-9:]]


def link(job: Job, parents: Sequence[Job]) -> None:
    """Make `job` wait for those of `parents` that are not satisfied yet."""
    job.parents = tuple(dict.fromkeys(parents))
    job.open_parents = 0
    for parent in job.parents:
        parent.children.append(job)
        job.open_parents += not parent.satisfied


def descendants(job: Job, states: Container[JobState]) -> list[Job]:
    """The jobs in `states` that depend on `job`, directly or through others in `states`; nearest first."""
    found: dict[Job, None] = {}
    frontier = [job]
    for current in frontier:
        for child in current.children:
            if child.state in states and child not in found:
                found[child] = None
                frontier.append(child)
    return list(found)
