"""100,000 Python jobs in runs of ten: what master and worker have in memory does not grow.

It is measured once a fifth of the runs are over, when whatever remembers a number of things (the master: 1,000 runs)
has that number, and again at the end. The processes that a worker keeps to start jobs belong to it.
"""

from __future__ import annotations

from collections import deque

import psutil

from titan_sdk.handles import RunHandle
from titan_test_suite.pytests.benchmarks.cluster import running_cluster, submit
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import MB, resident_mb
from titan_test_suite.pytests.support.cluster import Cluster

RUNS, QUICK_RUNS, JOBS = 10_000, 200, 10
AT_ONCE = 20
"""Runs that are on their way."""
LONGEST_S = 120.0


def measure(plan: Plan) -> list[Figure]:
    runs = plan.size(RUNS, QUICK_RUNS)
    first = runs // 5
    with running_cluster() as cluster, cluster.client() as client:
        jobs = OneFileJobs("python", JOBS, cluster.home / "jobs")
        resident, under_way = [], deque[RunHandle]()
        for count in (first, runs - first):
            plan.say(f"{count:,} runs of {JOBS} Python jobs")
            for _ in range(count):
                under_way.append(submit(client, "endurance", jobs))
                if len(under_way) == AT_ONCE:
                    under_way.popleft().result(LONGEST_S)
            while under_way:  # a job that runs is no growth
                under_way.popleft().result(LONGEST_S)
            resident.append(_resident_mb(cluster))
    name = f"growth of memory over {(runs - first) * JOBS:,} jobs"
    return [
        Figure(f"{kind}: {name}", "MB", [late - early], [at_most(5)])
        for kind, early, late in zip(("master", "worker"), *resident, strict=True)
    ]


def _resident_mb(cluster: Cluster) -> tuple[float, float]:
    """Of the master, and of the first worker with what it has started."""
    worker = psutil.Process(cluster.workers[0].pid)
    below = sum(child.memory_info().rss for child in worker.children(recursive=True)) / MB
    return resident_mb(cluster.master.pid), resident_mb(worker.pid) + below
