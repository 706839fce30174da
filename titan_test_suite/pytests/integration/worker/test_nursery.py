"""Workers that are started by workers: how, what they outlive, and what is said when there is none."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from titan_core.config import WorkerConfig
from titan_core.errors import Conflict
from titan_core.protocol.messages import LogPosition, Register, Shutdown, SpawnFailed, SpawnWorker
from titan_core.worker import nursery, procfs, solitude
from titan_core.worker.app import Worker
from titan_core.worker.link import Link
from titan_core.worker.nursery import spawn_command, spawn_environment
from titan_core.worker.process_tree import is_spawned
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.cgroups import CAN_BE_MADE
from titan_test_suite.pytests.support.cluster import Program
from titan_test_suite.pytests.support.ports import free_ports
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

START_S = 30
LEAVES = "env -i setsid sh -c 'sleep 600' & (setsid sleep 600 &) ; exit 0"
"""Processes that only a sweep finds."""

StartProgram = Callable[..., Program]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    return {**clean, "TITAN_HOME": str(tmp_path), "TITAN_TOKEN": TOKEN, "TITAN_WORKER_RECONNECT_MAX_S": "0.2"}


@pytest.fixture
def start(master: WorkerMaster, tmp_path: Path, environ: dict[str, str]) -> Iterator[StartProgram]:
    """Starts worker processes of `master`, registered when this returns. In the end nobody of the home is left."""
    programs: list[Program] = []

    def start(port: int, *flags: str, **variables: str) -> Program:
        wait_until(lambda: not master.has(port), START_S)  # a predecessor that was killed
        arguments = ["titan_core.worker", str(port), "127.0.0.1", str(master.port), "A,B", *flags]
        programs.append(Program(f"worker-{len(programs)}", arguments, tmp_path, environ | variables))
        wait_until(lambda: master.has(port), START_S, programs[-1].tail)
        return programs[-1]

    yield start
    for program in programs:
        program.kill()
    for pid in spawned(tmp_path):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not spawned(tmp_path), 5)


@pytest.fixture
def ports() -> list[int]:
    """Three that are free."""
    return free_ports(3)


def spawned(home: Path) -> list[int]:
    """The processes of workers of this home that workers have started, as far as they have not ended."""
    found = [pid for pid in procfs.all_pids() if is_spawned(pid) and str(home) in procfs.arguments(pid)]
    return [pid for pid in found if (status := procfs.status(pid)) is not None and status.state != "Z"]


def spawn(master: WorkerMaster, parent: int, port: int, ephemeral: bool = True) -> Register:
    """Have one worker start another; what that one says of itself."""
    master.send(SpawnWorker(port, ("GPU", "X"), ephemeral), parent)
    wait_until(lambda: master.has(port), START_S, lambda: master.of(SpawnFailed))
    return next(register for register in reversed(master.registrations) if register.port == port)


def failed(master: WorkerMaster) -> SpawnFailed:
    return wait_until(lambda: master.of(SpawnFailed), START_S)[0]  # type: ignore[return-value]


def is_running(pid: int) -> bool:
    return (status := procfs.status(pid)) is not None and status.state != "Z"


def open_files(pid: int) -> set[str]:
    """What the descriptors of a process are, as the kernel names it; some may come and go meanwhile."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def works(master: WorkerMaster, port: int) -> bool:
    """Whether the worker there runs jobs."""
    master._session = master._sessions[port]
    return master.run("true").outcome == "SUCCEEDED"


# ── what it is ────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_starts_one_like_itself(
    master: WorkerMaster, start: StartProgram, ports: list[int], tmp_path: Path
) -> None:
    before = time.time()
    start(
        ports[0], "--slots=3", "--max-services=7", "--hostname=here", "--permanent", TITAN_FAILPOINT="store.loading"
    )
    parent = master.registrations[-1]
    assert (parent.ephemeral, parent.permanent, parent.parent) == (False, True, "")
    child = spawn(master, ports[0], ports[1])
    assert (child.port, child.hostname, child.capabilities) == (ports[1], "here", ("GPU", "X"))
    assert (child.slots, child.max_services, child.permanent, child.ephemeral) == (3, 7, False, True)
    assert child.parent == f"here:{ports[0]}"
    assert before < parent.started_wall < child.started_wall < time.time()
    assert works(master, ports[1])
    log = tmp_path / "titan_workspace" / "workers" / f"{ports[1]}.log"
    assert "registered with the master" in log.read_text()


