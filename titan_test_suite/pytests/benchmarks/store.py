"""What it costs that every step is on disk, and how soon a master with much on its disk hands out jobs again.

The store is compared with `--in-memory`, the same master that writes nothing; the two take turns. The
restart is a `kill -9` with a whole graph accepted and none of its jobs begun: what counts is the time from the
start of the new master's process to the start of the first attempt, with the start of the workers in it.
"""

from __future__ import annotations

import time

from titan_test_suite.pytests.benchmarks import peers
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster, submit
from titan_test_suite.pytests.benchmarks.dag import SLOTS, WORKERS, graph
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_least, at_most
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import Meter
from titan_test_suite.pytests.support.waiting import wait_until

IN_MEMORY = "in memory"
LONGEST_S = 120.0


def measure(plan: Plan) -> list[Figure]:
    count, stored = plan.size(2000, 400), plan.size(100_000, 5_000)
    rates: dict[str, list[float]] = {"store": [], IN_MEMORY: []}
    for number in range(plan.rounds):
        kinds = list(rates) if number % 2 else list(reversed(rates))  # another one begins each round
        for kind in kinds:
            plan.say(f"store, {count} shell jobs, round {number + 1} of {plan.rounds}: {kind}")
            rates[kind].append(_rate(count, ["--in-memory"] * (kind == IN_MEMORY)))
    restarts = []
    for number in range(max(1, plan.rounds // 2)):
        plan.say(f"restart with {stored:,} stored jobs, round {number + 1}")
        restarts.append(_restart_s(stored))
    name = f"{count:,} shell jobs, stored"
    beside = {IN_MEMORY: rates[IN_MEMORY]}
    return [
        Figure(name, "jobs/s", rates["store"], [at_least(0.8, IN_MEMORY)], beside),
        Figure(f"{stored:,} stored jobs: killed to dispatching", "s", restarts, [at_most(3)]),
    ]


def _rate(count: int, flags: list[str]) -> float:
    with running_cluster(2, *flags) as cluster, cluster.client() as client:
        warm_up = OneFileJobs("shell", peers.WARM_UP, cluster.home / "warm-up")
        submit(client, "warm-up", warm_up).result(peers.LONGEST_S)
        jobs = OneFileJobs("shell", count, cluster.home / "measured")
        with Meter() as meter:
            submit(client, "measured", jobs).result(peers.LONGEST_S, jobs=False)
        jobs.check()
    return count / meter.wall_s


def _restart_s(stored: int) -> float:
    with running_cluster(0) as cluster:
        port = cluster.port
        with cluster.client() as client:
            program = str(OneFileJobs("shell", 0, cluster.home / "program").program)
            handle = client.submit_dag("graph", graph(stored, program))
        cluster.master.kill()
        begun_wall = time.time()
        cluster.start_master("--port", str(port))
        with companion(cluster, "instant", cluster.home, port, WORKERS, SLOTS), cluster.client() as client:
            first = f"{handle.run_id}/job-0"
            wait_until(lambda: client.job(first).started_wall > begun_wall, LONGEST_S, cluster.master.tail)
            return client.job(first).started_wall - begun_wall
