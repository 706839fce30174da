"""Jobs that begin in a process that has started already: which do, and what if something goes wrong."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.config import WorkerConfig
from titan_core.protocol.messages import SpawnWorker, StartAttempt
from titan_core.worker import procfs, warm, warm_main
from titan_core.worker.app import Worker
from titan_core.worker.cache import SMALL_BYTES
from titan_core.worker.nursery import spawn_command
from titan_core.worker.process import Launch, Leader
from titan_core.worker.warm import Warm, WarmProcess
from titan_core.worker.warm_wire import ROOM_BYTES
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.cgroups import needs_cgroups
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

COMMON = {"PATH": os.environ["PATH"], "HOME": "/"}
HOW = "import sys; print('warm' if 'base64' in sys.modules else 'cold', flush=True)\n"
"""What no Python imports as it starts, but the fork server."""
WAIT = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.005)\n"


# ── in a worker ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def worker(master: WorkerMaster, start_worker: StartWorker) -> Worker:
    """One whose fork server is there."""
    worker = start_worker()
    master.wait_for_worker()
    wait_until(lambda: worker.warm.server_pid)
    return worker


def how(master: WorkerMaster, content: str = HOW, **task: object) -> str:
    """In which way such a job begins now."""
    token = master.start(content, "job.py", **task)
    assert master.result(token).outcome == "SUCCEEDED", master.log(token)
    return wait_until(lambda: master.log(token)).decode().strip()


@pytest.mark.usefixtures("worker")
def test_python_jobs_are_warm(master: WorkerMaster) -> None:
    assert how(master) == "warm"
    assert how(master, env=(("LEVEL", "3"), ("TZ", "UTC"))) == "warm"


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LC_ALL", "HOME"])
def test_what_a_python_reads_only_as_it_starts_makes_a_job_cold(master: WorkerMaster, name: str) -> None:
    assert how(master, env=((name, "1"),)) == "cold"


@pytest.mark.usefixtures("worker")
def test_what_would_be_imported_from_beside_the_script_makes_a_job_cold(master: WorkerMaster) -> None:
    token = master.start(HOW, "csv.py")  # the script itself
    assert wait_until(lambda: master.log(token)) == b"cold\n"
    left = "open(__file__.replace('job.py', 'base64.py'), 'w').close()\n"
    for number, expected in ((1, b"warm\n"), (2, b"cold\n")):  # what an earlier attempt has left
        order = StartAttempt(secrets.token_bytes(16), "run-1", "again", number, master.task(HOW + left, "job.py"))
        master.send(order)
        assert master.result(order.token).outcome == "SUCCEEDED"
        assert wait_until(lambda token=order.token: master.log(token)) == expected  # type: ignore[misc]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("size", [SMALL_BYTES - 200, SMALL_BYTES + 200, 3 * SMALL_BYTES])
@pytest.mark.parametrize("kind", ["script", "archive"])
def test_all_of_a_new_script_is_looked_at(master: WorkerMaster, kind: str, size: int) -> None:
    content = HOW.encode() + b"#" * size
    if kind == "archive":
        file = io.BytesIO(content)
        with zipfile.ZipFile(file, "a") as archive:
            archive.writestr("__main__.py", HOW)
        content = file.getvalue()
    token = master.start(content, "job.py")
    assert master.result(token).outcome == "SUCCEEDED", master.log(token)
    assert wait_until(lambda: master.log(token)) == (b"warm\n" if kind == "script" else b"cold\n")


@pytest.mark.usefixtures("worker")
def test_a_job_may_ask_for_a_cold_start(master: WorkerMaster) -> None:
    assert how(master, warm=False) == "cold"


def test_a_worker_may_be_told_to_start_all_cold(master: WorkerMaster, start_worker: StartWorker) -> None:
    worker = start_worker(warm=False)
    master.wait_for_worker()
    assert how(master) == "cold"
    assert not worker.warm.server_pid


def test_a_worker_that_starts_all_cold_starts_others_that_do(tmp_path: Path) -> None:
    for setting in (True, False):
        command = spawn_command(WorkerConfig(home=tmp_path, warm=setting), "here:1", SpawnWorker(2, ()))
        assert ("--no-warm" in command) == (not setting)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("warm", [True, False])
def test_slots_give_way_and_their_jobs_do_not(master: WorkerMaster, warm: bool) -> None:
    token = master.start(HOW + "import os\nprint(os.sched_getscheduler(0))\n" + WAIT, "job.py", warm=warm)
    how, usual = "warm" if warm else "cold", os.sched_getscheduler(0)
    wait_until(lambda: master.log(token).decode() == f"{how}\n{usual}\n")
    slots = [thread for thread in threading.enumerate() if thread.name.startswith("slot-")]
    expected = os.SCHED_BATCH if usual == os.SCHED_OTHER else usual
    assert {os.sched_getscheduler(slot.native_id or 0) for slot in slots} == {expected}
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"


@pytest.mark.usefixtures("worker")
def test_services_are_cold(master: WorkerMaster) -> None:
    token = master.start(HOW + "time = __import__('time'); time.sleep(600)", "job.py", service=True, stop_grace_s=1.0)
    wait_until(lambda: master.log(token) == b"cold\n")
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"


@pytest.mark.usefixtures("worker")
def test_the_result_of_a_warm_job(master: WorkerMaster) -> None:
    result = master.run("import os; print(os.environ['TITAN_JOB_ID']); block = b'1' * 50_000_000; exit(3)", "job.py")
    assert (result.outcome, result.exit_code, result.reason) == ("FAILED", 3, "exit code 3")
    assert 50_000_000 < result.peak_memory < 120_000_000
    result = master.run("import os; os.kill(os.getpid(), 9)", "job.py")
    assert (result.exit_code, result.reason) == (137, "ended by SIGKILL")


TREE = """\
import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
note = lambda name, pid: open(f"{os.environ['TITAN_SHARED']}/{name}", "w").write(str(pid))
note("child", subprocess.Popen(["sleep", "600"]).pid)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        note("daemon", os.getpid()); time.sleep(600)
    os._exit(0)
