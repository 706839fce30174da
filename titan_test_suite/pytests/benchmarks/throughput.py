"""Many small jobs at once: how many are done in a second, beside the peers.

The clock runs from the submission until the client is told that the run is COMPLETED. Titan and the
peers take turns within each round, and each begins with a fresh cluster and a few jobs that do not count.
"""

from __future__ import annotations

import functools
import subprocess
import time
from collections.abc import Callable

from titan_test_suite.pytests.benchmarks import peers
from titan_test_suite.pytests.benchmarks.cluster import running_cluster, submit
from titan_test_suite.pytests.benchmarks.figures import TITAN, Figure, Plan, Wanted, at_least
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs

WANTED = {
    "shell": (at_least(400), at_least(1.5, "hyperqueue"), at_least(0.6, "xargs")),
    "python": (at_least(4, "xargs"),),
}
Contestants = dict[str, Callable[[str, int], float]]
"""By name: jobs per second for so many jobs of a kind."""


def measure(plan: Plan) -> list[Figure]:
    return [
        _compare(plan, "shell", plan.size(2000, 400), WANTED["shell"]),
        _compare(plan, "python", plan.size(300, 60), WANTED["python"]),
    ]


def titan(kind: str, count: int) -> float:
    """Jobs per second of a cluster of two workers with four slots each."""
    with running_cluster() as cluster, cluster.client() as client:
        warm_up = OneFileJobs(kind, peers.WARM_UP, cluster.home / "warm-up")
        submit(client, "warm-up", warm_up).result(peers.LONGEST_S)
        jobs = OneFileJobs(kind, count, cluster.home / "measured")
        begun_at = time.perf_counter()
        submit(client, "measured", jobs).result(peers.LONGEST_S)
        seconds = time.perf_counter() - begun_at
        jobs.check()
    return count / seconds


def _compare(plan: Plan, kind: str, count: int, wanted: tuple[Wanted, ...]) -> Figure:
    contestants: Contestants = {TITAN: titan}
    contestants |= {name: functools.partial(peers.measure, name) for name in peers.PEERS}
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(plan.rounds):
        for name in _order(list(contestants), number):
            plan.say(f"throughput, {count} {kind} jobs, round {number + 1} of {plan.rounds}: {name}")
            _run(plan, contestants, rates, name, kind, count)
    ours = rates.pop(TITAN)
    return Figure(f"{count:,} {kind} jobs, 2 × 4 slots", "jobs/s", ours, wanted, {n: rates[n] for n in rates})


def _run(
    plan: Plan, contestants: Contestants, rates: dict[str, list[float]], name: str, kind: str, count: int
) -> None:
    """One turn. A peer that can not take part leaves the contest, with a word."""
    try:
        rates[name].append(contestants[name](kind, count))
    except (ImportError, AssertionError, subprocess.TimeoutExpired) as error:
        if name == TITAN:
            raise
        plan.say(f"without {name}: {error}")
        del contestants[name], rates[name]


def _order(names: list[str], number: int) -> list[str]:
    """Another one begins each round."""
    first = number % len(names)
    return names[first:] + names[:first]
