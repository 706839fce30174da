"""A cluster of real processes that grows under load, and shrinks back; and what is said when it can not."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from titan_core.protocol.messages import WorkerStatus
from titan_sdk import TitanClient
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.ports import free_port, free_range
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.witnesses import Witnesses

pytestmark = pytest.mark.e2e

WAIT_S = 40.0
QUICK = ("--scale-up-s", "0.3", "--scale-down-s", "2", "--scale-s", "0.5")
WORKS = "note start; read -rt 0.4 -u $never; note end; exit 0"


@contextmanager
def growing_cluster(home: Path, *flags: str) -> Iterator[Cluster]:
    """One that grows quickly; workers that were spawned are ended with it, whatever becomes of the test."""
    low, high = free_range(21)
    ports = f"{low}-{high}"
    with Cluster(home, "--provisioner", "inception", "--worker-ports", ports, *QUICK, *flags) as cluster:
        try:
            yield cluster
        finally:
            end_spawned(home)


def spawned(home: Path) -> list[psutil.Process]:
    """The living processes of workers that workers have started in this home."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if "--parent" in words and str(home) in words and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def end_spawned(home: Path) -> None:
    left = spawned(home)
    for process in left:
        with suppress(psutil.NoSuchProcess):  # it was about to end
            process.kill()
    psutil.wait_procs(left, 5)


def workers(client: TitanClient) -> list[WorkerStatus]:
    return [worker for worker in client.workers() if worker.state == "ONLINE"]


def test_a_load_cycle(tmp_path: Path) -> None:
    """Grows to the limit, only by workers of the kind that is wanted; no job is lost or runs twice; shrinks back."""
    witnesses = Witnesses(tmp_path)
    with growing_cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker("GENERAL", "--permanent", slots=1)
        cluster.start_worker("GPU", "--permanent", slots=1)
        jobs = [witnesses.job(f"job-{number}", WORKS) for number in range(40)]
        run = client.submit_dag("burst", jobs)
        most = wait_until(lambda: len(found := workers(client)) == 5 and found, WAIT_S, lambda: client.workers())
        by_kind = [worker.capabilities for worker in most if worker.ephemeral]
        assert by_kind == [("GENERAL",)] * 3
        permanent = next(worker.worker_id for worker in most if worker.permanent)
        assert {worker.parent for worker in most if worker.ephemeral} >= {permanent}
        assert run.result(WAIT_S).state == "COMPLETED"
        assert all(len(witnesses.starts(f"{run}/{job.job_id}")) == 1 for job in jobs)
        assert len({job.worker for job in run.jobs()}) >= 3
        wait_until(lambda: len(client.workers()) == 2, WAIT_S, lambda: client.workers())
        assert all(worker.permanent for worker in client.workers())
        wait_until(lambda: not spawned(tmp_path), WAIT_S, lambda: spawned(tmp_path))


def test_spawned_workers_outlive_their_parent_and_its_successor(tmp_path: Path) -> None:
    witnesses = Witnesses(tmp_path)
    with growing_cluster(tmp_path, "--heartbeat-s", "0.3", "--death-s", "1.5") as cluster, cluster.client() as client:
        parent = cluster.start_worker(slots=1, port=free_port())
        run = client.submit_dag("burst", [witnesses.job(f"job-{n}", gate="go", retries=0) for n in range(2)])
        (child,) = wait_until(lambda: [w for w in workers(client) if w.ephemeral], WAIT_S)
        wait_until(witnesses.started(f"{run}/job-0", f"{run}/job-1"), WAIT_S)
        parent.kill()
        cluster.restart_worker(parent)
        assert psutil.Process(child.pid).is_running()
        witnesses.open("go")
        assert run.result(WAIT_S).state == "COMPLETED"
        on_child = next(job for job in run.jobs() if job.worker == child.worker_id)
        assert len(witnesses.starts(f"{run}/{on_child.job_id}")) == 1
        wait_until(lambda: not spawned(tmp_path), WAIT_S, lambda: client.workers())


def test_one_that_is_killed_is_replaced_while_it_is_wanted(tmp_path: Path) -> None:
    witnesses = Witnesses(tmp_path)
    flags = ("--heartbeat-s", "0.3", "--death-s", "1.5", "--max-workers", "2")
    with growing_cluster(tmp_path, *flags) as cluster, cluster.client() as client:
        cluster.start_worker("GENERAL", "--permanent", slots=1)
        run = client.submit_dag("burst", [witnesses.job(f"job-{n}", gate="go") for n in range(4)])
        (child,) = wait_until(lambda: [w for w in workers(client) if w.ephemeral], WAIT_S)
        os.kill(child.pid, signal.SIGKILL)
        wait_until(lambda: [w for w in workers(client) if w.ephemeral and w.pid != child.pid], WAIT_S)
        witnesses.open("go")
        assert run.result(WAIT_S).state == "COMPLETED"


def test_a_worker_that_is_deployed_by_hand(tmp_path: Path) -> None:
    with growing_cluster(tmp_path, "--scale-down-s", "0.2") as cluster, cluster.client() as client:
        cluster.start_worker()
        port = free_port()
        told = cluster.cli("deploy", "Worker.jar", str(port), "GPU")
        assert told.returncode == 0, told.stderr
        (by_hand,) = wait_until(lambda: [w for w in workers(client) if w.capabilities == ("GPU",)], WAIT_S)
        assert not by_hand.ephemeral
        assert by_hand.worker_id.endswith(f":{port}")
        again = cluster.cli("deploy", "worker", str(port))
        assert again.returncode == 3
        assert f":{port} already" in again.stderr
        stopped = cluster.cli("shutdown", by_hand.worker_id.rpartition(":")[0], str(port))
        assert stopped.returncode == 0, stopped.stderr
        wait_until(lambda: len(client.workers()) == 1, WAIT_S)


@pytest.mark.parametrize(
    "flags, why",
    [
        (("webhook", "--webhook-url", "http://127.0.0.1:9/grow"), "http://127.0.0.1:9/grow can not be reached"),
        (("command", "--provision-command", "false {capability}"), "ended with exit code 1"),
    ],
)
def test_a_provisioner_that_fails_says_why(tmp_path: Path, flags: tuple[str, ...], why: str) -> None:
    witnesses = Witnesses(tmp_path)
    with Cluster(tmp_path, "--provisioner", *flags, *QUICK) as cluster, cluster.client() as client:
        cluster.start_worker()
        run = client.submit_dag("wants", [witnesses.job("train", requirement="GPU")])
        explained = wait_until(lambda: found if why in (found := _explained(client, f"{run}/train")) else "", WAIT_S)
        assert "no worker has GPU" in explained
        assert "the cluster does not grow: " in explained
        told = cluster.cli("status").stdout
        assert why in told
        run.cancel()


def _explained(client: TitanClient, key: str) -> str:
    return "\n".join(client.explain(key).reasons)
