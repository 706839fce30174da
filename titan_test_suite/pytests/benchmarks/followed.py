"""Does it slow a job down that somebody follows its log? One prints 20,000 lines a second, and says how long it took.

In one cluster there is a dashboard, and a reader who follows the job live; in another one nobody looks. In turns.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from urllib.request import urlopen

from titan_sdk import JobHandle, TitanClient
from titan_test_suite.pytests.benchmarks.cluster import running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, at_most
from titan_test_suite.pytests.support.browser_scene import DashboardProgram
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.loud import LOUD
from titan_test_suite.pytests.support.waiting import wait_until

NOBODY = "followed by nobody"
LONGEST_S = 60.0
LEAST_BYTES = 1_000_000
"""That a reader who really followed has got."""


def measure(plan: Plan) -> list[Figure]:
    followed_s, alone_s = [], []
    with ExitStack() as stack:
        clusters = [stack.enter_context(running_cluster(1)) for _ in range(2)]
        seen, alone = [stack.enter_context(cluster.client()) for cluster in clusters]
        dashboard = stack.enter_context(DashboardProgram(clusters[0]))
        program = _program(clusters[0])
        for number in range(plan.rounds):
            plan.say(f"a loud job, followed and not, round {number + 1} of {plan.rounds}")
            followed_s.append(_followed_s(seen, dashboard.url, program))
            alone_s.append(_took_s(alone, _begun(alone, program)))
    name = "job of 20,000 lines/s, followed live: it takes"
    return [Figure(name, "s", followed_s, [at_most(1.05, NOBODY)], {NOBODY: alone_s})]


def _program(cluster: Cluster) -> str:
    path = cluster.home / "loud.py"
    path.write_text(LOUD)
    return str(path)


def _begun(client: TitanClient, program: str) -> JobHandle:
    job = client.submit_job(filename=program)
    wait_until(lambda: client.job(job).attempts, LONGEST_S)
    return job


def _followed_s(client: TitanClient, url: str, program: str) -> float:
    job, got = _begun(client, program), []
    reader = threading.Thread(target=lambda: got.append(_read(url, job)))
    reader.start()
    took_s = _took_s(client, job)
    reader.join()
    assert got and got[0] > LEAST_BYTES, f"the reader has got {got} bytes"
    return took_s


def _read(url: str, job: JobHandle) -> int:
    """How many bytes of events there are, to the end of the job."""
    address = f"{url}/api/runs/{job.run_id}/jobs/{job.job_id}/log/events?attempt=1"
    with urlopen(address, timeout=LONGEST_S) as answer:
        return sum(map(len, answer))


def _took_s(client: TitanClient, job: JobHandle) -> float:
    """What the job itself says of it."""
    client.wait_for_job(job, LONGEST_S)
    return float(client.fetch_logs(job).splitlines()[-1].split()[1])
