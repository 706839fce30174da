"""The shortest request there is (GET_JOB_STATUS, over a connection that is open), idle and under load.

Under load, requests are a few milliseconds apart: a client that never pauses would measure its own queue.
"""

from __future__ import annotations

import time

from titan_sdk import TitanClient
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most, p50_and_p99
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.support.cluster import Cluster

RATE = 500
"""Shell jobs per second while the loaded round trips are taken, if the cluster can do so many."""
APART_S = 0.005
SETTLE_S = 1.0
"""The load runs this long before anything is measured."""


def measure(plan: Plan) -> list[Figure]:
    with running_cluster() as cluster, cluster.client() as client:
        jobs = OneFileJobs("shell", 1, cluster.home / "load")
        handle = client.submit_job(filename=str(jobs.program), args=jobs.outputs)
        handle.result(30)
        idle = _idle(plan, client, handle.key)
        loaded, rates = _loaded(plan, cluster, client, handle.key, jobs)
    return [
        *p50_and_p99("round trip, idle", idle, [at_most(0.3)]),
        *p50_and_p99("round trip under load", loaded, [], [at_most(20)]),
        Figure("  the load that was reached", "jobs/s", rates),
    ]


def _idle(plan: Plan, client: TitanClient, key: str) -> list[list[float]]:
    plan.say(f"round trip, idle, {plan.rounds} rounds")
    return [[_ask(client, key) for _ in range(plan.size(1000, 200))] for _ in range(plan.rounds)]


def _loaded(
    plan: Plan, cluster: Cluster, client: TitanClient, key: str, jobs: OneFileJobs
) -> tuple[list[list[float]], list[float]]:
    """Round trips, and jobs done per second while they were taken, by round."""
    arguments = (cluster.home, cluster.port, RATE, jobs.program, jobs.outputs[0])
    rounds, rates = [], []
    with companion(cluster, "load", *arguments):
        time.sleep(SETTLE_S)
        for number in range(plan.rounds):
            plan.say(f"round trip at {RATE} jobs/s, round {number + 1} of {plan.rounds}")
            done, begun_at = _completed(client), time.perf_counter()
            rounds.append([_ask_after_a_pause(client, key) for _ in range(plan.size(400, 100))])
            rates.append((_completed(client) - done) / (time.perf_counter() - begun_at))
    return rounds, rates


def _ask(client: TitanClient, key: str) -> float:
    begun_at = time.perf_counter()
    client.get_job_status(key)
    return time.perf_counter() - begun_at


def _ask_after_a_pause(client: TitanClient, key: str) -> float:
    time.sleep(APART_S)
    return _ask(client, key)


def _completed(client: TitanClient) -> int:
    return int(client.stats()["jobs"].get("COMPLETED", 0))
