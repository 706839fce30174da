"""A job is in its slot's cgroup from its first instant to its last, and so is whatever it starts."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.worker import cgroup, procfs
from titan_core.worker.app import Worker
from titan_core.worker.process_registry import ProcessRegistry
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.cgroups import needs_cgroups
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

pytestmark = needs_cgroups

OUTSIDE = procfs.cgroup(os.getpid())
HIDE = "(env -i setsid bash -c 'echo $$ > hidden; exec sleep 600' &); while [ ! -s hidden ]; do :; done;"
"""Leaves a process without parent, session and environment."""


@pytest.fixture
def worker(master: WorkerMaster, start_worker: StartWorker) -> Worker:
    """One that owns its process, and so may take it into a cgroup."""
    worker = start_worker(alone=True)
    master.wait_for_worker()
    wait_until(lambda: worker.warm.server_pid)
    return worker


@pytest.fixture
def own(worker: Worker) -> str:
    """The name of the worker's cgroup."""
    return procfs.cgroup(os.getpid())


@pytest.fixture
def parts(worker: Worker) -> set[int]:
    """The processes of the worker itself: this one, and its fork server."""
    return {os.getpid(), worker.warm.server_pid}


@pytest.fixture
def path() -> Iterator[Path]:
    """An empty cgroup with a worker's name."""
    path = cgroup.place_for(1)
    path.mkdir()
    yield path
    if path.exists():
        path.rmdir()


@pytest.fixture
def inmate(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in that cgroup."""
    with subprocess.Popen(["sleep", "600"]) as process:
        (path / "cgroup.procs").write_text(str(process.pid))
        yield process
        process.kill()


def in_cgroup(name: str) -> list[int]:
    return [pid for pid in procfs.all_pids() if procfs.cgroup(pid).startswith(name)]


def test_a_job_is_born_into_the_cgroup_of_its_slot(master: WorkerMaster, own: str) -> None:
    token = master.start("cat /proc/self/cgroup")
    master.result(token)
    assert own.startswith(f"{OUTSIDE.rstrip('/')}/titan-worker-")
    assert f"0::{own}/slot-0\n" in master.log(token).decode()


def test_jobs_at_the_same_time_are_in_different_ones(master: WorkerMaster, own: str) -> None:
    tokens = [master.start("cat /proc/self/cgroup; sleep 0.3") for _ in range(4)]
    tokens.append(master.start("cat /proc/self/cgroup", service=True))
    assert {master.result(token).outcome for token in tokens} == {"SUCCEEDED"}
    assert len({master.log(token) for token in tokens}) == 5


def test_what_hides_ends_with_its_job_while_a_service_runs(master: WorkerMaster, own: str, shared: Path) -> None:
    service = master.start("exec sleep 600", service=True)
    assert master.run(f"{HIDE} exit 3").exit_code == 3
    assert in_cgroup(own) == sorted([os.getpid(), *procfs.children(os.getpid())])
    master.stop(service)
    master.result(service)


def test_what_hides_is_cancelled_while_a_service_runs(master: WorkerMaster, own: str, shared: Path) -> None:
    service = master.start("exec sleep 600", service=True)
    token = master.start(f"{HIDE} touch up; sleep 600")
    wait_until((shared / "up").exists)
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"
    assert procfs.status(int((shared / "hidden").read_text())) is None
    assert not master.results(service)
    master.stop(service)
    master.result(service)


def test_a_slot_goes_on_after_it_has_killed(master: WorkerMaster, start_worker: StartWorker) -> None:
    start_worker(alone=True, slots=1)
    master.wait_for_worker()
    for _ in range(3):
        assert master.run(f"rm -f hidden; {HIDE} exit 0").outcome == "SUCCEEDED"
        token = master.start("cat /proc/self/cgroup")
        assert master.result(token).outcome == "SUCCEEDED"
        assert "/slot-0\n" in master.log(token).decode()


def test_many_chains_of_forks_are_ended(master: WorkerMaster, own: str, parts: set[int], shared: Path) -> None:
    bomb = """\
import os, time
until = time.monotonic() + 60
for _ in range(64):
    if os.fork() == 0:
        while time.monotonic() < until:
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.03)
        os._exit(0)
open("up", "w").close()
time.sleep(600)
"""
    token = master.start(bomb, "job.py", stop_grace_s=0.0)
    wait_until((shared / "up").exists)
    master.stop(token)
    assert master.result(token, 30).outcome == "STOPPED"
    assert set(in_cgroup(own)) == parts


def test_threads_that_outlive_the_first_of_their_process(
    master: WorkerMaster, own: str, parts: set[int], shared: Path
) -> None:
    """Their process counts as a zombie, and lives."""
    headless = """\
