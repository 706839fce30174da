"""`make demo`: a whole cluster on this machine, real pipelines on it, and nothing left of it afterwards.

    python -m titan_test_suite.demo [--keep]

A master, a GENERAL worker and a GPU worker start on free ports in a temporary home and run pipelines
of the examples, one after the other. What is claimed, and how it ends, is a matter of the `stage`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from titan_core.protocol.messages import JobStatus, RunStatus
from titan_sdk import TitanClient
from titan_sdk.cli import progress, rows, tables
from titan_sdk.pipeline import Pipeline
from titan_test_suite.pytests.support.cluster import Cluster, Program
from titan_test_suite.pytests.support.examples import GRAPHS, SKILLS, answer_of, example, port_of
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.stage import Stage, performed

PIPELINES = (f"{GRAPHS}/agent.yaml", f"{GRAPHS}/diamond.yaml", f"{GRAPHS}/fan_out.yaml", f"{SKILLS}/gpu_run.yaml")
RUN_S = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return performed(lambda stage, home: perform(stage, home, options.keep))


def perform(stage: Stage, home: Path, keep: bool) -> None:
    stage.title("a cluster on this machine")
    with Cluster(home) as cluster, _dashboard(cluster) as address:
        cluster.start_worker()
        cluster.start_worker("GPU")
        with cluster.client() as client:
            _show_cluster(stage, cluster, client, address)
            pipelines = [example(path) for path in PIPELINES]
            runs = [_apply(stage, client, pipeline) for pipeline in pipelines]
            _show_results(stage, client, runs)
            port = port_of(pipelines[0], "serve")
            _show_service(stage, home, runs[0], port)
            _show_dashboard(stage, address, runs)
        if keep:
            _stay(stage, home, port, address)
        stage.title("stopping everything")
    stage.claim(True, "the workers and the master ended by themselves, with exit code 0")


# ── the acts ──────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def _dashboard(cluster: Cluster) -> Iterator[str]:
    """A dashboard of the cluster, on a free port; where it is."""
    master = f"127.0.0.1:{cluster.port}"
    program = Program("dashboard", ["dashboard", "--port", "0", "--master", master], cluster.home, cluster.environ)
    try:
        yield wait_until(lambda: re.search(r"http://\S+", program.tail()), 20, program.tail)[0]
    finally:
        program.stop()


def _show_cluster(stage: Stage, cluster: Cluster, client: TitanClient, address: str) -> None:
    workers = client.workers()
    stage.say(f"home       {cluster.home}")
    stage.say(f"master     127.0.0.1:{cluster.port}")
    stage.say(f"dashboard  {address}")
    for worker in workers:
        stage.say(f"worker     {worker.worker_id}  {worker.slots} slots for {','.join(worker.capabilities)}")
    stage.claim(len(workers) == 2, "both workers have registered")


def _apply(stage: Stage, client: TitanClient, pipeline: Pipeline) -> RunStatus:
    """Run a pipeline to its end, shown as it goes on; its final status. Raises RunFailed."""
    stage.title(Path(pipeline.source).name)
    run = client.apply(pipeline)
    progress.show(stage.out, client.watch(run, RUN_S))
    for job in run.jobs():
        if job.state == "DEAD":
            _show_log(stage, client, job)
    status = run.result(RUN_S)
    stage.claim(True, f"{run} is {status.state}")
    return status


def _show_results(stage: Stage, client: TitanClient, runs: Sequence[RunStatus]) -> None:
    stage.title("all jobs")
    jobs = [job for run in runs for job in run.jobs]
    columns = [tables.Column("PIPELINE", _pipeline_of), *rows.JOBS]
    tables.show(stage.out, jobs, rows.filled(jobs, columns))
    gpu = [worker.worker_id for worker in client.workers() if "GPU" in worker.capabilities]
    placed = all((job.worker in gpu) == (job.requirement == "GPU") for job in jobs)
    stage.claim(placed, "what requires a GPU ran on the worker that has one, and nothing else did")
    report = next(job for job in runs[0].jobs if job.job_id == "report")
    log = _show_log(stage, client, report)
    stage.claim(log.startswith("team"), "the log is that of the report")


def _pipeline_of(job: JobStatus) -> str:
    """A run id is the pipeline's name, a time and four letters."""
    return job.run_id.rsplit("-", 2)[0]


def _show_log(stage: Stage, client: TitanClient, job: JobStatus) -> str:
    stage.title(f"the log of {job.job_id}")
    log = client.fetch_logs(rows.key(job))
    stage.say(log.rstrip())
    return log


def _show_service(stage: Stage, home: Path, run: RunStatus, port: int) -> None:
    stage.title("the service")
    answer = answer_of(port)
    stage.say(f"GET http://127.0.0.1:{port}/\n{answer.rstrip()}")
    report = home / "titan_workspace" / "shared" / run.run_id / "report.json"
    stage.claim(answer == report.read_text(), "the service answers with the report")


def _show_dashboard(stage: Stage, address: str, runs: Sequence[RunStatus]) -> None:
    stage.title("the dashboard")
    with urllib.request.urlopen(f"{address.rstrip('/')}/runs", timeout=10) as response:
        page = response.read().decode()
    stage.say(f"GET {address.rstrip('/')}/runs")
    stage.claim(all(run.run_id in page for run in runs), "the dashboard shows every run")


def _stay(stage: Stage, home: Path, port: int, address: str) -> None:
    """Keep the cluster up until Ctrl-C."""
    program = Path(sys.executable).with_name("titan")
    titan = program if program.exists() else f"{sys.executable} -m titan_sdk.titan_cli"
    stage.title("the cluster stays up until Ctrl-C; in another terminal")
    stage.say(f"export TITAN_HOME={home}")
    for command in ("workers", "ls", "logs report", "apply FILE --wait"):
        stage.say(f"{titan} {command}")
    stage.say(f"curl http://127.0.0.1:{port}/")
    stage.say(f"the dashboard: {address}   (to act there, log in with the token in {home}/.titan/token)")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "make demo", description="Start a cluster, run pipelines on it, stop everything."
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the cluster up, and say how to use it, until Ctrl-C"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
