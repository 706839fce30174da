"""Jobs that wait for each other: a chain, each link of which has to be seen to end before the next begins; and many
that wait for the same one, beside as many that wait for none.

The chain runs on two workers with four slots each. A link is what lies between the ends of two jobs that follow each
other. The fan-out runs there as well, and on instant workers (see `instant`), where what is measured is the master.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster, submit
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_least, at_most
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.peers import WARM_UP
from titan_test_suite.pytests.support.waiting import wait_until

LINKS, QUICK_LINKS = 1_000, 50
FAN, QUICK_FAN = 10_000, 1_000
WORKERS, SLOTS = 2, 4
LONGEST_S = 300.0
SINGLE = "single jobs"
AS_FAST = 0.97
"""Of what is to be as fast as something else: rounds of the very same jobs differ by as much."""
AS_FAST_IN_MASTER = 0.9
"""A job that waits has one more change to be kept, which is a part of what a job costs the master."""
WANTED_LINK = {"shell": [], "python": [at_most(10)]}


def measure(plan: Plan) -> list[Figure]:
    return [
        _chain(plan, "shell"),
        _chain(plan, "python"),
        _fan_out(plan, "shell jobs", _on_workers, AS_FAST),
        _fan_out(plan, "jobs, instant workers", _on_instant_workers, AS_FAST_IN_MASTER),
    ]


def _chain(plan: Plan, kind: str) -> Figure:
    links = plan.size(LINKS, QUICK_LINKS)
    taken_ms = []
    with running_cluster() as cluster, cluster.client() as client:
        for number in range(plan.rounds):
            plan.say(f"a chain of {links:,} {kind} jobs, round {number + 1} of {plan.rounds}")
            jobs = OneFileJobs(kind, links, cluster.home / f"round-{number}")
            taken_ms.append(_link_ms(client, jobs))
            jobs.check()
    return Figure(f"chain of {links:,} {kind} jobs: a link", "ms", taken_ms, WANTED_LINK[kind])


def _link_ms(client: TitanClient, jobs: OneFileJobs) -> float:
    program, last = str(jobs.program), len(jobs) - 1
    chain = [
        TitanJob(f"job-{n}", program, args=[output], parents=[f"job-{n - 1}"] if n else [])
        for n, output in enumerate(jobs.outputs)
    ]
    handle = client.submit_dag("chain", chain)
    end = client.wait_for_job(f"{handle.run_id}/job-{last}", LONGEST_S)
    return 1000 * (end.finished_wall - client.job(f"{handle.run_id}/job-0").finished_wall) / last


def _fan_out(plan: Plan, kind: str, take_turn: Callable[[list[str], int], float], wanted: float) -> Figure:
    size = plan.size(FAN, QUICK_FAN)
    fanned: list[float] = []
    single: list[float] = []
    for number in range(plan.rounds):
        plan.say(f"a fan-out of {size:,} {kind}, and as many single ones, round {number + 1} of {plan.rounds}")
        turns = [(fanned, ["first"]), (single, [])]
        for rates, parents in turns if number % 2 == 0 else reversed(turns):
            rates.append(take_turn(parents, size))
    return Figure(f"fan-out of {size:,} {kind}", "jobs/s", fanned, [at_least(wanted, SINGLE)], {SINGLE: single})


def _on_workers(parents: list[str], size: int) -> float:
    with running_cluster(WORKERS) as cluster, cluster.client() as client:
        submit(client, "warm-up", OneFileJobs("shell", WARM_UP, cluster.home / "warm-up")).result(LONGEST_S)
        files = OneFileJobs("shell", len(parents) + size, cluster.home / "measured")
        rate = _rate(client, parents, files)
        files.check()
    return rate


def _on_instant_workers(parents: list[str], size: int) -> float:
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        files = OneFileJobs("shell", len(parents) + size, cluster.home / "measured")
        with companion(cluster, "instant", cluster.home, cluster.port, WORKERS, SLOTS):
            wait_until(lambda: len(client.workers()) == WORKERS, LONGEST_S)
            return _rate(client, parents, files)


def _rate(client: TitanClient, parents: list[str], files: OneFileJobs) -> float:
    """Of jobs with these parents, which run before; from their submission until the client knows them over."""
    program = str(files.program)
    first, others = files.outputs[: len(parents)], files.outputs[len(parents) :]
    jobs = [TitanJob(name, program, args=[output]) for name, output in zip(parents, first, strict=True)]
    jobs += [TitanJob(f"job-{n}", program, args=[output], parents=parents) for n, output in enumerate(others)]
    begun_at = time.perf_counter()
    client.submit_dag("fan", jobs).result(LONGEST_S, jobs=False)
    return len(others) / (time.perf_counter() - begun_at)
