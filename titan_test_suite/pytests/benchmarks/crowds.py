"""Large numbers: 500 workers, and a million jobs in the queue. The workers are instant (see `instant`).

500 workers are compared with two, in turns within a round; the companion that holds their sessions shares the
machine, so that the figure is what the machine does, not what the master could do alone. The million jobs come in
runs of 100,000; a worker then takes a few thousand of them, to see that one costs what it costs in a short queue.
"""

from __future__ import annotations

import time

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_least, at_most
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import busy_percent, cpu_s, resident_mb
from titan_test_suite.pytests.support.waiting import wait_until

CROWD, FEW, SLOTS = 500, 2, 4
JOBS = 20_000
QUEUED, AT_ONCE = 1_000_000, 100_000
TAKEN = 5_000
"""Jobs of the queue that are run."""
SETTLE_S = 2.0
LONGEST_S = 600.0
TWO = f"{FEW} workers"
SHORT = f"a queue of {AT_ONCE // 10:,}"


def measure(plan: Plan) -> list[Figure]:
    return [*_workers(plan), *_queue(plan)]


# ── many workers ──────────────────────────────────────────────────────────────────────────────────


def _workers(plan: Plan) -> list[Figure]:
    many, few, rest = [], [], []
    for number in range(plan.rounds):
        plan.say(f"{CROWD} workers and {FEW}, round {number + 1} of {plan.rounds}")
        rate, idle = _rate(plan, CROWD)
        many.append(rate)
        rest.append(idle)
        few.append(_rate(plan, FEW)[0])
    return [
        Figure(f"{CROWD} instant workers", "jobs/s", many, [at_least(0.8, TWO)], {TWO: few}),
        Figure(f"{CROWD} workers at rest: master's CPU", "% of a core", rest, [at_most(5)]),
    ]


def _rate(plan: Plan, workers: int) -> tuple[float, float]:
    """Jobs per second with so many workers, and what the master computes before, in % of a core."""
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        program = str(OneFileJobs("shell", 0, cluster.home / "program").program)
        with companion(cluster, "instant", cluster.home, cluster.port, workers, SLOTS):
            wait_until(lambda: len(client.workers()) == workers, 60)
            time.sleep(SETTLE_S)
            [idle] = busy_percent([cluster.master.pid], plan.size(10, 3))
            jobs = plan.size(JOBS, JOBS // 10)
            handle = client.submit_dag("many", [TitanJob(f"job-{number}", program) for number in range(jobs)])
            done = handle.result(LONGEST_S).jobs
    return jobs / (max(job.finished_wall for job in done) - min(job.started_wall for job in done)), idle


# ── many jobs ─────────────────────────────────────────────────────────────────────────────────────


def _queue(plan: Plan) -> list[Figure]:
    """Once: it takes its time, and what is looked for is a cost that grows with the queue."""
    queued = plan.size(QUEUED, AT_ONCE)
    plan.say(f"a queue of {queued:,} jobs")
    accepted_s, memory_mb, cost_us = _queued(queued, AT_ONCE)
    plan.say(SHORT)
    _, _, short_us = _queued(AT_ONCE // 10, AT_ONCE // 10)
    name = f"{queued:,} queued jobs"
    return [
        Figure(f"{name}: accepted in", "s", [accepted_s]),
        Figure(f"{name}: master's memory", "MB", [memory_mb]),
        Figure(f"{name}: CPU for a job that runs", "µs", [cost_us], [at_most(1.3, SHORT)], {SHORT: [short_us]}),
    ]


def _queued(jobs: int, at_once: int) -> tuple[float, float, float]:
    """Seconds until all are accepted, MB of the master then, and µs of its CPU for each of those that are run."""
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        program = str(OneFileJobs("shell", 0, cluster.home / "program").program)
        begun_at = time.perf_counter()
        for number in range(0, jobs, at_once):
            client.submit_dag(f"queue-{number}", [TitanJob(f"job-{number}", program) for number in range(at_once)])
        accepted_s, memory_mb = time.perf_counter() - begun_at, resident_mb(cluster.master.pid)
        with companion(cluster, "instant", cluster.home, cluster.port, FEW, SLOTS):
            wait_until(lambda: _over(client) > 0, 60)
            before, before_s = _over(client), cpu_s(cluster.master.pid)
            wait_until(lambda: _over(client) >= before + TAKEN, LONGEST_S)
            cost_us = 1e6 * (cpu_s(cluster.master.pid) - before_s) / (_over(client) - before)
    return accepted_s, memory_mb, cost_us


def _over(client: TitanClient) -> int:
    return next((one.count for one in client.cluster().counts if one.state == "COMPLETED"), 0)