def test_it_is_a_process_of_its_own(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    parent = start(ports[0], TITAN_FAILPOINT="store.loading", TITAN_JOB_ID="j").pid
    child = spawn(master, ports[0], ports[1], ephemeral=False)
    assert not child.ephemeral
    status = procfs.status(child.pid)
    assert status is not None
    assert (status.session, status.group) == (child.pid, child.pid)
    variables = psutil.Process(child.pid).environ()
    assert not {"TITAN_FAILPOINT", "TITAN_JOB_ID"} & variables.keys()
    output, streams = f"{ports[1]}.log", [Path(f"/proc/{child.pid}/fd/{fd}").readlink() for fd in (0, 1, 2)]
    assert [stream.name for stream in streams] == ["null", output, output]
    inherited = open_files(parent) & open_files(child.pid)
    assert not [file for file in inherited if "process_registry" in file or "socket" in file]
    if CAN_BE_MADE:
        assert not procfs.cgroup(child.pid).startswith(procfs.cgroup(parent))
        assert procfs.cgroup(child.pid).rpartition("/")[0] == procfs.cgroup(parent).rpartition("/")[0]


def test_the_same_order_twice_is_one_order(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    start(ports[0])
    for _ in range(3):
        master.send(SpawnWorker(ports[1], ("GPU",)), ports[0])
    wait_until(lambda: master.has(ports[1]), START_S)
    master.send(SpawnWorker(ports[1], ("GPU",)), ports[0])
    assert works(master, ports[0])
    assert not master.of(SpawnFailed)
    assert len(master.registrations) == 2


def test_one_that_never_came_does_not_keep_its_port(
    master: WorkerMaster, worker: Worker, ports: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    hangs = ["/bin/sh", "-c", f"echo $$ >> {pids}; exec sleep 600"]
    monkeypatch.setattr(nursery, "spawn_command", lambda *args: hangs)
    monkeypatch.setattr(nursery, "YOUNG_S", 0.0)
    try:
        for number in (1, 2):
            master.send(SpawnWorker(ports[0], ("GPU",)))
            wait_until(lambda number=number: pids.exists() and len(pids.read_text().split()) == number)
    finally:
        left = [int(pid) for pid in pids.read_text().split()]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(procfs.status, left)))


# ── what it outlives ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("same_port", [True, False])
def test_it_outlives_a_killed_parent_and_the_cleaning_of_its_successor(
    master: WorkerMaster, start: StartProgram, ports: list[int], same_port: bool
) -> None:
    parent = start(ports[0])
    child = spawn(master, ports[0], ports[1])
    master.adopt = lambda register: tuple(LogPosition(token) for token in register.running)
    master._session = master._sessions[ports[0]]
    leftover = master.started(master.start("exec sleep 600", service=True)).pid
    parent.kill()
    successor = start(ports[0] if same_port else ports[2])
    wait_until(lambda: not is_running(leftover), 10)
    wait_until(lambda: "of a worker that was killed" in successor.tail())
    assert works(master, ports[0] if same_port else ports[2])
    assert is_running(child.pid)
    assert works(master, ports[1])


def test_it_outlives_a_parent_that_stops(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    parent = start(ports[0])
    child = spawn(master, ports[0], ports[1])
    master._session = master._sessions[ports[0]]
    assert master.run(LEAVES).outcome == "SUCCEEDED"
    assert parent.stop() == 0
    assert is_running(child.pid)
    assert works(master, ports[1])
    assert not master.of(SpawnFailed)


def test_a_grandchild_that_is_handed_to_a_worker_is_no_orphan_of_a_job(
    master: WorkerMaster, start: StartProgram, ports: list[int]
) -> None:
    grandparent = start(ports[0])
    child = spawn(master, ports[0], ports[1])
    grandchild = spawn(master, ports[1], ports[2])
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: psutil.Process(grandchild.pid).ppid() == grandparent.pid)
    master._session = master._sessions[ports[0]]
    for _ in range(3):
        assert master.run(LEAVES).outcome == "SUCCEEDED"
    assert works(master, ports[2])
    os.kill(grandchild.pid, signal.SIGKILL)
    wait_until(lambda: not master.has(ports[2]))
    assert works(master, ports[0]) and master.run(LEAVES).outcome == "SUCCEEDED"
    wait_until(lambda: procfs.status(grandchild.pid) is None)


# ── its end ───────────────────────────────────────────────────────────────────────────────────────


def test_it_is_reaped_when_it_ends(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    parent = start(ports[0])
    for _ in range(2):  # the port is free again
        child = spawn(master, ports[0], ports[1])
        master.send(Shutdown(), ports[1])
        wait_until(lambda child=child: procfs.status(child.pid) is None, START_S)
        wait_until(lambda: not master.has(ports[1]))
    wait_until(lambda: parent.tail().count("has ended: exit code 0") == 2)
    assert not master.of(SpawnFailed)


def test_one_that_is_killed_early_is_told(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    start(ports[0])
    child = spawn(master, ports[0], ports[1])
    os.kill(child.pid, signal.SIGKILL)
    assert failed(master).port == ports[1]


def test_one_that_the_master_refuses(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    start(ports[0])
    master.refusal = Conflict("the cluster has workers enough")
    master.send(SpawnWorker(ports[1], ("GPU",)), ports[0])
    assert failed(master) == SpawnFailed(ports[1], "titan worker: the cluster has workers enough")


def test_a_port_that_another_worker_has(master: WorkerMaster, start: StartProgram, ports: list[int]) -> None:
    start(ports[0])
    other = start(ports[1])
    master.send(SpawnWorker(ports[1], ("GPU",)), ports[0])
    assert failed(master).reason == f"port {ports[1]} is in use by a Titan worker (pid {other.pid})"


def test_a_port_that_is_in_use(master: WorkerMaster, worker: Worker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        master.send(SpawnWorker(port, ("GPU",)))
        assert failed(master).reason == f"port {port} is in use by {psutil.Process().name()} (pid {os.getpid()})"


@pytest.mark.parametrize("port", [0, -1, 1 << 62])
def test_what_is_no_port(master: WorkerMaster, worker: Worker, port: int) -> None:
    master.send(SpawnWorker(port, ("GPU",)))
    assert failed(master) == SpawnFailed(port, f"{port} is no port that could be used")


def test_a_machine_without_room(
    master: WorkerMaster, worker: Worker, ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "ROOM_BYTES", 1 << 60)
    master.send(SpawnWorker(ports[0], ("GPU",)))
    assert "MiB of memory are available there, a worker needs" in failed(master).reason


def test_one_that_can_not_be_started(master: WorkerMaster, worker: Worker, ports: list[int], tmp_path: Path) -> None:
    (tmp_path / "titan_workspace" / "workers").write_text("in the way")
    master.send(SpawnWorker(ports[0], ("GPU",)))
    assert failed(master) == SpawnFailed(ports[0], "no process could be made: File exists")


def test_a_worker_that_is_stopping_starts_none(master: WorkerMaster, worker: Worker, ports: list[int]) -> None:
    worker._foreman.drain()
    master.send(SpawnWorker(ports[0], ("GPU",)))
    assert failed(master) == SpawnFailed(ports[0], "the worker is stopping")


def test_one_that_says_nothing_before_it_ends(
    master: WorkerMaster, worker: Worker, ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "spawn_command", lambda *args: ["/bin/sh", "-c", "kill -SEGV $$"])
    master.send(SpawnWorker(ports[0], ("GPU",)))
    assert failed(master) == SpawnFailed(ports[0], "ended by SIGSEGV")


def test_a_log_that_has_become_large(
    master: WorkerMaster, worker: Worker, ports: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery, "spawn_command", lambda *args: ["/bin/sh", "-c", "echo why not; exit 1"])
    log = tmp_path / "titan_workspace" / "workers" / f"{ports[0]}.log"
    log.parent.mkdir()
    log.write_text("earlier\n" * (nursery.LOG_BYTES // 8))
    master.send(SpawnWorker(ports[0], ("GPU",)))
    assert failed(master).reason == "why not"
    assert log.stat().st_size > nursery.LOG_BYTES
    master.send(SpawnWorker(ports[0], ("GPU",)))
    wait_until(lambda: len(master.of(SpawnFailed)) == 2)
    assert log.read_text() == "why not\n"
    assert log.with_suffix(".log.1").exists()


# ── what it is started with ───────────────────────────────────────────────────────────────────────


def test_what_a_child_is_called_with(tmp_path: Path) -> None:
    config = WorkerConfig(home=tmp_path, master_host="::1", token_file="secret", address="10.0.0.1", hostname="n")
    command = spawn_command(config, "n:8080", SpawnWorker(8090, (), ephemeral=False))
    given = dict(zip(command[3::2], command[4::2], strict=True))
    assert given["--master"] == "[::1]:9090"
    assert given["--token-file"] == str(Path("secret").absolute())
    assert (given["--address"], given["--capability"], given["--parent"]) == ("10.0.0.1", "GENERAL", "n:8080")


def test_what_a_child_finds_around_it(tmp_path: Path) -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/h",
        "TITAN_TOKEN_FILE": "secret",
        "PYTHONPATH": "/mine",
        "TITAN_FAILPOINT": "x",
        "TITAN_WORKER": "n:1",
        "TITAN_WORKER_SLOTS": "9",
        "TITAN_WORKER_PERMANENT": "1",
        "TITAN_RUN_ID": "r",
        "TITAN_SERVICE_DB": "h:1",
        "TITAN_ATTEMPT_TOKEN": "ab",
        "PORT": "1",
        "TITAN_PORT": "1",
    }
    seen = spawn_environment(WorkerConfig(home=tmp_path, max_log_bytes=5000), environ)
    assert seen.items() >= {"PATH": "/bin", "HOME": "/h", "TITAN_ATTEMPT_TOKEN": "ab"}.items()
    assert seen["TITAN_TOKEN_FILE"] == str(Path("secret").absolute())
    assert seen["PYTHONPATH"].endswith(":/mine")
    assert {name for name in seen if name.startswith("TITAN_")} == {
        *("TITAN_TOKEN_FILE", "TITAN_ATTEMPT_TOKEN", "TITAN_WORKER_PERMANENT", "TITAN_WORKER_EPHEMERAL"),
        *("TITAN_WORKER_MAX_LOG_BYTES", "TITAN_WORKER_RECONNECT_MIN_S", "TITAN_WORKER_RECONNECT_MAX_S"),
    }
    assert (seen["TITAN_WORKER_PERMANENT"], seen["TITAN_WORKER_MAX_LOG_BYTES"]) == ("false", "5000")
    assert spawn_environment(WorkerConfig(home=tmp_path), seen)["PYTHONPATH"] == seen["PYTHONPATH"]


# ── alone ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solitude, "MOST_ALONE_S", 0.3)
    monkeypatch.setattr(solitude, "LOOK_S", 0.05)


@pytest.fixture
def soon_once_it_came(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes a worker to have its first session."""
    came, alone_s = set(), Link.alone_s

    def since_it_came(link: Link) -> float:
        if link.connected:
            came.add(link)
        return alone_s(link) if link in came else 0.0

    monkeypatch.setattr(Link, "alone_s", since_it_came)


@pytest.mark.usefixtures("soon_once_it_came")
@pytest.mark.parametrize("service", [False, True])
def test_an_ephemeral_worker_that_is_alone_stops_when_nothing_runs(
    master: WorkerMaster,
    start_worker: StartWorker,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    service: bool,
) -> None:
    caplog.set_level("INFO", "titan.worker")
    other = start_worker()
    master.wait_for_worker()
    worker = start_worker(ephemeral=True)
    master.wait_for_worker(2)
    wait_until(lambda: worker.link.connected and not worker.link.alone_s())
    shared = tmp_path / "titan_workspace" / "shared" / "run-1"
    master.start("touch up; while [ ! -e go ]; do sleep 0.01; done", service=service)
    wait_until((shared / "up").exists)
    with master.down():
        wait_until(lambda: worker.link.alone_s() > 0.6)
        assert worker._foreman.slots.all() and not worker.stopping.is_set()
        (shared / "go").touch()
        wait_until(lambda: not worker.threads())
        assert not other.stopping.is_set()
    assert (worker.exit_code, worker.failure) == (0, None)
    assert caplog.text.count("this ephemeral worker stops") == 1


@pytest.mark.usefixtures("soon")
def test_an_ephemeral_worker_that_has_never_found_its_master(start_worker: StartWorker, ports: list[int]) -> None:
    worker = start_worker(ephemeral=True, master_port=ports[0])
    wait_until(lambda: not worker.threads())
    assert worker.exit_code == 0


@pytest.mark.usefixtures("soon_once_it_came")
def test_one_that_has_a_master_stays(master: WorkerMaster, start_worker: StartWorker) -> None:
    worker = start_worker(ephemeral=True)
    wait_until(lambda: worker.link.connected and not worker.link.alone_s())
    until_at = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > until_at)
    assert worker.link.connected
    assert master.run("true").outcome == "SUCCEEDED"
