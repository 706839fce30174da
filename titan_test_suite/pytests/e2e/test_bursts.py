"""Many jobs at once, and jobs that submit jobs: each runs once, in its turn, where it should."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pytest

from titan_core.protocol.messages import JobStatus
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]
RUN_S = 60
JOBS, SLOTS = 200, 8


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def signs(script: Script, ledger: Path) -> str:
    """A short job: it signs the ledger as soon as it runs."""
    return script("signs.sh", f'echo "$TITAN_JOB_ID $TITAN_ATTEMPT" >> {ledger}')


def test_200_jobs_for_8_slots_run_once_each_in_the_order_of_their_priority(
    client: TitanClient, signs: str, ledger: Path
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    jobs = [TitanJob(f"j{number}", signs, priority=chance.randrange(5)) for number in range(JOBS)]
    assert sum(worker.slots for worker in client.workers()) == SLOTS

    status = client.submit_dag("burst", jobs).result(RUN_S)

    signed = ledger.read_text().splitlines()
    assert sorted(signed) == sorted(f"{job.job_id} 1" for job in jobs)
    in_turn = sorted(jobs, key=lambda job: -job.priority)  # stable: among equals, as they were submitted
    turn = {f"{job.job_id} 1": number for number, job in enumerate(in_turn)}
    # A job begins when fewer than SLOTS of those before it are at work; all others have signed by then.
    assert [line for place, line in enumerate(signed) if turn[line] >= place + SLOTS] == []
    assert_started_by_priority(status.jobs)


def assert_started_by_priority(jobs: tuple[JobStatus, ...]) -> None:
    """By the master's clock: whatever began at a later instant has no higher priority."""
    lowest = max(job.priority for job in jobs)
    by_start = sorted(jobs, key=lambda job: job.started_wall)
    for _, together in groupby(by_start, key=lambda job: job.started_wall):
        priorities = [job.priority for job in together]
        assert max(priorities) <= lowest, "a job of higher priority began after one of lower"
        lowest = min(priorities)


def test_200_submissions_of_8_threads_run_once_each(client: TitanClient, signs: str, ledger: Path) -> None:
    def submit(number: int) -> str:
        return client.submit_job(job_id=f"j{number}", filename=signs).result(RUN_S).state

    with ThreadPoolExecutor(SLOTS) as threads:
        assert set(threads.map(submit, range(JOBS))) == {"COMPLETED"}
    assert sorted(ledger.read_text().splitlines()) == sorted(f"j{number} 1" for number in range(JOBS))


SPAWNER = """
import os, sys
from titan_sdk import TitanClient, TitanJob

me, child = os.environ["TITAN_JOB_ID"], sys.argv[1]
with TitanClient() as client:
    client.submit_job(TitanJob(f"new-{me}", child)).result(30)
    run = client.add_jobs([TitanJob(f"own-{me}", child)])
    client.wait_for_job(f"{run}/own-{me}", 30)
"""


def test_a_job_submitted_by_a_job_lands_on_its_worker(client: TitanClient, signs: str, script: Script) -> None:
    spawner = script("spawner.py", SPAWNER)
    spawners = [TitanJob(f"s{number}", spawner, args=[signs]) for number in range(4)]  # two on each worker
    jobs = {job.job_id: job for job in client.submit_dag("spawn", spawners).result(RUN_S).jobs}
    assert len({job.worker for job in jobs.values()}) == 2, "placement would have to choose"
    for name in ("s0", "s1", "s2", "s3"):
        assert client.job(f"new-{name}").worker == jobs[name].worker
        assert jobs[f"own-{name}"].worker == jobs[name].worker


def test_a_job_submitted_by_a_job_does_not_wait_for_its_worker(
    tmp_path: Path, ledger: Path, signs: str, script: Script
) -> None:
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker(slots=1)
        cluster.start_worker(slots=1)
        parent = client.submit_job(TitanJob("s", script("spawner.py", SPAWNER), args=[signs]))
        worker = parent.result(RUN_S).worker
        assert client.job("new-s").worker not in ("", worker)
