"""Jobs that wait for each other: a chain, each link of which has to be seen to end before the next begins; and many
that wait for the same one, beside as many that wait for none.

The chain runs on two workers with four slots each. A link is what lies between the ends of two jobs that follow each
other. The fan-out has instant workers (see `instant`), so that what is measured is the master.
"""

from __future__ import annotations

import time

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_least, at_most
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.support.waiting import wait_until

LINKS, QUICK_LINKS = 1_000, 50
FAN, QUICK_FAN = 10_000, 1_000
WORKERS, SLOTS = 2, 4
LONGEST_S = 300.0
SINGLE = "single jobs"
WANTED_LINK = {"shell": [], "python": [at_most(10)]}


def measure(plan: Plan) -> list[Figure]:
    return [_chain(plan, "shell"), _chain(plan, "python"), _fan_out(plan)]


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


def _fan_out(plan: Plan) -> Figure:
    size = plan.size(FAN, QUICK_FAN)
    fanned, single = [], []
    for number in range(plan.rounds):
        plan.say(f"a fan-out of {size:,} jobs, and as many single ones, round {number + 1} of {plan.rounds}")
        fanned.append(_rate(size, ["first"]))
        single.append(_rate(size, []))
    name = f"fan-out of {size:,} jobs, instant workers"
    return Figure(name, "jobs/s", fanned, [at_least(1, SINGLE)], {SINGLE: single})


def _rate(size: int, parents: list[str]) -> float:
    """Of jobs with these parents, which run before; from their submission until the client knows them over."""
    with running_cluster(workers=0) as cluster, cluster.client() as client:
        program = str(OneFileJobs("shell", 0, cluster.home / "program").program)
        jobs = [TitanJob(name, program) for name in parents]
        jobs += [TitanJob(f"job-{number}", program, parents=parents) for number in range(size)]
        with companion(cluster, "instant", cluster.home, cluster.port, WORKERS, SLOTS):
            wait_until(lambda: len(client.workers()) == WORKERS, LONGEST_S)
            begun_at = time.perf_counter()
            client.submit_dag("fan", jobs).result(LONGEST_S, jobs=False)
            return size / (time.perf_counter() - begun_at)
