"""A worker process that dies between the end of a job and its acknowledgement, and the one that is started then."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.protocol.messages import LogPosition, Register, ServiceReady
from titan_core.worker import procfs
from titan_test_suite.pytests.support.cluster import Program
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

StartProgram = Callable[..., Program]


@pytest.fixture
def start(master: WorkerMaster, tmp_path: Path) -> Iterator[StartProgram]:
    """Starts worker processes of `master` on one port, one after the other; registered when this returns."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    environ = {**clean, "TITAN_HOME": str(tmp_path), "TITAN_TOKEN": TOKEN, "TITAN_WORKER_RECONNECT_MAX_S": "0.2"}
    programs: list[Program] = []
    port = str(free_port())

    def start(failpoint: str = "") -> Program:
        before = len(master.registrations)
        variables = environ | ({"TITAN_FAILPOINT": failpoint} if failpoint else {})
        arguments = ["titan_core.worker", port, "127.0.0.1", str(master.port)]
        programs.append(Program(f"worker-{len(programs)}", arguments, tmp_path, variables))
        if failpoint != "worker.before_register":
            wait_until(lambda: len(master.registrations) > before and master.connected, 30, programs[-1].tail)
        return programs[-1]

    yield start
    for program in programs:
        program.stop()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Where the jobs of these tests say that they ran."""
    return tmp_path / "titan_workspace" / "shared" / "run-1" / "ledger"


def died(program: Program) -> bool:
    return program.process.wait(20) == -signal.SIGKILL


def test_results_outlive_a_killed_worker(
    master: WorkerMaster, start: StartProgram, ledger: Path, tmp_path: Path
) -> None:
    program = start()
    master.acknowledges = False
    tokens = [master.start(f"echo {n} >> ledger; echo said {n}; exit {n}") for n in range(3)]
    first = [master.result(token) for token in tokens]
    program.kill()
    master.batches.clear()
    successor = start()
    told = {result.token: result for result in master.registrations[-1].finished}
    assert told == dict(zip(tokens, first, strict=True))
    assert master.registrations[-1].running == ()
    for n, token in enumerate(tokens):
        wait_until(lambda n=n, token=token: master.log(token) == b"said %d\n" % n)
    wait_until(lambda: "3 results of a worker that was killed are told now" in successor.tail())
    assert sorted(ledger.read_text().split()) == ["0", "1", "2"]
    master.acknowledges = True
    master.drop_session()
    master.wait_for_worker(3)
    (journal,) = tmp_path.glob("titan_workspace/results/*/journal")
    wait_until(lambda: not journal.stat().st_size)
    master.drop_session()
    assert master.wait_for_worker(4).finished == ()
    successor.kill()
    start()
    assert master.registrations[-1].finished == ()


@pytest.mark.parametrize("point", ["worker.before_result_sent", "worker.after_result_sent"])
def test_a_result_that_is_in_the_journal_is_told(
    master: WorkerMaster, start: StartProgram, ledger: Path, point: str
) -> None:
    program = start(point)
    token = master.start("echo ran >> ledger; exit 3")
    assert died(program)
    told = len(master.results(token))
    assert told == (point == "worker.after_result_sent")
    start()
    assert [(result.token, result.exit_code) for result in master.registrations[-1].finished] == [(token, 3)]
    wait_until(lambda: len(master.results(token)) == told + 2)  # with the registration, and once more after its log
    assert ledger.read_text() == "ran\n"


def test_a_result_that_was_not_written_is_not_told(master: WorkerMaster, start: StartProgram, ledger: Path) -> None:
    program = start("worker.before_journal")
    token = master.start("echo ran >> ledger")
    assert died(program)
    start()
    register = master.registrations[-1]
    assert (register.running, register.finished) == ((), ())
    assert not master.results(token)


def test_a_service_that_has_started_and_was_not_told(master: WorkerMaster, start: StartProgram) -> None:
    program = start("worker.after_start")
    master.start("exec sleep 600", service=True)
    assert died(program)
    start()
    assert master.registrations[-1].running == ()
    assert not master.of(ServiceReady)


def test_a_worker_that_dies_before_it_registers(master: WorkerMaster, start: StartProgram) -> None:
    assert died(start("worker.before_register"))
    assert not master.registrations
    start()


def test_a_journal_that_was_cut_off_anywhere(
    master: WorkerMaster, start: StartProgram, tmp_path: Path, ledger: Path
) -> None:
    program = start()
    master.acknowledges = False
    tokens = [master.start("echo ran >> ledger") for _ in range(2)]
    for token in tokens:
        master.result(token)
    program.kill()
    (path,) = (tmp_path / "titan_workspace" / "results").glob("*/journal")
    os.truncate(path, path.stat().st_size - 7)
    successor = start()
    assert len(master.registrations[-1].finished) == 1
    wait_until(lambda: "what follows is cut off" in successor.tail())
    assert ledger.read_text() == "ran\nran\n"


def test_a_service_is_told_again_to_a_master_that_adopts_it(master: WorkerMaster, start: StartProgram) -> None:
    def adopt(register: Register) -> tuple[LogPosition, ...]:
        return tuple(LogPosition(token) for token in register.running)

    start()
    master.adopt = adopt
    token = master.start("exec sleep 600", service=True)
    pid = master.started(token).pid
    master.received.clear()
    master.drop_session()
    master.wait_for_worker(2)
    assert master.started(token).pid == pid


def test_a_successor_ends_what_began_in_a_fork_server(
    master: WorkerMaster, start: StartProgram, ledger: Path
) -> None:
    """A killed worker's server ends by itself. Its jobs, and what has hidden from them, are left to the successor."""
    hide = (
        "import os, time\n"
        "note = lambda: open('ledger', 'a').write(f'{os.getpid()}\\n')\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0: note(); time.sleep(600)\n"
        "    os._exit(0)\n"
        "os.wait(); note(); time.sleep(600)\n"
    )
    program = start()
    (server,) = wait_until(lambda: [p for p in psutil.Process(program.pid).children() if _is_server(p)])
    master.start(hide, "job.py")
    pids = wait_until(lambda: ledger.exists() and len(found := ledger.read_text().split()) == 2 and found)
    program.kill()
    wait_until(lambda: not server.is_running())
    start()
    left = [status for pid in pids if (status := procfs.status(int(pid))) is not None]
    assert {status.state for status in left} <= {"Z"}, left  # whoever is their parent now may not have looked yet


def _is_server(process: psutil.Process) -> bool:
    return any(word.endswith("warm_main.py") for word in process.cmdline())
