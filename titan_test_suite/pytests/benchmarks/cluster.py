"""Clusters to measure: real processes in a home of their own, all gone, files too, when one is left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titan_sdk import TitanClient, TitanJob
from titan_sdk.handles import RunHandle
from titan_test_suite.pytests.benchmarks.jobs import OneFileJobs
from titan_test_suite.pytests.support.cluster import Cluster, Program

WORKERS = 2
"""Each with its four slots: the cluster all throughput figures are of."""


@contextmanager
def running_cluster(workers: int = WORKERS, *flags: str, kind: type[Cluster] = Cluster) -> Iterator[Cluster]:
    """A master, started with these flags, and so many workers, registered. `.home` may be used for other files."""
    with tempfile.TemporaryDirectory(prefix="titan-bench-") as home, kind(Path(home), *flags) as cluster:
        for _ in range(workers):
            cluster.start_worker()
        yield cluster


@contextmanager
def companion(cluster: Cluster, module: str, *arguments: object) -> Iterator[Program]:
    """A program of this package that runs beside the cluster while the block does; SIGTERM ends it."""
    program = Program(module, [f"{__package__}.{module}", *map(str, arguments)], cluster.home, cluster.environ)
    try:
        yield program
    finally:
        program.stop()


def submit(client: TitanClient, name: str, jobs: OneFileJobs) -> RunHandle:
    """All the jobs, as one run in which none waits for another."""
    program = str(jobs.program)
    return client.submit_dag(
        name,
        [TitanJob(job_id=f"job-{n}", filename=program, args=[output]) for n, output in enumerate(jobs.outputs)],
    )
