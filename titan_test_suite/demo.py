"""`make demo`: a whole cluster on this machine, real pipelines on it, and nothing left of it afterwards.

    python -m titan_test_suite.demo [--keep]

A master, a GENERAL worker and a GPU worker start on free ports in a temporary home and run pipelines
of the examples, one after the other. Every claim is checked where it is made; the exit code is 0 only
if all of them held, 130 after Ctrl-C. Whatever happens, the processes and the home are gone at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import psutil

from titan_core.protocol.messages import JobStatus, RunStatus
from titan_sdk import TitanClient
from titan_sdk.cli import progress, rows, tables
from titan_sdk.cli.output import Output
from titan_sdk.errors import TitanError
from titan_sdk.pipeline import Pipeline
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.examples import GRAPHS, SKILLS, answer_of, example, port_of

PIPELINES = (f"{GRAPHS}/agent.yaml", f"{GRAPHS}/diamond.yaml", f"{GRAPHS}/fan_out.yaml", f"{SKILLS}/gpu_run.yaml")
RUN_S = 60.0
KILLED_S = 5.0
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stage:
    """What is shown, in order and at once, and which of the claims did not hold."""

    def __init__(self) -> None:
        self.out = Output(stdout=sys.stdout, stderr=sys.stdout)
        self.broken: list[str] = []
        self.interrupted = False

    def say(self, text: str, style: str = "") -> None:
        """Some lines; `style` is for terminals that know colours."""
        if self.out.pretty:
            self.out.console.print(text, style=style, soft_wrap=True)
        else:
            self.out.line(text)
        self.out.stdout.flush()

    def title(self, text: str) -> None:
        self.say(f"\n── {text} ──", "bold")

    def claim(self, held: bool, text: str) -> None:
        self.say(f"ok      {text}" if held else f"FAILED  {text}", "green" if held else "bold red")
        if not held:
            self.broken.append(text)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    for number in STOPPING:
        signal.signal(number, _interrupt_once)
    _forget_other_clusters()
    stage, began_at = Stage(), time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="titan-demo-"))
    try:
        perform(stage, home, options.keep)
    except KeyboardInterrupt:
        stage.interrupted = True
    except (TitanError, AssertionError) as error:
        stage.claim(False, str(error))
    finally:
        _leave_nothing(stage, home)
    return _verdict(stage, time.monotonic() - began_at)


def perform(stage: Stage, home: Path, keep: bool) -> None:
    stage.title("a cluster on this machine")
    with Cluster(home) as cluster:
        cluster.start_worker()
        cluster.start_worker("GPU")
        with cluster.client() as client:
            _show_cluster(stage, cluster, client)
            pipelines = [example(path) for path in PIPELINES]
            runs = [_apply(stage, client, pipeline) for pipeline in pipelines]
            _show_results(stage, client, runs)
            port = port_of(pipelines[0], "serve")
            _show_service(stage, home, runs[0], port)
        if keep:
            _stay(stage, home, port)
        stage.title("stopping everything")
    stage.claim(True, "the workers and the master ended by themselves, with exit code 0")


# ── the acts ──────────────────────────────────────────────────────────────────────────────────────


def _show_cluster(stage: Stage, cluster: Cluster, client: TitanClient) -> None:
    workers = client.workers()
    stage.say(f"home    {cluster.home}")
    stage.say(f"master  127.0.0.1:{cluster.port}")
    for worker in workers:
        stage.say(f"worker  {worker.worker_id}  {worker.slots} slots for {','.join(worker.capabilities)}")
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


def _stay(stage: Stage, home: Path, port: int) -> None:
    """Keep the cluster up until Ctrl-C."""
    program = Path(sys.executable).with_name("titan")
    titan = program if program.exists() else f"{sys.executable} -m titan_sdk.titan_cli"
    stage.title("the cluster stays up until Ctrl-C; in another terminal")
    stage.say(f"export TITAN_HOME={home}")
    for command in ("workers", "ls", "logs report", "apply FILE --wait"):
        stage.say(f"{titan} {command}")
    stage.say(f"curl http://127.0.0.1:{port}/")
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def _leave_nothing(stage: Stage, home: Path) -> None:
    """End what is still there, and remove the home."""
    left = _processes_of(home)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, KILLED_S)
    shutil.rmtree(home, ignore_errors=True)
    if not stage.interrupted:  # an interrupt may come before the cluster knows of a process that it has started
        stage.claim(not left, "no process was left" + "".join(f", but {process}" for process in left))
    stage.claim(not (_processes_of(home) or home.exists()), "everything is gone, the home too")


def _processes_of(home: Path) -> list[psutil.Process]:
    """The cluster's programs, which are ours, and all that its jobs have started, wherever that hangs now."""
    ours = psutil.Process().children(recursive=True)
    found = [*ours, *(process for process in psutil.process_iter() if _is_of_job(process, str(home)))]
    return [process for process in dict.fromkeys(found) if _is_alive(process)]


def _is_of_job(process: psutil.Process, home: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get("TITAN_SHARED", "").startswith(home)
    return False


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _verdict(stage: Stage, took_s: float) -> int:
    """What came of it; the exit code."""
    if stage.broken:
        stage.say("\nwhat did not hold:\n" + "\n".join(stage.broken), "bold red")
        return 1
    if stage.interrupted:
        stage.say("\ninterrupted; everything was stopped")
        return 130
    stage.say(f"\nall of it held, in {took_s:.1f} s", "bold green")
    return 0


# ── starting ──────────────────────────────────────────────────────────────────────────────────────


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """The first signal ends the performance; the stopping that follows is not to be disturbed."""
    for other in STOPPING:
        signal.signal(other, lambda number, frame: None)  # SIG_IGN is complained about when a second one is pending
    raise KeyboardInterrupt


def _forget_other_clusters() -> None:
    """What is set for a cluster of the user's own must not lead the demo to it."""
    for name in [name for name in os.environ if name.startswith("TITAN_")]:
        del os.environ[name]


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
