"""What people do to keep a cluster going, as they type it: look back, retry, drain, back up, check, restart."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from titan_core.failpoints import VARIABLE
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

Script = Callable[[str, str], str]


def start(cluster: Cluster, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "titan_sdk.titan_cli", *words]
    return subprocess.Popen(
        command, env=cluster.environ, cwd=cluster.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# ── looking back ──────────────────────────────────────────────────────────────────────────────────


def test_what_happened_is_told_in_order_and_with_reasons(
    cluster: Cluster, client: TitanClient, script: Script
) -> None:
    job = client.submit_job(filename=script("bad.sh", "exit 3"), job_id="bad", retries=1, retry_backoff=0.05)
    job.wait(30)
    told = cluster.cli("events", job.run_id)
    assert told.returncode == 0, told.stderr
    changes = [line.split("  ")[2] for line in told.stdout.splitlines()]
    assert changes[:3] == ["BLOCKED → QUEUED", "QUEUED → RUNNING", "RUNNING → FAILED"]
    assert changes[-1] == "FAILED → DEAD"
    last = json.loads(cluster.cli("events", job.key, "--json").stdout.splitlines()[-1])
    assert (last["after"], last["attempt"], last["reason"]) == ("DEAD", 2, "exit code 3; its one retry used")
    assert last["worker"] in {worker.worker_id for worker in client.workers()}
    missing = cluster.cli("events", f"{job.run_id}/none")
    assert (missing.returncode, missing.stdout) == (4, "")


def test_following_ends_with_the_run(cluster: Cluster, client: TitanClient, tmp_path: Path, script: Script) -> None:
    gate = tmp_path / "gate"
    job = client.submit_job(filename=script("gate.sh", f"until [ -e {gate} ]; do sleep 0.05; done"), job_id="gate")
    with start(cluster, "events", "-f", job.run_id) as following:
        assert following.stdout is not None
        seen = [following.stdout.readline() for _ in range(2)]
        assert "QUEUED → RUNNING" in seen[1]
        gate.touch()
        rest, errors = following.communicate(timeout=30)
    assert "RUNNING → COMPLETED" in rest.splitlines()[-1], (rest, errors)
    assert following.returncode == 0


def test_dead_letters_are_listed_and_retried_together(cluster: Cluster, client: TitanClient, script: Script) -> None:
    client.retry_dead()  # what other tests left
    wait_until(lambda: not client.jobs().jobs, 30)
    fixed = Path(script("now.sh", "exit 9"))
    for number in range(2):
        last = client.submit_dag("dead", [TitanJob(f"dead-{number}", str(fixed))])
        last.wait(30)
    (first, *_), listed = client.dead_jobs().jobs, cluster.cli("dlq", "-n", "1")
    assert first.run_id == str(last) and len(first.attempts) == 1
    assert listed.stdout.splitlines()[0].split() == ["JOB", "DIED", "ATTEMPTS", "EXIT", "WORKER", "REASON"]
    assert "1 of " in listed.stderr and "titan retry --all-dead" in listed.stderr
    dead = {f"{job.run_id}/{job.job_id}" for job in client.dead_jobs().jobs}
    again = cluster.cli("retry", "--all-dead", "-q")
    assert (again.returncode, set(again.stdout.split())) == (0, dead)


def test_nothing_to_retry_is_a_plain_sentence(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        none = cluster.cli("retry", "--all-dead")
        assert (none.returncode, none.stdout) == (0, "no job is DEAD that could run again\n")
        assert cluster.cli("retry", "--all-dead", "-q").stdout == ""
        assert cluster.cli("dlq").stderr == "no job is DEAD\n"
        assert cluster.cli("retry").returncode == 2
        assert cluster.cli("events", "last").returncode == 4


# ── draining ──────────────────────────────────────────────────────────────────────────────────────


def test_a_drained_worker_finishes_what_it_runs_and_gets_no_more(tmp_path: Path, script: Script) -> None:
    gate = tmp_path / "gate"
    home = tmp_path / "home"
    home.mkdir()
    with Cluster(home) as cluster, cluster.client() as client:
        cluster.start_worker()
        (worker,) = client.workers()
        job = client.submit_job(filename=script("gate.sh", f"until [ -e {gate} ]; do sleep 0.05; done"))
        wait_until(lambda: job.status() == "RUNNING", 30)
        with start(cluster, "drain", worker.worker_id.rpartition(":")[2], "--wait") as draining:
            wait_until(lambda: client.workers()[0].state == "DRAINING", 30)
            late = client.submit_job(filename=script("late.sh", "echo late"))
            assert "DRAINING" in cluster.cli("workers").stdout
            assert draining.poll() is None
            gate.touch()
            out, errors = draining.communicate(timeout=30)
        assert (draining.returncode, out) == (0, f"no job runs on worker {worker.worker_id}\n")
        assert f"1 job still running there: {job.key}" in errors
        assert (job.wait(30).state, late.status()) == ("COMPLETED", "QUEUED")
        assert cluster.cli("drain", worker.worker_id).returncode == 0  # once more
        assert cluster.cli("drain", worker.worker_id, "--undo", "-q").stdout == f"{worker.worker_id}\n"
        assert late.wait(30).state == "COMPLETED"
        assert cluster.cli("drain", "nowhere:1").returncode == 4


# ── the home ──────────────────────────────────────────────────────────────────────────────────────


def test_a_backup_unpacked_elsewhere_goes_on(tmp_path: Path, script: Script) -> None:
    home, elsewhere, archive = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "titan.tar"
    for directory in (home, elsewhere):
        directory.mkdir()
    with Cluster(home) as cluster, cluster.client() as client:
        client.upload_file(script("kept.sh", "echo kept"), "deep/kept.sh")
        done = client.submit_job(filename=script("hello.sh", "echo hello"), job_id="hello", requirement="LATER")
        saved = cluster.cli("backup", str(archive))
        assert saved.returncode == 0, saved.stderr
        assert archive.stat().st_mode & 0o777 == 0o600
        assert "tar xf" in saved.stderr and "the token is not in it" in saved.stderr
        assert cluster.cli("backup", str(archive)).returncode == 3
        assert cluster.cli("backup", str(archive), "--force", "-q").stdout == f"{archive}\n"
        piped = cluster.cli("backup", "-", text=False)
        assert piped.returncode == 0 and tarfile.is_tarfile(_saved(tmp_path / "piped.tar", piped.stdout))
        assert not list((home / ".titan").glob("backup-*"))
    subprocess.run(["tar", "xf", archive, "-C", elsewhere], check=True)
    assert not (elsewhere / ".titan" / "token").exists()
    with Cluster(elsewhere) as cluster, cluster.client() as client:
        cluster.start_worker("LATER")
        assert client.wait(done.key, timeout=60).state == "COMPLETED"
        assert client.fetch_logs(done.key) == "hello\n"
        assert [asset.name for asset in client.assets()] == ["deep/kept.sh"]
        assert client.check().problems == ()


def _saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_backup_needs_a_place(cluster: Cluster, tmp_path: Path) -> None:
    directory = cluster.cli("backup", str(tmp_path))
    assert directory.returncode == 3 and "is a directory; name a file in it" in directory.stderr
    nowhere = cluster.cli("backup", str(tmp_path / "none" / "titan.tar"))
    assert nowhere.returncode == 3 and "can not be written: No such file or directory" in nowhere.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_home_is_checked_with_its_master_and_without(tmp_path: Path, script: Script) -> None:
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker()
        client.submit_job(filename=script("hello.sh", "echo hello")).wait(30)
        running = cluster.cli("check")
        assert (running.returncode, running.stdout) == (0, "all is sound: 1 run, 1 job, 1 attempt checked\n")
        assert cluster.cli("check", "--home", str(tmp_path)).stdout == running.stdout
    stopped = cluster.cli("check")
    assert (stopped.returncode, stopped.stdout) == (0, running.stdout), stopped.stderr
    assert "no master runs" in stopped.stderr
    report = json.loads(cluster.cli("check", "--home", str(tmp_path), "--json").stdout)
    assert report == {"problems": [], "runs": 1, "jobs": 1, "attempts": 1}
    _spoil(tmp_path / ".titan" / "state.db")
    spoilt = cluster.cli("check")
    assert spoilt.returncode == 1 and "1 problem found" in spoilt.stdout
    nothing = cluster.cli("check", "--home", str(tmp_path / "none"))
    assert nothing.returncode == 2 and "no stored state" in nothing.stderr


def _spoil(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE runs SET live_jobs = 7")
        connection.commit()


# ── over a restart of the master ──────────────────────────────────────────────────────────────────


def test_a_wait_goes_on_over_a_master_that_is_killed(tmp_path: Path, script: Script) -> None:
    gate = tmp_path / "gate"
    with Cluster(tmp_path) as cluster, cluster.client() as client:
        cluster.start_worker()
        job = client.submit_job(filename=script("gate.sh", f"until [ -e {gate} ]; do sleep 0.05; done"))
        wait_until(lambda: job.status() == "RUNNING", 30)
        port = cluster.port
        with start(cluster, "wait", job.run_id) as waiting, start(cluster, "events", "-f", job.key) as following:
            assert following.stdout is not None and waiting.stderr is not None
            begun = [following.stdout.readline(), waiting.stderr.readline()]
            assert job.job_id in begun[1], begun  # both had their first answer
            cluster.master.signal(signal.SIGKILL)
            cluster.master.process.wait(20)
            cluster.start_master("--port", str(port))
            gate.touch()
            out, errors = waiting.communicate(timeout=60)
            told, _ = following.communicate(timeout=60)
        assert (waiting.returncode, out) == (0, f"{job.run_id} COMPLETED\n"), errors
        assert errors.count("the master is away") == 1
        assert "RUNNING → COMPLETED" in told and following.returncode == 0
        assert len(job.wait(30).attempts) == 1


def test_a_submission_whose_answer_was_lost_is_sent_again_and_runs_once(tmp_path: Path, script: Script) -> None:
    armed = tmp_path / "armed"
    with Cluster(tmp_path) as cluster, cluster.client() as client, ThreadPoolExecutor(1) as pool:
        port = str(cluster.port)
        cluster.master.stop()
        cluster.environ[VARIABLE] = f"master.before_reply@{armed}"
        cluster.start_master("--port", port)
        del cluster.environ[VARIABLE]
        client.workers()  # an idle connection, which is tried first
        armed.touch()
        submitted = pool.submit(client.submit_job, filename=script("hello.sh", "echo hello"))
        assert cluster.master.process.wait(20) == -signal.SIGKILL
        cluster.start_master("--port", port)
        assert submitted.result(30).run_id == client.run("last").run_id
        assert len(client.runs()) == 1
