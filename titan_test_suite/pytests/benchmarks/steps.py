"""Where the time of a job goes: how long each step of its way takes, on a cluster that does nothing else.

Master and worker write down when they come to the failpoints (see `traced`): these are the places between two steps
that belong together. The steps of one job follow each other, so that their medians add up to about what `latency`
measures; one more shows how much of the processor the job costs each process.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from titan_sdk import TitanClient
from titan_test_suite.pytests.benchmarks.cluster import running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import cpu_s
from titan_test_suite.pytests.support.cluster import Cluster

JOBS, QUICK_JOBS, WARM_UP = 100, 20, 5
LONGEST_S = 30.0
STEPS = {
    "master.before_send": "submitted, decided on, on disk",
    "worker.after_start": "sent, files there, process made",
    "worker.before_journal": "the process, until its end is noticed",
    "worker.before_result_sent": "result in the worker's journal",
    "master.before_ack": "result sent, decided on, on disk",
    "client.knows": "the client is told",
}
"""By the place where a step ends, in their order."""
TRACED = f"{__package__}.traced"
TRACE = "trace"


class _Traced(Cluster):
    def __init__(self, home: Path, *flags: str) -> None:
        self.master_program = (TRACED, str(home / TRACE), *Cluster.master_program)
        self.worker_program = (TRACED, str(home / TRACE), *Cluster.worker_program)
        super().__init__(home, *flags)


def measure(plan: Plan) -> list[Figure]:
    return [*_steps(plan, "shell"), *_steps(plan, "python")]


def _steps(plan: Plan, kind: str) -> list[Figure]:
    count = plan.size(JOBS, QUICK_JOBS)
    rounds = []
    with running_cluster(1, kind=_Traced) as cluster, cluster.client() as client:
        _one_by_one(client, OneFileJobs(kind, WARM_UP, cluster.home / "warm-up"))
        for number in range(plan.rounds):
            plan.say(f"steps of {count} {kind} jobs, round {number + 1} of {plan.rounds}")
            begun_s = _cpu_s(cluster)
            jobs = _one_by_one(client, OneFileJobs(kind, count, cluster.home / f"round-{number}"))
            spent_ms = [1000 * (now - before) / count for now, before in zip(_cpu_s(cluster), begun_s, strict=True)]
            rounds.append((*_medians_ms(cluster.home / TRACE, jobs), *spent_ms))
    names = [*STEPS.values(), "master's CPU", "worker's CPU, without the job's"]
    return [
        Figure(f"a {kind} job: {name}", "ms", samples)
        for name, samples in zip(names, zip(*rounds, strict=True), strict=True)
    ]


def _one_by_one(client: TitanClient, jobs: OneFileJobs) -> list[tuple[int, int]]:
    """When each was submitted, and when its end was known."""
    spans = []
    for output in jobs.outputs:
        begun_ns = time.monotonic_ns()
        client.submit_job(filename=str(jobs.program), args=[output]).result(LONGEST_S)
        spans.append((begun_ns, time.monotonic_ns()))
    jobs.check()
    return spans


def _cpu_s(cluster: Cluster) -> tuple[float, float]:
    return cpu_s(cluster.master.pid), cpu_s(cluster.workers[0].pid)


def _medians_ms(trace: Path, spans: list[tuple[int, int]]) -> list[float]:
    """Of each step, over all jobs."""
    passed = sorted((int(ns), name) for ns, name in map(str.split, trace.read_text().splitlines()))
    return [statistics.median(steps) for steps in zip(*(_steps_ms(passed, *span) for span in spans), strict=True)]


def _steps_ms(passed: list[tuple[int, str]], begun_ns: int, known_ns: int) -> list[float]:
    """Of one job. Each place counts when it is first come to after the one before."""
    steps, at_ns = [], begun_ns
    for place in STEPS:
        reached = (ns for ns, name in passed if name == place and at_ns <= ns <= known_ns)
        end_ns = known_ns if place == "client.knows" else next(reached, at_ns)
        steps.append((end_ns - at_ns) / 1e6)
        at_ns = end_ns
    return steps
