"""`make demo-scale`: a burst of jobs, and a cluster that grows for it and shrinks again, with a live picture of both.

    python -m titan_test_suite.demo_scale

A master and one permanent worker start in a temporary home, and 60 jobs of two seconds are submitted at once.
Without a terminal, or with NO_COLOR, there are lines instead of the picture. What is claimed, and how it ends, is a
matter of the `stage`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from titan_sdk import TitanClient
from titan_sdk.cli.text import plural
from titan_test_suite.load_picture import Look, shown
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.examples import EXAMPLES
from titan_test_suite.pytests.support.ports import free_range
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.stage import Stage, performed

JOBS, SECONDS = 60, 2
MOST_WORKERS = 5
SCALING = {"--provisioner": "inception", "--scale-s": 1, "--scale-up-s": 0.5, "--scale-down-s": 5}
LOOK_S = 0.25
RUN_S = 90.0
SHRUNK_S = 45.0
ENDED_S = 5.0


class Cycle(NamedTuple):
    """What was seen of one burst."""

    run_id: str
    most_workers: int
    pids: frozenset[int]
    """Of all workers there have been."""
    left: tuple[int, ...]
    """Of those that were there at last."""


def main(argv: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(
        "make demo-scale", description="Submit a burst of jobs to a cluster of one worker; see it grow and shrink."
    ).parse_args(argv)
    return performed(perform)


def perform(stage: Stage, home: Path) -> None:
    stage.title("a cluster of one worker on this machine")
    first, last = free_range(4 * MOST_WORKERS)
    settings = SCALING | {"--max-workers": MOST_WORKERS, "--worker-ports": f"{first}-{last}"}
    _allow_on_this_machine(home)
    with Cluster(home, *(str(word) for flag in settings.items() for word in flag)) as cluster:
        permanent = cluster.start_worker("GENERAL", "--permanent")
        stage.say(f"home    {home}\nmaster  127.0.0.1:{cluster.port}\nwith    {_told(settings)}")
        stage.title(f"{JOBS} jobs of {SECONDS} s, at once")
        with cluster.client() as client:
            cycle = _cycle(stage, cluster, client)
            _judge_cluster(stage, cycle, permanent.pid)
            _judge_jobs(stage, home, client, cycle.run_id)
        stage.title("stopping everything")
    stage.claim(True, "the worker and the master ended by themselves, with exit code 0")


def _allow_on_this_machine(home: Path) -> None:
    """So many workers, also where there is a single processor, which is a setting without a flag."""
    (home / ".titan").mkdir(mode=0o700)
    (home / ".titan" / "config").write_text(f"master: {{max_workers_per_host: {MOST_WORKERS}}}\n")


def _told(settings: dict[str, object]) -> str:
    return "  ".join(f"{flag} {value}" for flag, value in settings.items())


# ── the burst ─────────────────────────────────────────────────────────────────────────────────────


def _cycle(stage: Stage, cluster: Cluster, client: TitanClient) -> Cycle:
    """Submit the burst, and show what follows until the cluster is as before."""
    run_id = _burst(cluster)
    seen: list[tuple[int, ...]] = []
    with shown(stage.out) as show:
        for look in _looks(client, run_id):
            seen.append(tuple(worker.pid for worker in look.workers))
            show(look)
    return Cycle(run_id, max(map(len, seen)), frozenset().union(*seen), seen[-1])


def _burst(cluster: Cluster) -> str:
    command = [sys.executable, str(EXAMPLES / "load_cycle" / "burst.py"), str(JOBS), str(SECONDS)]
    done = subprocess.run(command, env=cluster.environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"the burst was not submitted: {done.stderr}")
    return done.stdout.strip()


def _looks(client: TitanClient, run_id: str) -> Iterator[Look]:
    """The cluster every LOOK_S, until the jobs are over and one worker is left, or until that takes too long."""
    began_at = time.monotonic()
    over_at = began_at + RUN_S
    while True:
        run, now = client.run(run_id), time.monotonic()
        look = Look(now - began_at, client.workers(), {item.state: item.count for item in run.counts})
        yield look
        if run.final:
            over_at = min(over_at, now + SHRUNK_S)
        if now >= over_at or (run.final and len(look.workers) == 1):
            return
        time.sleep(LOOK_S)


# ── what is claimed ───────────────────────────────────────────────────────────────────────────────


def _judge_cluster(stage: Stage, cycle: Cycle, permanent: int) -> None:
    stage.claim(cycle.most_workers == MOST_WORKERS, f"it grew from one worker to {cycle.most_workers}")
    stage.claim(cycle.left == (permanent,), f"{plural(len(cycle.left), 'worker')} at the end, the permanent one")
    others = cycle.pids - {permanent}
    wait_until(lambda: not any(map(psutil.pid_exists, others)), ENDED_S, f"of {sorted(others)} some are there")
    stage.claim(True, f"the processes of the other {len(others)} have ended")


def _judge_jobs(stage: Stage, home: Path, client: TitanClient, run_id: str) -> None:
    """By what Titan says, and by what the jobs have written themselves."""
    run = client.run(run_id)
    stage.claim(run.state == "COMPLETED" and len(run.jobs) == JOBS, f"{run_id} is {run.state}, {len(run.jobs)} jobs")
    attempts = [len(client.job(f"{run_id}/{job.job_id}").attempts) for job in run.jobs]
    stage.claim(set(attempts) == {1}, "every job had one attempt")
    answers = home / "titan_workspace" / "shared" / run_id / "answers"
    told = answers.read_text().splitlines() if answers.exists() else []
    stage.claim(
        sorted(told) == sorted(f"{job.job_id} 1" for job in run.jobs), "every job has noted that it ran, once"
    )


if __name__ == "__main__":
    sys.exit(main())
