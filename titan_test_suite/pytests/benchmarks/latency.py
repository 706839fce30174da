"""One job on an idle cluster: from calling `submit_job` until the client knows its final state."""

from __future__ import annotations

import time
from dataclasses import replace

from titan_sdk import TitanClient
from titan_test_suite.pytests.benchmarks.cluster import running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most, p50_and_p99
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs

WARM_UP = 5
LONGEST_S = 30.0
P50 = "its p50"
WANTED_P50 = {"shell": (at_most(15), at_most(6)), "python": (at_most(10),)}


def measure(plan: Plan) -> list[Figure]:
    return [*_measure_kind(plan, "shell", plan.size(100, 20)), *_measure_kind(plan, "python", plan.size(50, 10))]


def _measure_kind(plan: Plan, kind: str, count: int) -> list[Figure]:
    rounds: list[list[float]] = []
    with running_cluster() as cluster, cluster.client() as client:
        _one_by_one(client, OneFileJobs(kind, WARM_UP, cluster.home / "warm-up"))
        for number in range(plan.rounds):
            plan.say(f"latency, {count} {kind} jobs one by one, round {number + 1} of {plan.rounds}")
            rounds.append(_one_by_one(client, OneFileJobs(kind, count, cluster.home / f"round-{number}")))
    p50, p99 = p50_and_p99(f"submit → done, {kind}, idle cluster", rounds, WANTED_P50[kind])
    return [p50, replace(p99, wanted=[at_most(3, P50)], beside={P50: p50.samples})]


def _one_by_one(client: TitanClient, jobs: OneFileJobs) -> list[float]:
    """Seconds of each job."""
    taken_s = []
    for output in jobs.outputs:
        begun_at = time.perf_counter()
        client.submit_job(filename=str(jobs.program), args=[output]).result(LONGEST_S)
        taken_s.append(time.perf_counter() - begun_at)
    jobs.check()
    return taken_s
