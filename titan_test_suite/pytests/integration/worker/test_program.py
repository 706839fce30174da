"""`python -m titan_core.worker` as a user runs it: arguments, exit codes, signals, and being killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.errors import Conflict
from titan_core.worker import procfs
from titan_test_suite.pytests.support.cluster import Program
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

StartProgram = Callable[..., Program]

STUBBORN = "trap '' TERM INT; echo $$ > stubborn; while :; do sleep 0.05; done"
DAEMON = "setsid sh -c 'echo $$ > daemon; sleep 600' & while [ ! -s daemon ]; do :; done; echo $$ > leader; sleep 600"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    return {**clean, "TITAN_HOME": str(tmp_path), "TITAN_TOKEN": TOKEN}


@pytest.fixture
def start(master: WorkerMaster, tmp_path: Path, environ: dict[str, str]) -> Iterator[StartProgram]:
    """Starts worker processes; without arguments: of `master`, on a free port, registered when this returns."""
    programs: list[Program] = []

    def start(*arguments: str, **variables: str) -> Program:
        before = len(master.registrations)
        given = arguments or ("0", "127.0.0.1", str(master.port))
        program = Program(f"worker-{len(programs)}", ["titan_core.worker", *given], tmp_path, environ | variables)
        programs.append(program)
        if not arguments:
            wait_until(lambda: len(master.registrations) > before and master.connected, 20, program.tail)
        return program

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.kill()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with the worker."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def entries(registry: Path) -> list[str]:
    """Tokens in what workers of all hosts have there."""
    return [line.split()[0] for path in registry.glob("executions-*") for line in path.read_text().splitlines()]


def ended(program: Program) -> tuple[int, str]:
    """Its exit code and last line, once it has ended by itself."""
    return program.process.wait(20), program.tail(1)


def noted_pid(shared: Path, name: str) -> int:
    return int(wait_until(lambda: (shared / name).exists() and (shared / name).read_text().strip(), 10, f"no {name}"))


def is_gone(pid: int) -> bool:
    return not procfs.is_alive(found.process) if (found := procfs.status(pid)) else True


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────


def test_by_position_like_ever(master: WorkerMaster, start: StartProgram) -> None:
    port = free_port()
    start(str(port), "127.0.0.1", str(master.port), "GPU", "true")
    register = master.wait_for_worker()
    assert (register.port, register.capabilities, register.permanent) == (port, ("GPU",), True)
    assert register.slots == 4


def test_by_flag(master: WorkerMaster, start: StartProgram) -> None:
    flags = f"--port 0 --master 127.0.0.1:{master.port} --capability GPU,FPGA --capability X --slots 2 --hostname n"
    start(*flags.split())
    register = master.wait_for_worker()
    assert (register.hostname, register.capabilities, register.slots) == ("n", ("GPU", "FPGA", "X"), 2)
    assert register.port > 0
    assert not register.permanent


def test_the_master_by_variable(master: WorkerMaster, start: StartProgram) -> None:
    start("--port", "0", TITAN_MASTER=f"127.0.0.1:{master.port}")
    master.wait_for_worker()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["eighty"], "titan worker: worker port is 'eighty' (--port): it must be a whole number from 0 to 65535"),
        (["--slots", "0"], "titan worker: worker slots is '0' (--slots): it must be a whole number from 1 to 256"),
        (["8080", "--port", "8081"], "error: port is given twice: by position and by flag"),
        (["0", "here", "--master", "there"], "error: the master is given twice: as MASTER_HOST and as --master"),
        (["--master", "there:port"], "error: --master: 'there:port' is not an address"),
        (["--colour", "red"], "unrecognized arguments: --colour"),
    ],
)
def test_wrong_usage(start: StartProgram, arguments: list[str], sentence: str) -> None:
    code, line = ended(start(*arguments))
    assert code == 2
    assert sentence in line


def test_help(environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "titan_core.worker", "--help"]
    shown = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    for word in ("PORT", "MASTER_HOST", "CAPABILITY", "PERMANENT", "--slots", "--token-file", "TITAN_HOME", "Ctrl-C"):
        assert word in shown


# ── what it refuses to be ─────────────────────────────────────────────────────────────────────────


def test_a_port_that_is_used(start: StartProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = ended(start(str(port)))
    assert code == 1
    assert f"titan worker: port {port} on 127.0.0.1 is in use; stop what listens there or choose another" in line


def test_no_token(start: StartProgram, tmp_path: Path) -> None:
    code, line = ended(start("0", TITAN_TOKEN=""))
    assert code == 5
    assert f"no token: {tmp_path}/.titan/token does not exist; pass the master's token with --token-file" in line


def test_a_wrong_token(master: WorkerMaster, start: StartProgram) -> None:
    code, line = ended(start("0", "127.0.0.1", str(master.port), TITAN_TOKEN="x" * 32))
    assert code == 5
    assert "the token is wrong: pass the master's with --token-file" in line


def test_a_home_that_can_not_be_written_to(start: StartProgram, tmp_path: Path) -> None:
    (tmp_path / "titan_workspace").write_text("in the way")
    code, line = ended(start("0"))
    assert code == 1
    assert line == f"titan worker: this worker can not write to {tmp_path}/titan_workspace: Not a directory"


def test_a_name_that_is_taken(master: WorkerMaster, start: StartProgram) -> None:
    master.refusal = Conflict("worker vm:8080 is connected already")
    assert ended(start("0", "127.0.0.1", str(master.port))) == (
        1,
        "titan worker: worker vm:8080 is connected already",
    )


# ── signals ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_leaves_jobs_their_grace(
    master: WorkerMaster, start: StartProgram, shared: Path, number: signal.Signals
) -> None:
    program = start()
    token = master.start("trap 'echo saved; exit 3' TERM; echo $$ > job; while :; do sleep 0.01; done")
    pid = noted_pid(shared, "job")
    program.signal(number)
    assert ended(program)[0] == 0
    result = master.result(token)
    assert (result.outcome, result.exit_code) == ("INTERRUPTED", 3)
    assert master.log(token).endswith(b"saved\n")
    assert is_gone(pid)


def test_the_second_signal_ends_it_at_once(master: WorkerMaster, start: StartProgram, shared: Path) -> None:
    program = start()
    master.start(STUBBORN, stop_grace_s=60.0)
    master.start(DAEMON, stop_grace_s=60.0)
    pids = [noted_pid(shared, name) for name in ("stubborn", "daemon", "leader")]
    program.signal(signal.SIGTERM)
    wait_until(lambda: "stopping" in program.tail())
    program.signal(signal.SIGTERM)
    assert program.process.wait(5) == 128 + signal.SIGTERM
    assert all(is_gone(pid) for pid in pids)


def test_two_signals_at_the_same_moment(master: WorkerMaster, start: StartProgram, shared: Path) -> None:
    program = start()
    master.start(STUBBORN, stop_grace_s=60.0)
    pid = noted_pid(shared, "stubborn")
    program.signal(signal.SIGINT)
    program.signal(signal.SIGTERM)
    assert program.process.wait(5) in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert is_gone(pid)


def test_a_signal_while_it_looks_for_a_master(start: StartProgram) -> None:
    program = start("0", "127.0.0.1", str(free_port()))
    wait_until(lambda: "nobody answers" in program.tail(), 20)
    program.signal(signal.SIGTERM)
    assert ended(program)[0] == 0


def test_a_process_that_hides_everything_is_ended_too(
    master: WorkerMaster, start: StartProgram, shared: Path
) -> None:
    """No parent, session, or environment of the job: known only by being nobody else's."""
    start()
    assert (
        master.run("env -i setsid sh -c 'echo $$ > hidden; sleep 600' & while [ ! -s hidden ]; do :; done").exit_code
        == 0
    )
    assert is_gone(noted_pid(shared, "hidden"))


