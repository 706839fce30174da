"""What a user would pick instead of Titan, given the same jobs on the same machine.

    python -m titan_test_suite.pytests.benchmarks.peers PEER KIND COUNT DIRECTORY

runs COUNT jobs with eight at a time and prints, as its last line, how many seconds they took, and how many
seconds of CPU all processes together. A peer has
a process of its own, for its threads, its output and the files it leaves in the current directory. It
runs a few jobs first that do not count, so that nobody pays for its first job. A peer that is not
installed exits with NOT_INSTALLED.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.benchmarks.processes import Meter
from titan_test_suite.pytests.support.waiting import wait_until

WARM_UP = 16
"""Jobs before the clock starts."""
LONGEST_S = 300.0
ENDING_S = 5.0
NOT_INSTALLED = 3


class Turn(NamedTuple):
    """What one contestant needed for all its jobs."""

    wall_s: float
    cpu_s: float
    """Of all its processes together, the jobs' own included."""


def measure(peer: str, kind: str, count: int) -> Turn:
    """One turn of the peer. Raises ImportError when it is not installed, AssertionError when it fails."""
    with tempfile.TemporaryDirectory(prefix="titan-peer-") as directory:
        command = [sys.executable, "-m", __name__, peer, kind, str(count), directory]
        code, output, errors = _run(command, directory)
    if code == NOT_INSTALLED:
        raise ImportError(f"{peer} is not installed")
    assert code == 0, f"{peer} failed:\n{errors[-2000:]}"
    wall_s, cpu_s = output.split()[-2:]
    return Turn(float(wall_s), float(cpu_s))


def _run(command: list[str], directory: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command that may leave files in `directory` alone.

    One that is interrupted, or too slow, is ended.
    """
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=os.environ | {"TMPDIR": directory},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=LONGEST_S)
        return process.returncode, output, errors
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and all it started: SIGTERM, so that they tidy up, and SIGKILL to those that do not."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=ENDING_S)
            return


def xargs(warm_up: OneFileJobs, jobs: OneFileJobs) -> Meter:
    _run_xargs(warm_up)
    with Meter() as meter:
        _run_xargs(jobs)
    return meter


def _run_xargs(jobs: OneFileJobs) -> None:
    lines = "\n".join(jobs.outputs)
    subprocess.run(["xargs", "-P8", "-n1", *jobs.prefix], input=lines, text=True, check=True)


def hyperqueue(warm_up: OneFileJobs, jobs: OneFileJobs) -> Meter:
    from hyperqueue import LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with LocalCluster() as cluster:
        for _ in range(2):
            cluster.start_worker(WorkerConfig(cores=4))
        client = cluster.client()
        _run_hyperqueue(client, warm_up)
        return _run_hyperqueue(client, jobs)


def _run_hyperqueue(client: object, jobs: OneFileJobs) -> Meter:
    from hyperqueue import Job

    job = Job()
    for command in jobs.commands():
        job.program(command)
    with Meter() as meter:
        client.submit(job)  # type: ignore[attr-defined]
        # Its own wait asks once a second; the files say it sooner.
        wait_until(jobs.all_done, LONGEST_S)
    return meter


def dask(warm_up: OneFileJobs, jobs: OneFileJobs) -> Meter:
    from distributed import Client, LocalCluster

    settings = {"n_workers": 2, "threads_per_worker": 4, "processes": True, "dashboard_address": None}
    with LocalCluster(**settings) as cluster, Client(cluster) as client:
        client.gather(client.map(_execute, warm_up.commands(), pure=False))
        with Meter() as meter:
            client.gather(client.map(_execute, jobs.commands(), pure=False))
        return meter


def _execute(command: list[str]) -> int:
    return subprocess.run(command, check=True).returncode


PEERS = {"xargs": xargs, "hyperqueue": hyperqueue, "dask": dask}


def main(peer: str, kind: str, count: str, directory: str) -> int:
    warm_up = OneFileJobs(kind, WARM_UP, Path(directory) / "warm-up")
    jobs = OneFileJobs(kind, int(count), Path(directory) / "jobs")
    try:
        meter = PEERS[peer](warm_up, jobs)
    except (ImportError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return NOT_INSTALLED
    jobs.check()
    print(meter.wall_s, meter.cpu_s)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
