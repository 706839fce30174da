"""When a service counts as ready, what makes it unhealthy, and services that do anything to a check but answer it."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from titan_core.protocol.messages import Health, LogPosition, Result, ServiceReady
from titan_core.worker import checks, procfs
from titan_core.worker.app import Worker
from titan_core.worker.health import SETTLE_S
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture(params=[False, True], ids=["among others", "alone"])
def worker(request: pytest.FixtureRequest, master: WorkerMaster, start_worker: StartWorker) -> Worker:
    """One as it is in other tests, and one that takes its process into a cgroup."""
    worker = start_worker(alone=request.param)
    master.wait_for_worker()
    return worker


LISTENS = """\
import os, pathlib, socket, sys, time
def wait_for(name):
    while not os.path.exists(name): time.sleep(0.005)
def listen(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(os.environ["PORT"])), family=family)
pathlib.Path("up").touch()
"""
ANSWERS = (
    LISTENS
    + """
server = listen()
for n in range(10**9):
    connection, _ = server.accept()
    with connection:
        request = connection.recv(4096)
        if not request: continue
        with open("requests", "ab") as file: file.write(request)
        status = answer(n)
        connection.sendall(b"HTTP/1.1 %s\\r\\nContent-Length: 2\\r\\n\\r\\nok" % status.encode())
