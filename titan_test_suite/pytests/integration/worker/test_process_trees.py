"""Nothing of a job outlives it, however it hides; nothing that is not a job's is touched."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.worker import procfs
from titan_core.worker.app import Worker
from titan_core.worker.process_tree import OrphanHouse
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

pytestmark = pytest.mark.usefixtures("worker")

DAEMON = """\
import os, sys, time
note = lambda name: open(os.environ["TITAN_SHARED"] + "/" + name, "w").write(str(os.getpid()))
def daemon(name):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for fd in range(3): os.close(fd)
            note(name); time.sleep(600)
        os._exit(0)
    os.wait()
"""
WAIT_FOR = "while not os.path.exists(os.environ['TITAN_SHARED'] + '/{0}'): time.sleep(0.005)\n"


def noted_pid(shared: Path, name: str) -> int:
    """The pid that a process of the job has written to a file."""
    text = wait_until(lambda: (shared / name).exists() and (shared / name).read_text().strip(), explain=f"no {name}")
    return int(text)


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


# ── a job that ends by itself ─────────────────────────────────────────────────────────────────────


def test_a_background_process_ends_with_its_job(master: WorkerMaster, shared: Path) -> None:
    result = master.run("sleep 600 & echo $! > child; exit 5")
    assert (result.outcome, result.exit_code) == ("FAILED", 5)
    assert is_gone(noted_pid(shared, "child"))


def test_a_daemon_ends_with_its_job(master: WorkerMaster, shared: Path) -> None:
    result = master.run(DAEMON + "daemon('d')\n" + WAIT_FOR.format("d"), "job.py")
    assert (result.outcome, result.exit_code) == ("SUCCEEDED", 0)
    assert is_gone(noted_pid(shared, "d"))


def test_a_grandchild_in_a_session_of_its_own_ends_with_its_job(master: WorkerMaster, shared: Path) -> None:
    assert master.run("setsid sh -c 'echo $$ > s; sleep 600' & while [ ! -s s ]; do :; done").exit_code == 0
    assert is_gone(noted_pid(shared, "s"))


def test_an_open_pipe_in_a_grandchild_delays_nothing(master: WorkerMaster) -> None:
    begun_at = time.monotonic()
    token = master.start("(sleep 600; echo never) & echo done")
    assert master.result(token).outcome == "SUCCEEDED"
    assert master.log(token) == b"done\n"
    assert time.monotonic() - begun_at < 5


def test_closed_output_is_no_end(master: WorkerMaster) -> None:
    token = master.start("echo first; exec >&- 2>&-; sleep 0.1; exit 6")
    assert master.result(token).exit_code == 6
    assert master.log(token) == b"first\n"


def test_a_tree_of_three_generations_that_lose_their_marks(master: WorkerMaster, shared: Path) -> None:
    """Sessions of their own, no environment; the first is still below its parent when the job ends."""
    lost = "env -i setsid bash -c 'echo $$ > a; sleep 600 & echo $! > b; wait'"
    script = f"({lost} & wait) & while [ ! -s b ]; do :; done"
    assert master.run(script).outcome == "SUCCEEDED"
    assert is_gone(noted_pid(shared, "a"))
    assert is_gone(noted_pid(shared, "b"))


# ── a job that is ended ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "leave", ["sleep 600", "setsid sleep 600", "env -i setsid sleep 600", "trap '' TERM; sleep 600"]
)
def test_cancel_ends_everything_below(master: WorkerMaster, shared: Path, leave: str) -> None:
    token = master.start(
        f"(echo $BASHPID > child; exec {leave}) & wait"
        if "trap" not in leave
        else f"({leave}) & echo $! > child; wait",
        stop_grace_s=0.3,
    )
    pid = noted_pid(shared, "child")
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"
    assert is_gone(pid)


def test_cancel_ends_a_daemon(master: WorkerMaster, shared: Path) -> None:
    token = master.start(DAEMON + "daemon('d')\ntime.sleep(600)\n", "job.py")
    pid = noted_pid(shared, "d")
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"
    assert is_gone(pid)


def test_a_time_out_ends_a_daemon(master: WorkerMaster, shared: Path) -> None:
    result = master.run(DAEMON + "daemon('d')\ntime.sleep(600)\n", "job.py", timeout_s=0.7)
    assert result.outcome == "TIMED_OUT"
    assert is_gone(noted_pid(shared, "d"))


def test_the_grace_is_also_the_childrens(master: WorkerMaster, shared: Path) -> None:
    """The leader dies of the signal at once; its child still writes down what it has."""
    child = """\
import os, signal, sys, time
signal.signal(15, lambda number, frame: (time.sleep(0.2), open("saved", "w").close(), sys.exit()))
if os.fork() == 0:
    open("up", "w").close()
    time.sleep(600)