# ── being killed ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("same_port", [True, False])
def test_a_killed_workers_processes_are_ended_by_the_next_one_of_its_home(
    master: WorkerMaster, start: StartProgram, shared: Path, tmp_path: Path, same_port: bool
) -> None:
    program = start()
    port = master.registrations[-1].port
    master.start(DAEMON)
    master.start(STUBBORN)
    pids = [noted_pid(shared, name) for name in ("daemon", "leader", "stubborn")]
    registry = tmp_path / "titan_workspace" / "process_registry" / str(port)
    wait_until(lambda: len(entries(registry)) == 2)
    program.kill()
    assert not any(is_gone(pid) for pid in pids)
    successor = start(str(port) if same_port else "0", "127.0.0.1", str(master.port))
    wait_until(lambda: len(master.registrations) == 2, 20, successor.tail)
    assert all(is_gone(pid) for pid in pids)
    assert not entries(registry)
    wait_until(lambda: "of a worker that was killed" in successor.tail())
    assert master.registrations[0].instance != master.registrations[1].instance


def test_a_process_without_environment_and_parent_is_known_by_its_session(
    master: WorkerMaster, start: StartProgram, shared: Path
) -> None:
    program = start()
    master.start('(env -i /bin/sh -c "echo \\$\\$ > bare; exec sleep 600" &); exec sleep 600')
    bare = noted_pid(shared, "bare")
    program.kill()
    successor = start()
    wait_until(lambda: len(master.registrations) == 2, 20, successor.tail)
    assert is_gone(bare)