"""
)
BY_FILE = "def answer(n): return open('status').read()\n" + ANSWERS
QUICK = {"interval_s": 0.02, "timeout_s": 5.0}


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "titan_workspace" / "shared" / "run-1"
    path.mkdir(parents=True)
    return path


def serve(master: WorkerMaster, script: str, port: int = 0, **health: object) -> bytes:
    return master.start(script, "job.py", service=True, port=port, health=Health(**health))  # type: ignore[arg-type]


def ended(master: WorkerMaster, script: str, port: int, **health: object) -> Result:
    """How a service ends that is stopped by nobody but its worker."""
    return master.result(serve(master, script, port, **health))


def end(master: WorkerMaster, token: bytes) -> None:
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"


def requests(shared: Path) -> int:
    """How often the service was asked."""
    path = shared / "requests"
    return path.read_bytes().count(b"GET ") if path.exists() else 0


# ── ready ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_service_with_a_port_is_ready_when_it_listens(
    master: WorkerMaster, shared: Path, port: int, host: str
) -> None:
    token = serve(master, f"{LISTENS}\nwait_for('go')\nserver = listen({host!r})\ntime.sleep(600)", port)
    wait_until((shared / "up").exists)
    assert not master.of(ServiceReady)
    (shared / "go").touch()
    ready = master.started(token)
    assert ready.port == port
    assert procfs.attempt_token(ready.pid) == token.hex()
    end(master, token)
    assert len(master.of(ServiceReady)) == 1


def test_an_http_service_is_ready_when_it_says_so(master: WorkerMaster, shared: Path, port: int) -> None:
    (shared / "status").write_text("503 Service Unavailable")
    token = serve(master, BY_FILE, port, http="/health?port={port}")
    wait_until(lambda: requests(shared) > 3)
    assert not master.of(ServiceReady)
    (shared / "status").write_text("204 No Content")
    assert master.started(token).port == port
    assert (
        f"GET /health?port={port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
        in (shared / "requests").read_bytes()
    )
    end(master, token)


def test_a_command_says_when_a_service_is_ready(master: WorkerMaster, shared: Path) -> None:
    command = ("sh", "-c", 'pwd; echo "$TITAN_JOB_ID $COLOUR $1 $PWD" >> asked; cat; test -e well', "-", "{port}")
    token = master.start("exec sleep 600", service=True, env=(("COLOUR", "red"),), health=Health(command=command))
    wait_until(lambda: (shared / "asked").exists())
    assert not master.of(ServiceReady)
    (shared / "well").touch()
    assert master.started(token).port == 0
    job_id = master.of(ServiceReady) and (shared / "asked").read_text().split()[0]
    assert (shared / "asked").read_text().splitlines()[0] == f"{job_id} red {{port}} {shared}"
    assert job_id.startswith("job-")
    assert not master.log(token)
    end(master, token)


def test_a_service_that_can_not_be_checked_is_ready_once_it_has_lasted(master: WorkerMaster) -> None:
    began_at = time.monotonic()
    token = serve(master, "import time; time.sleep(600)")
    assert master.started(token).port == 0
    assert time.monotonic() - began_at >= SETTLE_S
    end(master, token)


@pytest.mark.parametrize("listens", [True, False])
def test_a_service_that_ends_before_it_is_ready(master: WorkerMaster, port: int, listens: bool) -> None:
    result = ended(master, "raise SystemExit(3)", port if listens else 0)
    assert (result.outcome, result.reason) == ("FAILED", "exit code 3")
    assert not master.of(ServiceReady)


def test_a_ready_service_is_told_again_in_the_next_session(
    master: WorkerMaster, worker: Worker, shared: Path, port: int
) -> None:
    master.adopt = lambda register: tuple(LogPosition(token) for token in register.running)
    ready = serve(master, f"{LISTENS}\nserver = listen()\ntime.sleep(600)", port)
    other = master.start("exec sleep 600", service=True, health=Health(command=("false",)))
    told = master.started(ready)
    master.received.clear()
    master.drop_session()
    master.wait_for_worker(2)
    assert master.started(ready) == told
    end(master, ready)
    end(master, other)
    assert master.of(ServiceReady) == [told]


# ── not ready, not well ───────────────────────────────────────────────────────────────────────────


def test_a_service_that_does_not_listen_in_time(master: WorkerMaster, port: int) -> None:
    result = ended(master, f"{LISTENS}\ntime.sleep(600)", port, ready_timeout_s=0.3)
    assert result.outcome == "FAILED"
    assert result.reason == f"not ready within 0.3 s: connection refused on port {port}"
    assert not master.of(ServiceReady)


def test_a_redirect_is_no_answer(master: WorkerMaster, port: int) -> None:
    script = "def answer(n): return '302 Found\\r\\nLocation: /'\n" + ANSWERS
    result = ended(master, script, port, http="/", ready_timeout_s=0.3)
    assert result.reason == f"not ready within 0.3 s: GET / on port {port} was answered with 302 Found"


def test_a_service_that_becomes_unhealthy(master: WorkerMaster, shared: Path, port: int) -> None:
    (shared / "status").write_text("200 OK")
    token = serve(master, BY_FILE, port, http="/", **QUICK)
    master.started(token)
    (shared / "status").write_text("500 Internal Server Error")
    result = master.result(token)
    assert (result.outcome, result.exit_code) == ("FAILED", 143)
    assert result.reason == (
        f"unhealthy: 3 checks in a row failed, the last: GET / on port {port} was answered "
        "with 500 Internal Server Error"
    )


def test_failed_checks_that_are_not_in_a_row(master: WorkerMaster, shared: Path, port: int) -> None:
    script = "def answer(n): return '200 OK' if n % 3 == 0 else '500 No'\n" + ANSWERS
    token = serve(master, script, port, http="/", **QUICK)
    wait_until(lambda: requests(shared) > 12)
    assert not master.results(token)
    end(master, token)


def test_a_port_that_is_closed_again(master: WorkerMaster, shared: Path, port: int) -> None:
    script = f"{LISTENS}\nserver = listen()\nwait_for('go')\nserver.close()\ntime.sleep(600)"
    token = serve(master, script, port, unhealthy_after=1, **QUICK)
    master.started(token)
    (shared / "go").touch()
    assert master.result(token).reason == f"unhealthy: a check failed, the last: connection refused on port {port}"


def test_a_command_that_fails_later(master: WorkerMaster, shared: Path) -> None:
    (shared / "well").touch()
    health = Health(command=("test", "-e", "well"), unhealthy_after=2, **QUICK)  # type: ignore[arg-type]
    token = master.start("exec sleep 600", service=True, health=health)
    master.started(token)
    (shared / "well").unlink()
    reason = master.result(token).reason
    assert reason == "unhealthy: 2 checks in a row failed, the last: 'test -e well' exited with 1"


@pytest.mark.parametrize("how", [{"command": ("true",)}, {"http": "/"}, {}], ids=["command", "http", "port"])
def test_a_worker_without_means_ends_no_service(
    master: WorkerMaster,
    port: int,
    how: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    script = "def answer(n): return '200 OK'\n" + ANSWERS
    token = serve(master, script, port, unhealthy_after=2, **QUICK, **how)
    master.started(token)
    with monkeypatch.context() as exhausted:
        exhausted.setattr(checks, "start_process", fail)
        exhausted.setattr(checks, "_connected", fail)
        wait_until(lambda: caplog.text.count("could not be checked: Too many open files") > 4)
    end(master, token)


def test_without_a_limit_a_service_may_take_its_time(master: WorkerMaster, shared: Path) -> None:
    command = ("sh", "-c", "echo >> asked; test $(wc -l < asked) -ge 8")
    token = master.start("exec sleep 600", service=True, health=Health(command=command, ready_timeout_s=0.0))
    master.started(token)
    end(master, token)


# ── what answers otherwise ────────────────────────────────────────────────────────────────────────

SILENT = "time.sleep(600)"
DRIP = """
while True:
    try: connection.sendall(b"H")
    except OSError: break
    time.sleep(0.02)