os.wait()
while not os.path.exists(os.environ["TITAN_SHARED"] + "/daemon"): time.sleep(0.005)
note("leader", os.getpid())
time.sleep(600)
"""


def tree(shared: Path) -> list[int]:
    """The processes of TREE, when they are all there."""
    paths = [shared / name for name in ("child", "daemon", "leader")]
    return wait_until(
        lambda: all(p.exists() and p.read_text() for p in paths) and [int(p.read_text()) for p in paths]
    )


@pytest.mark.usefixtures("worker")
def test_nothing_of_a_warm_job_outlives_its_time(master: WorkerMaster, shared: Path) -> None:
    result = master.run(TREE, "job.py", timeout_s=2.0, stop_grace_s=0.1)
    assert (result.outcome, result.exit_code) == ("TIMED_OUT", 137)
    assert not [pid for pid in tree(shared) if psutil.pid_exists(pid)]


@pytest.mark.usefixtures("worker")
def test_nothing_of_a_warm_job_outlives_its_cancellation(master: WorkerMaster, shared: Path) -> None:
    token = master.start(TREE, "job.py", stop_grace_s=0.1)
    pids = tree(shared)
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


@pytest.mark.usefixtures("worker")
def test_what_a_warm_job_leaves_is_ended_with_it(master: WorkerMaster, shared: Path) -> None:
    assert master.run(TREE.rpartition("time.sleep")[0], "job.py").outcome == "SUCCEEDED"
    assert not [pid for pid in tree(shared) if psutil.pid_exists(pid)]


@needs_cgroups
def test_a_warm_job_is_born_into_its_slots_cgroup(master: WorkerMaster, start_worker: StartWorker) -> None:
    worker = start_worker(alone=True)
    wait_until(lambda: worker.warm.server_pid)
    assert "/slot-" in how(master, "print(open('/proc/self/cgroup').read().split('0::')[1])")
    assert how(master) == "warm"
    assert "/slot-" not in procfs.cgroup(worker.warm.server_pid)


def test_the_fork_server_is_killed_while_jobs_run(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    tokens = [master.start(HOW + WAIT + f"exit({n})", "job.py") for n in range(3)]
    wait_until(lambda: all(master.log(token) == b"warm\n" for token in tokens))
    before = worker.warm.server_pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: worker.warm.server_pid not in (0, before))
    assert how(master) == "warm"
    (shared / "go").touch()
    assert [master.result(token).exit_code for token in tokens] == [0, 1, 2]


def test_a_fork_server_that_does_not_answer(
    master: WorkerMaster, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "ANSWER_S", 1.0)
    worker = start_worker()
    before = wait_until(lambda: worker.warm.server_pid)
    os.kill(before, signal.SIGSTOP)
    assert how(master) == "cold"
    wait_until(lambda: worker.warm.server_pid not in (0, before))
    assert how(master) == "warm"


def test_a_job_that_uses_up_what_there_is_hurts_nobody(master: WorkerMaster, worker: Worker) -> None:
    before = worker.warm.server_pid
    greedy = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\nkept = []\n"
    assert master.run(greedy + "while True: kept.append(open('/dev/null'))", "job.py").exit_code == 1
    assert (
        master.run(
            "import os\nfor n in range(3, 900):\n  try: os.close(n)\n  except OSError: pass", "job.py"
        ).exit_code
        == 0
    )
    assert how(master) == "warm"
    assert worker.warm.server_pid == before


# ── by itself ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def started() -> Iterator[list[Warm]]:
    """Ends those that a test puts into it."""
    started: list[Warm] = []
    yield started
    for one in started:
        one.stop()
        assert one.join(5)


def started_warm(started: list[Warm], environment: dict[str, str] = COMMON, most_jobs: int = 10_000) -> Warm:
    started.append(Warm(environment, most_jobs))
    started[-1].start()
    return started[-1]


def run(one: Warm, script: Path, env: dict[str, str] = COMMON) -> Leader:
    """Run it to its end; its process."""
    with open(script.with_suffix(".log"), "ab") as log:
        process = one.start_process(
            Launch([sys.executable, "-u", str(script)], str(script.parent), env, log.fileno())
        )
    assert process.wait() == 0, script.with_suffix(".log").read_text()
    return process


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(HOW)
    return path


def printed(script: Path) -> list[str]:
    return script.with_suffix(".log").read_text().split()


def test_a_pipe_in_the_place_of_a_new_script_holds_up_nobody(started: list[Warm], tmp_path: Path) -> None:
    one = started_warm(started)
    wait_until(lambda: one.server_pid)
    pipe = tmp_path / "job.py"
    os.mkfifo(pipe)
    with open(tmp_path / "log", "wb") as log:
        process = one.start_process(Launch([sys.executable, "-u", str(pipe)], "/", COMMON, log.fileno(), fresh=True))
        assert pipe.resolve() not in [descriptor.resolve() for descriptor in Path("/proc/self/fd").iterdir()]
        os.killpg(process.pid, signal.SIGKILL)
        assert (process.wait(), isinstance(process, WarmProcess)) == (-signal.SIGKILL, False)


def test_a_fork_server_is_replaced_after_so_many_jobs(started: list[Warm], script: Path) -> None:
    one = started_warm(started, most_jobs=3)
    servers = set()
    for _ in range(7):
        servers.add(wait_until(lambda: one.server_pid))
        assert isinstance(run(one, script), WarmProcess)
    assert len(servers) == 3
    assert printed(script) == ["warm"] * 7


def test_each_job_has_random_numbers_of_its_own(started: list[Warm], script: Path) -> None:
    script.write_text("import random, uuid, tempfile; print(random.random(), uuid.uuid4(), tempfile.mktemp())")
    one = started_warm(started)
    wait_until(lambda: one.server_pid)
    for _ in range(5):
        assert isinstance(run(one, script), WarmProcess)
    assert len(set(printed(script))) == 15


def test_the_process_of_a_server_that_could_not_tell_of_it(
    started: list[Warm], script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = warm._Server.ask

    def lose(server: warm._Server, packet: bytes, descriptors: list[int]) -> int:
        ask(server, packet, descriptors)
        raise ConnectionResetError("its answer is lost")

    one = started_warm(started)
    wait_until(lambda: one.server_pid)
    with monkeypatch.context() as patched:
        patched.setattr(warm._Server, "ask", lose)
        assert isinstance(run(one, script), WarmProcess)
    assert printed(script) == ["warm"]  # once
    wait_until(lambda: one.server_pid)
    assert isinstance(run(one, script), WarmProcess)


def test_the_server_starts_anew_when_something_was_installed(
    started: list[Warm], script: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    one = started_warm(started, {**COMMON, "PYTHONPATH": str(packages)})
    before = wait_until(lambda: one.server_pid)
    (packages / "base64.py").write_text("")
    script.write_text("import base64; print(base64.__file__)")
    assert not isinstance(run(one, script, {**COMMON, "PYTHONPATH": str(packages)}), WarmProcess)
    wait_until(lambda: one.server_pid not in (0, before))
    assert isinstance(run(one, script, {**COMMON, "PYTHONPATH": str(packages)}), WarmProcess)
    assert printed(script) == [str(packages / "base64.py")] * 2


def test_where_each_python_does_something_as_it_starts_all_are_cold(
    started: list[Warm], script: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sitecustomize.py").write_text("")
    caplog.set_level("INFO")
    environment = {**COMMON, "PYTHONPATH": str(tmp_path)}
    one = started_warm(started, environment)
    wait_until(lambda: not one.threads())
    assert "no warm start on this machine: a Python that starts here does something of its own" in caplog.text
    assert not isinstance(run(one, script, environment), WarmProcess)


def test_where_a_script_does_not_end_as_it_should_all_are_cold(
    started: list[Warm],
    script: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "trial.py").write_text("raise SystemExit(9)")
    monkeypatch.setattr(warm, "_TRIAL", (sys.executable, "-u", str(tmp_path / "trial.py")))
    caplog.set_level("INFO")
    one = started_warm(started)
    wait_until(lambda: not one.threads())
    assert "with this Python a script ends with 9, having said ''; all start cold" in caplog.text
    assert not isinstance(run(one, script), WarmProcess)


def test_a_server_with_a_second_thread_makes_no_process(
    started: list[Warm], script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "two_threads.py"
    program.write_text(
        "import sys, threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        f"__file__ = {warm_main.__file__!r}\n"
        "exec(compile(open(__file__).read(), __file__, 'exec'))\n"
    )
    monkeypatch.setattr(warm, "_PROGRAM", str(program))
    one = started_warm(started)
    before = wait_until(lambda: one.server_pid)
    assert not isinstance(run(one, script), WarmProcess)
    wait_until(lambda: one.server_pid not in (0, before))
    assert printed(script) == ["cold"]


@pytest.mark.parametrize(("value", "expected"), [("x" * 60_000, "warm"), ("y" * 70_000, "cold")])
def test_words_and_variables_up_to_64_KiB(started: list[Warm], script: Path, value: str, expected: str) -> None:
    script.write_text(f"import os; assert os.environ['LARGE'] == {value!r}\n" + HOW)
    one = started_warm(started)
    wait_until(lambda: one.server_pid)
    run(one, script, {**COMMON, "LARGE": value})
    assert printed(script) == [expected]


def test_many_small_variables(started: list[Warm], script: Path) -> None:
    many = {f"VARIABLE_{n}": str(n) for n in range(3_000)}
    script.write_text(
        "import os, subprocess\n"
        "told = subprocess.run(['env'], capture_output=True, text=True).stdout.split()\n"
        "assert all(os.environ[f'VARIABLE_{n}'] == str(n) and f'VARIABLE_{n}={n}' in told for n in range(3_000))\n"
        + HOW
    )
    one = started_warm(started)
    wait_until(lambda: one.server_pid)
    run(one, script, {**COMMON, **many})
    assert printed(script) == ["warm"]


def test_what_no_server_can_be_told_starts_cold_and_leaves_nothing_open(started: list[Warm], script: Path) -> None:
    one = started_warm(started)
    wait_until(lambda: one.server_pid)
    before = psutil.Process().num_fds()
    with open(script.with_suffix(".log"), "ab") as log:
        for command in ([str(script), "\ud800"], [str(script.parent)], ["/dev/null/x.py"], []):
            launch = Launch([sys.executable, "-u", *command], str(script.parent), COMMON, log.fileno())
            with contextlib.suppress(UnicodeEncodeError):
                one.start_process(launch).wait()
    assert psutil.Process().num_fds() == before


def test_where_python_changes_a_variable_that_it_was_given_all_are_cold(
    started: list[Warm], script: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    environment = {**COMMON, "LC_CTYPE": "C"}
    one = started_warm(started, environment)
    wait_until(lambda: not one.threads())
    assert "a Python that starts here changes LC_CTYPE=C" in caplog.text
    assert not isinstance(run(one, script, environment), WarmProcess)


def test_the_server_ends_with_its_socket() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-u", str(warm_main.__file__), str(theirs.fileno())]
    with ours, subprocess.Popen(command, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        ours.settimeout(10)
        assert b"modules" in ours.recv(ROOM_BYTES)
        ours.shutdown(socket.SHUT_RDWR)
        assert process.wait(5) == 0


def test_the_server_ends_with_whoever_has_started_it(started: list[Warm]) -> None:
    one = started_warm(started)
    process = psutil.Process(wait_until(lambda: one.server_pid))
    assert process.cmdline()[1:3] == ["-u", warm_main.__file__]
    one.stop()
    assert one.join(5)
    assert not process.is_running()