signal.signal(15, signal.SIG_DFL)
time.sleep(600)
"""
    token = master.start(child, "job.py")
    wait_until((shared / "up").exists)
    master.stop(token)
    master.result(token)
    assert (shared / "saved").exists()


@pytest.fixture(params=[False, True], ids=["as they are", "stopped first"])
def looked_at(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How orphans are looked at: from the first round on as when many rounds were not enough, too."""
    if request.param:
        monkeypatch.setattr("titan_core.worker.process_tree._CALM_ROUNDS", 0)


@pytest.fixture
def no_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where none can be made."""

    def nowhere(port: int) -> Path:
        raise PermissionError("not for you")

    monkeypatch.setattr("titan_core.worker.cgroup.place_for", nowhere)


@pytest.mark.usefixtures("looked_at", "no_cgroup")
def test_a_storm_of_forks_is_ended(master: WorkerMaster, start_worker: StartWorker, shared: Path) -> None:
    start_worker(alone=True)  # what ends before it was looked at bears no mark any more
    master.wait_for_worker(2)
    storm = """\
import os, time
open(os.environ["TITAN_SHARED"] + "/storm", "w").close()
until = time.monotonic() + 20
while time.monotonic() < until:
    if os.fork() == 0:
        os.setsid()
    else:
        time.sleep(0.004)
        os._exit(0)
"""
    token = master.start(f"import os, time\nif os.fork():\n    time.sleep(600)\n{storm}", "job.py", stop_grace_s=0.0)
    wait_until((shared / "storm").exists)
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"
    wait_until(lambda: not processes_of(token), 5, lambda: processes_of(token))


def processes_of(token: bytes) -> list[int]:
    return [pid for pid in procfs.all_pids() if procfs.attempt_token(pid) == token.hex()]


# ── what must be left alone ───────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("looked_at")
def test_the_daemon_of_a_live_job_is_left_alone(master: WorkerMaster, shared: Path) -> None:
    token = master.start(DAEMON + "daemon('d')\ntime.sleep(600)\n", "job.py", service=True)
    pid = noted_pid(shared, "d")
    wait_until(lambda: psutil.Process(pid).ppid() == os.getpid())
    for _ in range(5):
        assert master.run("sleep 0.01 & exit 0").outcome == "SUCCEEDED"
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
    master.stop(token)
    master.result(token)
    assert is_gone(pid)


def test_a_heartbeat_does_not_wait_for_a_sweep() -> None:
    """The kernel may hold a killed process for longer than the master waits for a sign of life."""
    house = OrphanHouse(alone=False)
    house.open()
    try:
        with house._lock:
            house.reap()
    finally:
        house.close()


def test_orphans_that_end_are_reaped_while_their_service_goes_on(
    master: WorkerMaster, start_worker: StartWorker, shared: Path
) -> None:
    master.heartbeat_s = 0.05
    start_worker()
    master.wait_for_worker(2)
    token = master.start("for n in 1 2 3 4 5; do (true &); done; touch over; exec sleep 600", service=True)
    wait_until((shared / "over").exists)
    wait_until(lambda: not zombies(), 5, zombies)
    master.stop(token)
    master.result(token)


def zombies() -> list[int]:
    found = [procfs.status(pid) for pid in procfs.children(os.getpid())]
    return [status.process.pid for status in found if status is not None and status.state == "Z"]


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process that has nothing to do with the worker."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.mark.usefixtures("looked_at")
def test_other_children_of_the_process_are_left_alone(
    master: WorkerMaster, shared: Path, stranger: subprocess.Popen[bytes]
) -> None:
    with subprocess.Popen(["true"], start_new_session=True) as ended:
        wait_until(lambda: psutil.Process(ended.pid).status() == psutil.STATUS_ZOMBIE)
        assert master.run("setsid sleep 600 & exit 0").exit_code == 0
        token = master.start("sleep 600 & wait")
        master.stop(token)
        master.result(token)
        assert ended.wait() == 0
    assert stranger.poll() is None
    wait_until(lambda: psutil.Process(stranger.pid).status() == psutil.STATUS_SLEEPING)  # and was not stopped


def test_nothing_is_left_when_the_worker_stops(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    tokens = [
        master.start(DAEMON + "daemon('d')\ntime.sleep(600)\n", "job.py"),
        master.start("trap '' TERM; echo $$ > t; while :; do sleep 0.05; done"),
        master.start("setsid sleep 600 & echo $! > s; wait", service=True),
    ]
    pids = [noted_pid(shared, name) for name in ("d", "t", "s")]
    worker.stop()
    assert worker.join(15)
    assert all(is_gone(pid) for pid in pids)
    assert {master.result(token).outcome for token in tokens} == {"INTERRUPTED"}
    assert {master.result(token).reason for token in tokens} == {"the worker is stopping"}


def test_many_slots_sweep_at_once(master: WorkerMaster) -> None:
    tokens = [master.start("setsid sleep 600 & sleep 600 & (setsid sleep 600 &) ; exit 0") for _ in range(24)]
    assert {master.result(token).outcome for token in tokens} == {"SUCCEEDED"}
    assert not [pid for token in tokens for pid in processes_of(token)]
    assert threading.active_count() < 30