"""
GARBAGE = "connection.sendall(bytes(range(256)) * 1000)"
NOTHING = ""
ENDLESS_HEADERS = r"""
connection.sendall(b"HTTP/1.1 200 OK\r\n")
try:
    while True: connection.sendall(b"X-More: and more\r\n" * 100)
except OSError: pass
"""
ENDLESS_PROMISES = r"""
try:
    while True: connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
except OSError: pass
"""
LESS_THAN_NOTHING = r"""
connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n")
"""
NO_END = r"""
connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (SILENT, "was not answered within 0.1 s"),
        (DRIP, "was not answered within 0.1 s"),
        (NO_END, "was not answered within 0.1 s"),
        (GARBAGE, "was not answered in HTTP (BadStatusLine)"),
        (ENDLESS_HEADERS, "was not answered in HTTP (HTTPException)"),
        (ENDLESS_PROMISES, "was not answered within 0.1 s"),
        (LESS_THAN_NOTHING, "was not answered in HTTP (ValueError)"),
        (NOTHING, "was not answered: the connection was closed"),
    ],
    ids=["silent", "drip", "no end", "garbage", "headers", "promises", "less than nothing", "nothing"],
)
@pytest.mark.parametrize("worker", [False], indirect=True, ids=["among others"])
def test_a_server_that_does_not_answer_as_it_should(
    master: WorkerMaster, port: int, behaviour: str, reason: str
) -> None:
    body = behaviour.strip().replace("\n", "\n    ")
    script = f"{LISTENS}\nserver = listen()\nwhile True:\n    connection, _ = server.accept()\n"
    script += f"    connection.recv(4096)\n    {body}\n    connection.close()\n"
    result = ended(master, script, port, http="/", timeout_s=0.1, ready_timeout_s=1.0)
    assert result.outcome == "FAILED"
    assert result.reason == f"not ready within 1 s: GET / on port {port} {reason}"


@pytest.mark.parametrize(
    "health",
    [
        {"interval_s": 1e300, "timeout_s": 1e300, "ready_timeout_s": 1e300},
        {"interval_s": -1e300, "timeout_s": -1e300, "ready_timeout_s": 0.1},
        {"interval_s": 0.0, "unhealthy_after": -1, "ready_timeout_s": -1.0},
    ],
)
def test_numbers_that_no_master_lets_pass(master: WorkerMaster, worker: Worker, port: int, health: dict) -> None:
    token = serve(master, f"{LISTENS}\nserver = listen()\nwhile True: server.accept()", port, **health)
    wait_until(lambda: master.of(ServiceReady) or master.results(token))
    master.stop(token)
    master.result(token)
    assert not worker.stopping.is_set()


