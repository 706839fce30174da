"""Processes come and go: as a user starts and stops them, and as they die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]
FAST = ("--heartbeat-s", "0.2", "--death-s", "3")


def test_three_terminals_and_ctrl_c_leave_no_process(tmp_path: Path, script: Script) -> None:
    pids = tmp_path / "pids"
    sleeper = script("sleeper.sh", f"trap 'exit 0' TERM; sleep 600 & echo $$ $! > {pids}; wait")
    with Cluster(tmp_path) as cluster:
        worker = cluster.start_worker()
        started = cluster.cli("run", sleeper)
        assert started.returncode == 0, started.stderr
        assert "Active Workers:    1" in cluster.cli(input="stats\nexit\n").stdout
        wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
        worker.signal(signal.SIGINT)
        assert worker.process.wait(15) == 0, worker.tail()
        cluster.master.signal(signal.SIGINT)
        assert cluster.master.process.wait(15) == 0, cluster.master.tail()
    assert not any(psutil.pid_exists(int(pid)) for pid in pids.read_text().split())
    assert not (tmp_path / ".titan" / "master.json").exists()


def test_a_second_signal_ends_a_worker_at_once(tmp_path: Path, script: Script) -> None:
    pid = tmp_path / "pid"
    stubborn = script("stubborn.sh", f"trap '' TERM; echo $$ > {pid}; while :; do sleep 0.1; done")
    with Cluster(tmp_path) as cluster:
        worker = cluster.start_worker()
        with cluster.client() as client:
            client.submit_job(job_id="stubborn", filename=stubborn, stop_grace=60)
            wait_until(pid.exists)
            worker.signal(signal.SIGTERM)
            wait_until(lambda: client.workers()[0].state == "DRAINING")
        worker.signal(signal.SIGTERM)
        worker.process.wait(5)
        cluster.workers.clear()
        wait_until(lambda: not psutil.pid_exists(int(pid.read_text())), 5)


def test_a_worker_that_stops_gives_its_jobs_back(tmp_path: Path, script: Script) -> None:
    gate = tmp_path / "gate"
    waits = script("waits.sh", f"while ! test -e {gate}; do sleep 0.05; done")
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        first = cluster.start_worker()
        job = client.submit_job(job_id="waits", filename=waits)
        wait_until(lambda: client.job(job.key).state == "RUNNING")
        first.stop()
        wait_until(lambda: client.job(job.key).state == "QUEUED", explain=lambda: client.job(job.key))
        cluster.start_worker()
        gate.touch()
        status = job.result(timeout=20)
        assert [attempt.outcome for attempt in status.attempts] == ["INTERRUPTED", "SUCCEEDED"]


def test_a_killed_worker_loses_its_attempts_and_another_takes_them(tmp_path: Path, script: Script) -> None:
    gate = tmp_path / "gate"
    waits = script("waits.sh", f"while ! test -e {gate}; do sleep 0.05; done")
    with Cluster(tmp_path, *FAST) as cluster, cluster.client() as client:
        first = cluster.start_worker()
        job = client.submit_job(job_id="waits", filename=waits)
        wait_until(lambda: client.job(job.key).state == "RUNNING")
        first.kill()
        cluster.start_worker()
        wait_until(lambda: len(client.job(job.key).attempts) == 2, explain=lambda: client.job(job.key))
        gate.touch()
        assert [a.outcome for a in job.result(timeout=20).attempts] == ["LOST", "SUCCEEDED"]


def test_a_worker_that_was_frozen_can_not_complete_a_superseded_attempt(tmp_path: Path, script: Script) -> None:
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    slow = script(
        "slow.sh", f"echo start $TITAN_ATTEMPT >> {ledger}; while ! test -e {gate}; do sleep 0.05; done; exit 0"
    )
    with Cluster(tmp_path, *FAST) as cluster, cluster.client() as client:
        frozen = cluster.start_worker()
        job = client.submit_job(job_id="slow", filename=slow)
        wait_until(lambda: ledger.exists())
        frozen.signal(signal.SIGSTOP)
        cluster.start_worker()
        wait_until(lambda: ledger.read_text().count("start") == 2, explain=lambda: client.job(job.key))
        frozen.signal(signal.SIGCONT)
        wait_until(lambda: len(client.workers()) == 2)
        gate.touch()
        status = job.result(timeout=20)
        assert [attempt.outcome for attempt in status.attempts] == ["LOST", "SUCCEEDED"]


def test_a_new_master_on_the_same_port_gets_its_workers_back(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_worker()
        port = str(cluster.port)
        cluster.master.kill()
        cluster.start_master("--port", port)
        with cluster.client() as client:
            wait_until(lambda: client.workers(), 15)
            assert (
                client.submit_job(job_id="x", filename=script("x.sh", "true")).result(timeout=20).state == "COMPLETED"
            )


def test_a_second_master_on_a_used_port_says_so(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        home = str(tmp_path / "another")
        command = [sys.executable, "-m", "titan_core.master", "--port", str(cluster.port), "--home", home]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, cwd=tmp_path)
        assert second.returncode == 1
        assert f"port {cluster.port} on 127.0.0.1 is in use" in second.stderr
        assert "Traceback" not in second.stderr


def test_two_workers_of_one_name_are_told_apart(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker("GENERAL", "--hostname", "alpha")
        port = client.workers()[0].worker_id.rpartition(":")[2]
        command = [sys.executable, "-m", "titan_core.worker", port, "localhost", str(cluster.port)]
        environ = {**cluster.environ, "TITAN_HOME": str(tmp_path)}
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environ)
        assert second.returncode == 1
        assert f"port {port}" in second.stderr
        assert len(client.workers()) == 1


def test_shutdown_of_a_worker_is_an_answer(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_worker("GENERAL", "--permanent")
        cluster.start_worker()
        with cluster.client() as client:
            permanent, ephemeral = client.workers()
        refused = cluster.cli("shutdown", *permanent.worker_id.split(":"))
        assert refused.returncode == 3
        assert "permanent" in refused.stderr
        assert cluster.cli("shutdown", *ephemeral.worker_id.split(":")).returncode == 0
        assert cluster.workers[1].process.wait(15) == 0
        assert cluster.cli("shutdown", "localhost", permanent.worker_id.split(":")[1], "--force").returncode == 0
        assert cluster.workers[0].process.wait(15) == 0
        assert cluster.cli("shutdown", "nowhere", "1").returncode == 4


def test_nobody_without_the_token_gets_in(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path) as cluster:
        stranger = {**cluster.environ, "TITAN_HOME": str(tmp_path / "elsewhere")}
        without = cluster.cli("--master", f"127.0.0.1:{cluster.port}", "stats", env=stranger)
        assert without.returncode == 5
        assert "--token-file" in without.stderr
        wrong = cluster.cli("stats", env={**cluster.environ, "TITAN_TOKEN": "x" * 64})
        assert wrong.returncode == 5
        assert len(wrong.stderr.strip().splitlines()) == 1


def test_no_master_is_one_sentence(tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TITAN_")}
    environ |= {"TITAN_HOME": str(tmp_path), "TITAN_TOKEN": "x" * 64, "TITAN_MASTER": "127.0.0.1:1"}
    command = [sys.executable, "-m", "titan_sdk.titan_cli", "stats"]
    lonely = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environ)
    assert lonely.returncode == 1
    assert "python -m titan_core.master" in lonely.stderr
    assert "Traceback" not in lonely.stderr


def test_a_client_that_dies_loses_nothing(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        waiting = subprocess.Popen(
            [sys.executable, "-m", "titan_sdk.titan_cli", "run", script("nap.sh", "sleep 0.5"), "--wait"],
            env=cluster.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        run = wait_until(client.runs)[0]
        waiting.kill()
        waiting.wait()
        cluster.start_worker()
        assert TitanClient.wait(client, run.run_id, timeout=20).state == "COMPLETED"
        assert (
            client.submit_dag("more", [TitanJob("m", script("m.sh", "true"))]).wait(timeout=20).state == "COMPLETED"
        )