def test_a_line_that_was_not_written_hides_no_other(
    master: WorkerMaster, start: StartProgram, shared: Path, tmp_path: Path
) -> None:
    program = start()
    port = master.registrations[-1].port
    token = master.start('setsid sh -c "echo \\$\\$ > noted; exec sleep 600" & exec sleep 600').hex()
    pid = noted_pid(shared, "noted")
    program.kill()
    [executions] = (tmp_path / "titan_workspace" / "process_registry" / str(port)).glob("executions-*")
    executions.write_bytes(bytes(128) + f"{token:<127}\n".encode())
    (executions.parent / executions.name.replace("executions", "cgroup")).unlink(missing_ok=True)
    successor = start()
    wait_until(lambda: len(master.registrations) == 2, 20, successor.tail)
    assert is_gone(pid)


def test_a_process_that_only_has_a_recorded_pid_is_not_touched(
    master: WorkerMaster, start: StartProgram, tmp_path: Path, stranger: subprocess.Popen[bytes]
) -> None:
    port, host = free_port(), socket.gethostname()
    registry = tmp_path / "titan_workspace" / "process_registry" / str(port)
    registry.mkdir(parents=True)
    found = procfs.status(stranger.pid)
    assert found is not None
    ticks = found.process.start_ticks
    (registry / f"executions-elsewhere.{host}").write_text(f"{'cd' * 16} {stranger.pid} {ticks} {ticks}\n")
    (registry / f"executions-{host}").write_text(
        f"{'ab' * 16} {stranger.pid} {ticks - 5} {ticks - 1}\n\n{'ef' * 16}     \n{'01' * 16} no such thing\n"
        f"{'23' * 16} {stranger.pid} {ticks}\n"
    )
    program = start(str(port), "127.0.0.1", str(master.port))
    wait_until(lambda: master.registrations, 20, program.tail)
    assert entries(registry) == ["cd" * 16]
    assert stranger.poll() is None


def test_the_processes_of_a_living_worker_are_its_own(
    master: WorkerMaster, start: StartProgram, shared: Path
) -> None:
    start()
    token = master.start("echo $$ > leader; exec sleep 600", service=True)
    pid = noted_pid(shared, "leader")
    start()
    assert not is_gone(pid)
    assert not master.results(token)
    os.kill(pid, signal.SIGKILL)


def test_a_worker_leaves_no_entry_behind(master: WorkerMaster, start: StartProgram, tmp_path: Path) -> None:
    program = start()
    for _ in range(3):
        master.run("true")
    assert program.stop() == 0
    assert not list((tmp_path / "titan_workspace" / "process_registry").glob("*/*"))
