"""A project of 100 MB on its way to workers: how fast it comes, and that the master does not hold it in memory.

The content is random, so that nothing is saved by packing it. It is fetched with what a worker fetches with, over
loopback, into a file; then two workers with homes of their own run several jobs of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from titan_core.net.credentials import find_token
from titan_core.worker.fetch import fetch_from_master
from titan_sdk import TitanJob
from titan_test_suite.pytests.benchmarks.cluster import running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_least, at_most
from titan_test_suite.pytests.benchmarks.processes import MB
from titan_test_suite.pytests.support.cluster import Cluster

SIZE, QUICK_SIZE = 100 * MB, 10 * MB
JOBS = 8
LONGEST_S = 120.0


def measure(plan: Plan) -> list[Figure]:
    size = plan.size(SIZE, QUICK_SIZE)
    name = f"project of {size // MB} MB"
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        folder = cluster.home / "project"
        folder.mkdir()
        (folder / "data.bin").write_bytes(os.urandom(size))
        (folder / "main.sh").write_text("test -s data.bin\n")
        info = client.upload_project_folder(str(folder), "project")
        peak_mb = _peak_mb(cluster.master.pid)
        rates = []
        for number in range(plan.rounds):
            plan.say(f"{name}, round {number + 1} of {plan.rounds}")
            rates.append(size / MB / _fetch_s(cluster, info.sha256))
        homes = [cluster.home / f"home-{number}" for number in range(2)]
        for home in homes:
            home.mkdir()
            cluster.start_worker(home=home)
        plan.say(f"{JOBS} jobs of it on two workers")
        begun_at = time.perf_counter()
        jobs = [TitanJob(f"job-{number}", f"{info.name}/main.sh", is_archive=True) for number in range(JOBS)]
        client.submit_dag("project", jobs).result(LONGEST_S)
        ran_s = time.perf_counter() - begun_at
        grown_mb = _peak_mb(cluster.master.pid) - peak_mb
    return [
        Figure(f"{name}: fetched over loopback", "MB/s", rates, [at_least(200)]),
        Figure(f"{name}: {JOBS} jobs on two workers that have not got it", "s", [ran_s]),
        Figure(f"{name}: growth of the master's peak memory", "MB", [grown_mb], [at_most(16)]),
    ]


def _fetch_s(cluster: Cluster, sha256: str) -> float:
    token = find_token(home=cluster.home)
    begun_at = time.perf_counter()
    with open(cluster.home / "fetched", "wb") as file:
        fetch_from_master("127.0.0.1", cluster.port, token, sha256, file)
    return time.perf_counter() - begun_at


def _peak_mb(pid: int) -> float:
    """The most memory it ever had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / MB for line in lines if line.startswith("VmHWM"))