import ctypes, os, threading, time
if os.fork() == 0:
    os.setsid()
    threading.Thread(target=lambda: (open("up", "w").close(), time.sleep(600))).start()
    ctypes.CDLL(None).pthread_exit(None)
while not os.path.exists("up"):
    time.sleep(0.005)
"""
    assert master.run(headless, "job.py").outcome == "SUCCEEDED"
    assert set(in_cgroup(own)) == parts


def test_a_cgroup_that_a_job_makes_below_its_own(master: WorkerMaster, own: str, parts: set[int]) -> None:
    nested = """\
below=$(sed -n 's/^0:://p' /proc/self/cgroup); for top in /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -d "$top$below" ] || continue
  mkdir "$top$below/mine" && echo threaded > "$top$below/mine/cgroup.type"
  setsid sleep 600 & echo $! > "$top$below/mine/cgroup.threads"; exit 7
done
"""
    assert master.run(nested).exit_code == 7
    assert set(in_cgroup(own)) == parts


def test_a_worker_that_stops_leaves_no_cgroup(master: WorkerMaster, worker: Worker, own: str) -> None:
    place = cgroup._own_directory()
    master.run("true")
    worker.stop()
    assert worker.join(15)
    assert not place.exists()
    assert procfs.cgroup(os.getpid()) == OUTSIDE


def test_a_worker_in_a_process_of_others_moves_nobody(master: WorkerMaster, start_worker: StartWorker) -> None:
    start_worker()
    master.wait_for_worker()
    assert procfs.cgroup(os.getpid()) == OUTSIDE


def test_a_worker_inside_another_ones_cgroup_has_none(
    master: WorkerMaster, start_worker: StartWorker, own: str
) -> None:
    """As when it is a job: below a threaded cgroup there are no others."""
    master.run("true")
    below = {entry.name for entry in cgroup._own_directory().iterdir()}
    start_worker(alone=True)
    master.wait_for_worker(2)
    assert master.run("setsid sleep 600 & exit 4").exit_code == 4
    assert procfs.cgroup(os.getpid()) == own
    assert {entry.name for entry in cgroup._own_directory().iterdir()} == below


def test_a_thread_that_a_slot_has_started_is_not_frozen(tmp_path: Path) -> None:
    registry = ProcessRegistry(tmp_path, 1)
    worker_cgroup = registry.make_cgroup()
    assert worker_cgroup is not None
    ended: list[int] = []
    over = threading.Event()

    def serve() -> None:
        slot = worker_cgroup.slot()
        assert slot is not None
        with subprocess.Popen(["sleep", "600"]) as process:
            beside = threading.Thread(target=over.wait)
            beside.start()
            slot.end_all()
            ended.append(process.wait(10))
        assert slot.entered
        assert not slot.has_processes()
        over.set()
        beside.join()

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(30)
    over.set()
    worker_cgroup.close()
    registry.close()
    assert ended == [-9]


# ── what a killed worker left ─────────────────────────────────────────────────────────────────────


def test_a_successor_ends_what_is_recorded(tmp_path: Path, path: Path, inmate: subprocess.Popen[bytes]) -> None:
    registry = ProcessRegistry(tmp_path, 1)
    registry._cgroup_path(registry._directory).write_text(f"{path}\n")
    assert registry.end_leftovers() == 1
    assert inmate.wait(10) == -9
    assert not path.exists()
    assert registry.end_leftovers() == 0
    registry.close()


@pytest.mark.parametrize("name", ["titan-worker-1", "system.slice", "titan-worker-1-0123456789ABCDEF", ""])
def test_a_cgroup_with_another_name_is_not_touched(
    path: Path, inmate: subprocess.Popen[bytes], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_write", None)
    assert cgroup.end_all_in(path / name if name else path.parent) == 0
    assert inmate.poll() is None


def test_nobody_kills_himself(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job of a dead worker may have started the very worker that looks for leftovers."""
    monkeypatch.setattr(cgroup, "_write", None)
    assert cgroup.end_all_in(cgroup._own_directory()) == 0
    assert cgroup._own_directory().exists()


def test_empty_ones_without_a_successor_are_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = path / "home"
    for directory in (home / "titan-worker-1-0123456789abcdef" / "slot-0", home / "of-others"):
        directory.mkdir(parents=True)
    cgroup._remove_abandoned(home)
    assert len([entry for entry in home.iterdir() if entry.is_dir()]) == 2
    monkeypatch.setattr(cgroup, "_ABANDONED_S", -1.0)
    cgroup._remove_abandoned(home)
    assert [entry.name for entry in home.iterdir() if entry.is_dir()] == ["of-others"]
    (home / "of-others").rmdir()
    home.rmdir()
