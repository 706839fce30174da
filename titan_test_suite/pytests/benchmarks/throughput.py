"""Many small jobs at once: how many are done in a second, and what each costs, beside the peers.

The clock runs from the submission until the client is told that the run is COMPLETED. Titan and the
peers take turns within each round, and each begins with a fresh cluster and a few jobs that do not count.
"""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field

from titan_test_suite.pytests.benchmarks import peers
from titan_test_suite.pytests.benchmarks.cluster import running_cluster, submit
from titan_test_suite.pytests.benchmarks.figures import TITAN, Figure, Plan, at_least
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.peers import Turn
from titan_test_suite.pytests.benchmarks.processes import Meter

WANTED = {
    "shell": (at_least(400), at_least(1.5, "hyperqueue"), at_least(0.6, "xargs")),
    "python": (at_least(4, "xargs"),),
}


def measure(plan: Plan) -> list[Figure]:
    return [*_compare(plan, "shell", plan.size(2000, 400)), *_compare(plan, "python", plan.size(1000, 60))]


def titan(kind: str, count: int) -> Turn:
    """One turn of a cluster of two workers with four slots each."""
    with running_cluster() as cluster, cluster.client() as client:
        warm_up = OneFileJobs(kind, peers.WARM_UP, cluster.home / "warm-up")
        submit(client, "warm-up", warm_up).result(peers.LONGEST_S)
        jobs = OneFileJobs(kind, count, cluster.home / "measured")
        with Meter() as meter:
            submit(client, "measured", jobs).result(peers.LONGEST_S, jobs=False)
        jobs.check()
    return Turn(meter.wall_s, meter.cpu_s)


@dataclass
class Contestant:
    name: str
    take_turn: Callable[[str, int], Turn]
    """Does so many jobs of a kind."""
    turns: list[Turn] = field(default_factory=list)
    """One per round."""


def _compare(plan: Plan, kind: str, count: int) -> list[Figure]:
    contestants = [Contestant(TITAN, titan)]
    contestants += [Contestant(name, functools.partial(peers.measure, name)) for name in peers.PEERS]
    for number in range(plan.rounds):
        first = number % len(contestants)  # another one begins each round
        for contestant in contestants[first:] + contestants[:first]:
            plan.say(f"throughput, {count} {kind} jobs, round {number + 1} of {plan.rounds}: {contestant.name}")
            if not _takes_part(plan, contestant, kind, count):
                contestants.remove(contestant)
    rates = {c.name: [count / turn.wall_s for turn in c.turns] for c in contestants}
    costs = {c.name: [1e6 * turn.cpu_s / count for turn in c.turns] for c in contestants}
    name, absent = f"{count:,} {kind} jobs, 2 × 4 slots", [peer for peer in peers.PEERS if peer not in rates]
    return [
        Figure(name, "jobs/s", rates.pop(TITAN), WANTED[kind], rates, absent),
        Figure(f"{name}: CPU per job", "µs", costs.pop(TITAN), beside=costs, absent=absent),
    ]


def _takes_part(plan: Plan, contestant: Contestant, kind: str, count: int) -> bool:
    """One turn. False, with a word, for a peer that is not there or fails."""
    try:
        contestant.turns.append(contestant.take_turn(kind, count))
        return True
    except (ImportError, AssertionError, subprocess.TimeoutExpired) as error:
        if contestant.name == TITAN:
            raise
        plan.say(f"without {contestant.name}: {error}")
        return False
