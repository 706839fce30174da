"""The dashboard behind real sockets, of a real master in this process: streams, a master that comes back, its end."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.__main__ import EXIT_USAGE
from dashboard.config import DashboardConfig
from dashboard.server import Dashboard
from titan_core.config import MasterConfig
from titan_core.master.app import Master
from titan_sdk import TitanClient, TitanJob
from titan_sdk.errors import ConfigError
from titan_test_suite.pytests.support.waiting import wait_until


def started(home: Path, port: int = 0) -> Master:
    master = Master(MasterConfig(home=home, port=port))
    master.start()
    return master


def ended(master: Master) -> None:
    master.stop()
    assert master.join()


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    running = started(tmp_path / "home")
    yield running
    ended(running)


@pytest.fixture
def dashboard(master: Master, tmp_path: Path) -> Iterator[Dashboard]:
    running = Dashboard(DashboardConfig(port=0, master=f"127.0.0.1:{master.port}", home=tmp_path / "home", threads=4))
    running.start()
    yield running
    running.stop()
    assert running.join() and not running.failed


class Asked:
    """One answer, whose body is read as it comes."""

    def __init__(self, port: int, path: str) -> None:
        self._connection = http.client.HTTPConnection("localhost", port, timeout=10)
        self._connection.request("GET", path)
        self.answer = self._connection.getresponse()
        self.status = self.answer.status

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *about: object) -> None:
        self.answer.close()
        self._connection.close()

    def text(self) -> str:
        return self.answer.read().decode()

    def next_version(self) -> int:
        while True:
            line = self.answer.readline().decode()
            assert line, "the stream has ended"
            if line.startswith("data: "):
                return int(json.loads(line.removeprefix("data: "))["version"])


def get(dashboard: Dashboard, path: str) -> tuple[int, str]:
    with Asked(dashboard.port, path) as asked:
        return asked.status, asked.text()


def submit(master: Master, home: Path) -> str:
    script = home / "hello.py"
    script.write_text("print('hello')\n")
    with TitanClient("127.0.0.1", master.port, home=home) as client:
        return client.submit_job(TitanJob("hello", script)).run_id


def test_a_page_is_told_of_a_change_at_once_and_shows_it(
    dashboard: Dashboard, master: Master, tmp_path: Path
) -> None:
    assert get(dashboard, "/readyz") == (200, "ready\n")
    with Asked(dashboard.port, "/events") as stream:
        assert stream.answer.headers["Content-Type"].startswith("text/event-stream")
        first = stream.next_version()
        run_id = submit(master, tmp_path / "home")
        begun_at = time.monotonic()
        assert stream.next_version() > first
        assert time.monotonic() - begun_at < 3.5, "it was flushed with the heartbeat only"
    status, page = get(dashboard, "/")
    assert status == 200 and run_id in page and "no worker is connected" in page
    assert json.loads(get(dashboard, f"/api/runs/{run_id}")[1])["run"]["state"] == "RUNNING"


def test_streams_beyond_half_of_the_threads_are_refused_and_pages_go_on(dashboard: Dashboard) -> None:
    with Asked(dashboard.port, "/events") as one, Asked(dashboard.port, "/events") as other:
        assert (one.next_version(), one.status) == (other.next_version(), 200)
        assert get(dashboard, "/events")[0] == 503 and get(dashboard, "/")[0] == 200
    wait_until(lambda: dashboard.parts.streams.open == 0, 10, lambda: dashboard.parts.streams.open)
    with Asked(dashboard.port, "/events") as stream:
        assert stream.status == 200


def test_a_master_that_goes_and_comes_back(tmp_path: Path) -> None:
    home = tmp_path / "home"
    master = started(home)
    dashboard = Dashboard(DashboardConfig(port=0, home=home))
    dashboard.start()
    try:
        submitted = submit(master, home)
        wait_until(lambda: submitted in get(dashboard, "/")[1], 10)
        ended(master)
        wait_until(lambda: "The master is not reached" in get(dashboard, "/")[1], 10)
        assert submitted in get(dashboard, "/")[1] and get(dashboard, "/readyz")[0] == 503
        assert get(dashboard, f"/api/runs/{submitted}")[0] == 503
        master = started(home)  # on another port: the home says where
        wait_until(lambda: get(dashboard, "/readyz")[0] == 200, 10)
        assert "The master is not reached" not in get(dashboard, "/")[1]
    finally:
        dashboard.stop()
        assert dashboard.join()
        ended(master)


def test_what_was_done_is_in_the_next_snapshot(dashboard: Dashboard, master: Master, tmp_path: Path) -> None:
    run_id = submit(master, tmp_path / "home")
    dashboard.parts.cluster.renew(5.0)
    assert [run.run_id for run in dashboard.parts.cluster.glance().runs] == [run_id]


def test_it_stops_although_somebody_listens(master: Master, tmp_path: Path) -> None:
    dashboard = Dashboard(DashboardConfig(port=0, master=f"127.0.0.1:{master.port}", home=tmp_path / "home"))
    dashboard.start()
    with Asked(dashboard.port, "/events") as stream:
        stream.next_version()
        begun_at = time.monotonic()
        dashboard.stop()
        assert dashboard.join() and time.monotonic() - begun_at < 3


def test_a_port_in_use(dashboard: Dashboard) -> None:
    with pytest.raises(ConfigError, match=f"port {dashboard.port} of 127.0.0.1 is in use; .*--port"):
        Dashboard(DashboardConfig(port=dashboard.port))


def test_the_program(dashboard: Dashboard, master: Master, tmp_path: Path) -> None:
    environment = {**os.environ, "TITAN_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "dashboard", "--port"]
    taken = subprocess.run(
        [*command, str(dashboard.port)], env=environment, capture_output=True, text=True, timeout=30
    )
    assert taken.returncode == EXIT_USAGE and len(taken.stderr.splitlines()) == 1
    for number in (signal.SIGTERM, signal.SIGINT):
        program = subprocess.Popen([*command, "0"], env=environment, stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None
        with program.stdout as said:
            line = said.readline()
        assert line.startswith("titan dashboard: http://localhost:") and line.rstrip().endswith(f":{master.port}")
        port = int(line.split()[2].rpartition(":")[2])
        with Asked(port, "/livez") as asked:
            assert asked.text() == "alive\n"
        program.send_signal(number)
        assert program.wait(20) == 0
