"""What a cluster costs that has nothing to do: start-up, memory, CPU.

Start-up of the master is from starting the process until it accepts connections, of a worker until it is
registered; beside it, what a Python costs that does nothing. Both are looked for every 5 ms.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from titan_test_suite.pytests.benchmarks.cluster import running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most
from titan_test_suite.pytests.benchmarks.processes import busy_percent, resident_mb
from titan_test_suite.pytests.support.cluster import Cluster

SETTLE_S = 1.0
BARE = "python -c ''"


def measure(plan: Plan) -> list[Figure]:
    return [*_start_up(plan), *_at_rest(plan)]


def _start_up(plan: Plan) -> list[Figure]:
    bare, master, worker = [], [], []
    for number in range(plan.rounds):
        plan.say(f"start-up, round {number + 1} of {plan.rounds}")
        with tempfile.TemporaryDirectory(prefix="titan-bench-") as home:
            begun_at = time.perf_counter()
            subprocess.run([sys.executable, "-c", ""], check=True)
            bare.append(_ms_since(begun_at))
            begun_at = time.perf_counter()
            with Cluster(Path(home)) as cluster:
                master.append(_ms_since(begun_at))
                begun_at = time.perf_counter()
                cluster.start_worker()
                worker.append(_ms_since(begun_at))
    return [
        Figure("master: start-up", "ms", master, [at_most(300)], beside={BARE: bare}),
        Figure("worker: start-up", "ms", worker, beside={BARE: bare}),
    ]


def _at_rest(plan: Plan) -> list[Figure]:
    seconds = plan.size(20, 10)
    with running_cluster() as cluster:
        pids = cluster.master.pid, cluster.workers[0].pid
        plan.say(f"doing nothing for {seconds} s")
        time.sleep(SETTLE_S)
        busy = busy_percent(pids, seconds)
        resident = list(map(resident_mb, pids))
    return [
        Figure("master: CPU at rest", "% of a core", [busy[0]], [at_most(0.3)]),
        Figure("worker: CPU at rest", "% of a core", [busy[1]]),
        Figure("master: memory at rest", "MB", [resident[0]], [at_most(60)]),
        Figure("worker: memory at rest", "MB", [resident[1]], [at_most(45)]),
    ]


def _ms_since(begun_at: float) -> float:
    return 1000 * (time.perf_counter() - begun_at)
