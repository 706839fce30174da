"""The ports of attempts: those that are taken, those that are found, and what a job is told of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from titan_core.errors import Conflict
from titan_core.protocol.messages import Health, StartAttempt, Task
from titan_core.worker import ports
from titan_core.worker.app import Worker
from titan_core.worker.ports import AUTO_PORTS, Ports, with_port
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

LISTENS = """\
import os, socket, sys
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
print(os.environ["PORT"], os.environ["TITAN_PORT"], *sys.argv[1:], flush=True)
while True: server.accept()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def known() -> Iterator[Ports]:
    """Those of a worker, which are given back in the end."""
    known = Ports()
    yield known
    for port in list(known._held):
        known.give_back(port)


def order(port: int, job_id: str = "job", number: int = 1) -> StartAttempt:
    return StartAttempt(secrets.token_bytes(16), "run", job_id, number, Task("job.py", port=port), True)


def send(master: WorkerMaster, job_id: str, number: int, **fields: object) -> bytes:
    """Order an attempt of a service, which is named, to listen on a port; its token."""
    token = secrets.token_bytes(16)
    master.send(StartAttempt(token, "run-1", job_id, number, master.task(LISTENS, "job.py", **fields), True))
    return token


def end(master: WorkerMaster, *tokens: bytes) -> None:
    for token in tokens:
        master.stop(token)
    assert {master.result(token).outcome for token in tokens} == {"STOPPED"}


# ── a port of the job's own choice ────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_port_that_is_in_use(master: WorkerMaster, host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as taken:
        port = taken.getsockname()[1]
        result = master.result(send(master, "web", 1, port=port))
    name = psutil.Process().name()
    assert (result.outcome, result.reason) == ("NOT_STARTED", f"port {port} is in use by {name} (pid {os.getpid()})")


@pytest.mark.usefixtures("worker")
def test_a_port_that_another_attempt_has(master: WorkerMaster, port: int) -> None:
    first = send(master, "first", 1, port=port)
    master.started(first)
    result = master.result(send(master, "second", 1, port=port))
    assert (result.outcome, result.reason) == ("NOT_STARTED", f"port {port} is in use by run-1/first")
    end(master, first)
    again = send(master, "second", 2, port=port)
    assert master.started(again).port == port
    end(master, again)


@pytest.mark.usefixtures("worker")
def test_a_port_that_an_attempt_uses_without_having_been_given_it(master: WorkerMaster, port: int) -> None:
    other = master.start(LISTENS.replace('os.environ["PORT"]', f"'{port}'").replace("TITAN_PORT", "HOME"), "job.py")
    wait_until(lambda: master.log(other))
    result = master.result(send(master, "web", 1, port=port))
    assert result.reason.startswith(f"port {port} is in use by run-1/job-")
    end(master, other)


def test_an_owner_that_may_not_be_known(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(kind: str) -> list[object]:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    port = listener.getsockname()[1]
    with pytest.raises(Conflict, match=f"^port {port} is in use by another program$"):
        Ports().take(order(port))


def test_connections_that_linger_are_in_nobodys_way(known: Ports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            listening.accept()[0].close()  # the side that closes first is the one that lingers
            assert client.recv(1) == b""
    assert "TIME_WAIT" in {c.status for c in psutil.net_connections() if c.laddr and c.laddr.port == port}
    assert known.take(order(port)) == port


def test_a_port_that_another_worker_has_given_away(known: Ports, port: int) -> None:
    assert known.take(order(port)) == port  # nobody listens there yet
    other = Ports()
    with pytest.raises(Conflict, match=f"^port {port} was given to a job of another worker on this host$"):
        other.take(order(port))
    known.give_back(port)
    assert other.take(order(port)) == port
    other.give_back(port)


# ── a port of the worker's choice ─────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("worker")
def test_a_service_is_told_its_port_and_keeps_it(master: WorkerMaster) -> None:
    args = ("--listen=:{port}", "{PORT}", "{port}{port}")
    first = send(master, "web", 1, port=-1, args=args)
    ready = master.started(first)
    assert ready.port in AUTO_PORTS
    wait_until(lambda: master.log(first))
    assert master.log(first).decode().split() == [
        *(str(ready.port), str(ready.port)),
        *(f"--listen=:{ready.port}", "{PORT}", f"{ready.port}{ready.port}"),
    ]
    os.kill(ready.pid, 9)
    assert master.result(first).outcome == "FAILED"
    second = send(master, "web", 2, port=-1)
    assert master.started(second).port == ready.port
    end(master, second)


@pytest.mark.usefixtures("worker")
def test_live_attempts_have_ports_of_their_own(master: WorkerMaster) -> None:
    tokens = [send(master, f"web-{n}", 1, port=-1) for n in range(6)]
    assert len({master.started(token).port for token in tokens}) == 6
    end(master, *tokens)


def test_a_last_port_that_is_taken_by_now(known: Ports) -> None:
    port = known.take(order(-1))
    known.give_back(port)
    assert known.take(order(-1, "other")) != 0
    with socket.create_server(("127.0.0.1", port)):
        assert known.take(order(-1)) not in (0, port)


def test_when_all_are_taken_the_system_gives_one(known: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as taken:
        listening = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        monkeypatch.setattr(ports, "AUTO_PORTS", [sock.getsockname()[1] for sock in listening])
        assert known.take(order(-1)) not in (0, *ports.AUTO_PORTS)


def test_last_ports_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "MOST_REMEMBERED", 3)
    known = Ports()
    for n in range(9):
        known.give_back(known.take(order(-1, f"job-{n}")))
    assert list(known._last) == ["run/job-6", "run/job-7", "run/job-8"]


def test_one_who_wants_no_port_gets_none() -> None:
    known = Ports()
    assert known.take(order(0)) == 0
    known.give_back(0)


@pytest.mark.parametrize("port", [-2, 65_536, 1 << 62])
def test_what_is_no_port(port: int) -> None:
    with pytest.raises(Conflict, match=f"{port} is no port"):
        Ports().take(order(port))


def test_the_port_is_known_to_checks_as_well() -> None:
    start = replace(order(0), task=Task("a", args=("{port}",), health=Health("/{port}", ("x", "-p{port}"))))
    assert with_port(start, 0) is start
    told = Task("a", args=("81",), port=81, health=Health("/81", ("x", "-p81")))
    assert with_port(start, 81) == replace(start, task=told)


# ── others' ───────────────────────────────────────────────────────────────────────────────────────


def test_a_job_is_told_where_the_services_of_its_run_are(
    master: WorkerMaster, worker: Worker, tmp_path: Path
) -> None:
    services = (("db", "10.0.0.1:5432"), ("web-2.b", "[::1]:80"))
    token = secrets.token_bytes(16)
    task = master.task("env | grep ^TITAN_SERVICE_ | sort", env=(("TITAN_SERVICE_DB", "mine"),))
    master.send(StartAttempt(token, "run-1", "job", 1, task, False, services))
    master.result(token)
    assert master.log(token).decode().split() == [
        "TITAN_SERVICE_DB=10.0.0.1:5432",
        "TITAN_SERVICE_WEB_2_B=[::1]:80",
    ]
