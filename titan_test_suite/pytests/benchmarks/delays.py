"""Delayed jobs: how long after the instant they were due they reach a worker.

The master says when each is due, an instant worker (see `instant`) when it came. Due instants are spread
evenly, so that each finds the master asleep.
"""

from __future__ import annotations

from pathlib import Path

from titan_sdk import TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most, p50_and_p99
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

FIRST_MS, APART_MS = 1000, 10
"""The first job is due late enough for all due instants to be asked for before."""
SLOTS = 64


def measure(plan: Plan) -> list[Figure]:
    rounds = []
    for number in range(plan.rounds):
        plan.say(f"delayed jobs, round {number + 1} of {plan.rounds}")
        rounds.append(_lateness_s(plan.size(200, 50)))
    return p50_and_p99("delayed job, due → on the worker", rounds, [], [at_most(5)])


def _lateness_s(count: int) -> list[float]:
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        record = cluster.home / "came"
        with companion(cluster, "instant", cluster.home, cluster.port, 1, SLOTS, record):
            wait_until(lambda: client.workers(), 20)
            handle = client.submit_dag("delayed", _jobs(cluster, count))
            due_wall = {job.job_id: job.due_wall for job in handle.jobs()}
            handle.result(60)
        return [came_wall - due_wall[job_id] for job_id, came_wall in _came(record).items()]


def _jobs(cluster: Cluster, count: int) -> list[TitanJob]:
    program = str(OneFileJobs("shell", 0, cluster.home / "program").program)
    return [TitanJob(job_id=f"job-{n}", filename=program, delay=FIRST_MS + APART_MS * n) for n in range(count)]


def _came(record: Path) -> dict[str, float]:
    lines = [line.split() for line in record.read_text().splitlines()]
    return {job_id: float(instant) for job_id, instant in lines}
