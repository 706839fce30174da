"""Graphs of 1,000, 10,000 and 100,000 jobs: accepting one, keeping it, and working it off.

Rows of ROW jobs; each job has two parents in the row above; one last job waits for the last row. The
workers are instant (see `instant`): no process is started, so that what is measured is the master. Each
graph gets a new master, and is accepted whole before there is a worker.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from titan_sdk import TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import cpu_s, resident_mb

SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (1_000, 10_000)
ROW = 100
WORKERS, SLOTS = 2, 4
LONGEST_S = 600.0


@dataclass(frozen=True)
class Passage:
    """What one graph cost."""

    accept_s: float
    accepted_mb: float
    """Resident memory of the master with the graph accepted, and nothing of it run."""
    ended_mb: float
    computed_s: float
    """CPU seconds of the master for working it off."""
    worked_s: float
    """From the start of the first job to the end of the last."""


def measure(plan: Plan) -> list[Figure]:
    sizes = QUICK_SIZES if plan.quick else SIZES
    passages = {size: _repeat(plan, size) for size in sizes}
    figures = [figure for size in sizes for figure in _figures(size, passages[size])]
    return [*figures, _growth(sizes[0], sizes[-1], passages)]


def _repeat(plan: Plan, size: int) -> list[Passage]:
    """Small graphs are over soon, and noisy: they are measured more often."""
    count = max(1, plan.rounds * SIZES[0] // size)
    passages = []
    for number in range(count):
        plan.say(f"graph of {size:,} jobs, round {number + 1} of {count}")
        passages.append(_pass(size))
    return passages


def _pass(size: int) -> Passage:
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        master = cluster.master.pid
        jobs = graph(size, str(OneFileJobs("shell", 0, cluster.home / "program").program))
        begun_at = time.perf_counter()
        handle = client.submit_dag("graph", jobs)
        accept_s = time.perf_counter() - begun_at
        accepted_mb, accepted_cpu_s = resident_mb(master), cpu_s(master)
        with companion(cluster, "instant", cluster.home, cluster.port, WORKERS, SLOTS):
            last = client.wait_for_job(f"{handle.run_id}/end", LONGEST_S)
            computed_s, ended_mb = cpu_s(master) - accepted_cpu_s, resident_mb(master)
        first = client.job(f"{handle.run_id}/job-0")
        return Passage(accept_s, accepted_mb, ended_mb, computed_s, last.finished_wall - first.started_wall)


def graph(size: int, program: str) -> list[TitanJob]:
    def parents(number: int) -> list[str]:
        above = number - ROW
        return [f"job-{above}", f"job-{above - above % ROW + (above + 1) % ROW}"] if above >= 0 else []

    jobs = [TitanJob(job_id=f"job-{n}", filename=program, parents=parents(n)) for n in range(size - 1)]
    last_row = [job.job_id for job in jobs[-ROW:]]
    return [*jobs, TitanJob(job_id="end", filename=program, parents=last_row)]


def _figures(size: int, passages: list[Passage]) -> list[Figure]:
    name, largest = f"{size:,}-job DAG", size == SIZES[-1]
    return [
        Figure(f"{name}: accepted in", "s", [p.accept_s for p in passages], [at_most(10), at_most(5)] * largest),
        Figure(f"{name}: master's memory then", "MB", [p.accepted_mb for p in passages], [at_most(300)] * largest),
        Figure(f"{name}: memory at the end", "MB", [p.ended_mb for p in passages], [at_most(300)] * largest),
        Figure(f"{name}: master's CPU per job", "µs", [_cost_us(p, size) for p in passages]),
        Figure(f"{name}: worked off, instant workers", "jobs/s", [size / p.worked_s for p in passages]),
    ]


def _growth(small: int, large: int, passages: dict[int, list[Passage]]) -> Figure:
    base_us = statistics.median(_cost_us(passage, small) for passage in passages[small])
    ratios = [_cost_us(passage, large) / base_us for passage in passages[large]]
    return Figure(f"CPU per job, {large:,} ÷ {small:,}", "×", ratios, [at_most(1.3)])


def _cost_us(passage: Passage, size: int) -> float:
    return passage.computed_s / size * 1e6
