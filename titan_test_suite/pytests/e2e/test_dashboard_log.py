"""Logs in the dashboard, with a real cluster: seen as they are printed, and whole in the end."""

from __future__ import annotations

import base64
import http.client
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import pytest

from dashboard import collector as collectors
from dashboard.config import DashboardConfig
from dashboard.server import Dashboard
from titan_sdk import JobHandle, TitanClient
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.loud import LOUD
from titan_test_suite.pytests.support.waiting import wait_until

TICKS = """
import time
for number in range(20):
    print(f"tick {number} {time.time():.4f}", flush=True)
    time.sleep(0.05)
"""
Script = Callable[[str, str], str]


class Heard(NamedTuple):
    at_wall: float
    event: dict[str, Any]

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.event.get("data", ""))


@contextmanager
def dashboard_of(cluster: Cluster) -> Iterator[Dashboard]:
    """In this process, attached as a collector."""
    dashboard = Dashboard(DashboardConfig(port=0, master=f"127.0.0.1:{cluster.port}", home=cluster.home))
    dashboard.start()
    try:
        wait_until(lambda: dashboard.collector.attached, 10, lambda: dashboard.collector.trouble)
        yield dashboard
    finally:
        dashboard.stop()
        assert dashboard.join()


def home(path: Path) -> Path:
    path.mkdir()
    return path


def path_of(job: JobHandle) -> str:
    return f"/api/runs/{job.run_id}/jobs/{job.job_id}/log"


def heard(dashboard: Dashboard, job: JobHandle) -> Iterator[Heard]:
    """The events of its first attempt, to the end of the job."""
    connection = http.client.HTTPConnection("localhost", dashboard.port, timeout=20)
    try:
        connection.request("GET", f"{path_of(job)}/events?attempt=1")
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        for line in answer:
            if line.startswith(b"data: "):
                yield Heard(time.time(), json.loads(line[6:]))
    finally:
        connection.close()


def begun(client: TitanClient, file: str) -> JobHandle:
    job = client.submit_job(filename=file)
    wait_until(lambda: client.job(job).attempts, 20)
    return job


def fetched(dashboard: Dashboard, path: str) -> bytes:
    with urlopen(f"http://localhost:{dashboard.port}{path}", timeout=20) as answer:
        data: bytes = answer.read()
        return data


def filled(dashboard: Dashboard, job: JobHandle, events: Iterable[Heard]) -> tuple[bytes, int]:
    """The log of what was heard, and of what is missing between; how many gaps there were. The same bytes may have
    come twice, from the master and by datagrams, in pieces of different length."""
    pieces: dict[int, bytes] = {}
    for one in events:
        if one.data:
            offset = one.event["offset"]
            pieces[offset] = max(pieces.get(offset, b""), one.data, key=len)
    log, gaps = b"", 0
    for offset in sorted(pieces):
        if offset > len(log):
            gaps += 1
        while offset > len(log):
            log += fetched(dashboard, f"{path_of(job)}?attempt=1&offset={len(log)}&limit={offset - len(log)}")
            log = log[:offset]
        log += pieces[offset][len(log) - offset :]
    return log, gaps


def test_what_a_job_prints_is_seen_within_a_second(cluster: Cluster, client: TitanClient, script: Script) -> None:
    with dashboard_of(cluster) as dashboard:
        job = begun(client, script("ticks.py", TICKS))
        events = list(heard(dashboard, job))
        log, _ = filled(dashboard, job, events)
    direct = [one for one in events if one.event.get("via") == "datagrams"]
    late_s = [one.at_wall - float(line.split()[2]) for one in direct for line in one.data.splitlines()]
    assert len(late_s) >= 10 and statistics.median(late_s) < 1.0, late_s
    assert log.count(b"tick") == 20
    assert events[-1].event["final"]


def test_a_loud_job_is_followed_and_what_is_missing_is_fetched(
    cluster: Cluster, client: TitanClient, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collectors, "BUFFER_BYTES", 1)  # room for a datagram or two: most of a burst is lost
    with dashboard_of(cluster) as dashboard:
        job = begun(client, script("loud.py", LOUD))
        events = list(heard(dashboard, job))
        assert dashboard.parts.rings.figures().gaps > 0
        log, gaps = filled(dashboard, job, events)
        whole = fetched(dashboard, f"/runs/{job.run_id}/jobs/{job.job_id}/log.txt")
    assert gaps > 0 and log == whole
    assert [int(line.split()[0]) for line in whole.splitlines()[:-1]] == list(range(40_000))


def test_the_master_restarts_and_lines_come_again(tmp_path: Path, script: Script) -> None:
    with Cluster(home(tmp_path / "home")) as own:
        port = own.port
        own.start_worker()
        with dashboard_of(own) as dashboard:
            own.master.kill()
            own.start_master("--port", str(port))
            with own.client() as client:
                wait_until(lambda: [worker for worker in client.workers() if worker.state == "ONLINE"], 20)
                seen = dashboard.collector.attached
                wait_until(lambda: dashboard.collector.attached > seen, 20)
                job = begun(client, script("ticks.py", TICKS))
                assert any(one.event.get("via") == "datagrams" for one in heard(dashboard, job))