HANGS = "sleep 600 & setsid sleep 600 & (setsid sleep 600 &) ; exec sleep 600"


def test_a_command_that_forks_and_hangs(master: WorkerMaster) -> None:
    health = Health(command=("sh", "-c", HANGS), timeout_s=0.2, ready_timeout_s=0.5)
    token = master.start("exec sleep 600", service=True, health=health)
    result = master.result(token)
    assert "did not end within" in result.reason
    wait_until(lambda: not processes_of(token), 5, lambda: processes_of(token))


def test_what_a_command_leaves_behind_ends_with_it(master: WorkerMaster) -> None:
    health = Health(command=("sh", "-c", "sleep 600 & sleep 600 & exit 0"), interval_s=600.0)
    token = master.start("exec sleep 600", service=True, health=health)
    pid = master.started(token).pid
    assert processes_of(token) == [pid]
    end(master, token)


LEAVES_A_DAEMON = "(setsid sleep 600 &) ; sleep 0.02; (setsid sleep 600 &) ; sleep 0.02; exit 0"


def test_a_daemon_that_a_command_leaves_behind_ends_with_it(master: WorkerMaster) -> None:
    own = "setsid sleep 600 & sleep 0.02; exec sleep 600"
    health = Health(command=("sh", "-c", LEAVES_A_DAEMON), interval_s=600.0)
    token = master.start(own, service=True, health=health)
    master.started(token)
    assert len(processes_of(token)) == 2
    end(master, token)


def test_a_command_that_became_another_users(
    master: WorkerMaster, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(group: int, number: int) -> None:
        raise PermissionError("as for sudo")

    monkeypatch.setattr(os, "killpg", refuse)
    token = master.start("exec sleep 600", service=True, health=Health(command=("true",), interval_s=600.0))
    pid = master.started(token).pid
    assert worker._house._leaders() == {pid}
    monkeypatch.undo()
    end(master, token)


@pytest.mark.parametrize("command", [("/no/such/program",), ("",), ("/etc/passwd",), ("a\0b",)])
def test_a_command_that_can_not_be_run(master: WorkerMaster, command: tuple[str, ...]) -> None:
    health = Health(command=command, ready_timeout_s=0.1)
    result = master.run("exec sleep 600", service=True, health=health)
    assert "can not be run: " in result.reason


@pytest.mark.parametrize("how", ["stop", "exit", "worker"])
def test_a_check_that_takes_long_keeps_nobody_waiting(
    master: WorkerMaster, worker: Worker, shared: Path, port: int, how: str
) -> None:
    hangs = f"{LISTENS}\nserver = listen()\nserver.accept()\npathlib.Path('asked').touch()\nwait_for('go')\n"
    tokens = [
        serve(master, hangs, port, http="/", timeout_s=3600.0, ready_timeout_s=0.0),
        serve(master, "import time; time.sleep(600)", command=("sleep", "3600"), timeout_s=3600.0),
    ]
    wait_until((shared / "asked").exists)
    if how == "exit":
        (shared / "go").touch()
        assert master.result(tokens.pop(0)).outcome == "SUCCEEDED"
    if how == "worker":
        worker.stop()
    else:
        for token in tokens:
            master.stop(token)
    assert {master.result(token).outcome for token in tokens} == {"INTERRUPTED" if how == "worker" else "STOPPED"}
    watchers = lambda: [thread for thread in worker._health.threads() if thread.name != "health"]  # noqa: E731
    wait_until(lambda: not watchers(), 5, watchers)
    assert not [pid for token in tokens for pid in processes_of(token)]


def processes_of(token: bytes) -> list[int]:
    return [pid for pid in procfs.all_pids() if procfs.attempt_token(pid) == token.hex()]
