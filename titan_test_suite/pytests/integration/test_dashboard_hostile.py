"""The dashboard behind real sockets, and peers that are slow, greedy, or gone half way. There is no master."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboard import connections
from dashboard.config import DashboardConfig
from dashboard.server import Dashboard
from titan_core.protocol.messages import LogChunk
from titan_test_suite.pytests.support.dashboards import TOKEN
from titan_test_suite.pytests.support.waiting import wait_until

PIECE = b"x" * (1 << 20)
GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n"


class Log:
    """So many pieces, each of 1 MiB; knows whether somebody still reads."""

    def __init__(self, pieces: int) -> None:
        self.pieces, self.readers, self.given = pieces, 0, 0

    def chunks(self, key: str, attempt: int = 0, **more: Any) -> Iterator[LogChunk]:
        self.readers += 1
        try:
            for number in range(self.pieces):
                self.given += 1
                yield LogChunk("run", "job", 1, number << 20, PIECE)
        finally:
            self.readers -= 1


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    running = Dashboard(DashboardConfig(port=0, master="127.0.0.1:9", token=TOKEN, home=tmp_path, threads=4))
    running.start()
    yield running
    running.stop()
    assert running.join() and not running.failed


@contextlib.contextmanager
def connected(dashboard: Dashboard, sent: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=20) as one:
        one.sendall(sent.encode())
        yield one


def is_closed(one: socket.socket) -> bool:
    """Whether the other side ends it, after whatever it still has to say."""
    try:
        while one.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True


def ask(dashboard: Dashboard, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost", dashboard.port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


# ── who brings too little ─────────────────────────────────────────────────────────────────────────


def test_connections_that_never_ask_keep_nobody_out(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 8)
    with contextlib.ExitStack() as open_ones:
        begun = [open_ones.enter_context(connected(dashboard, GET.format("/") + "X: ")) for _ in range(30)]
        assert ask(dashboard, "GET", "/livez") == (200, "alive\n")
        assert is_closed(begun[0])


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "G",
        GET.format("/"),
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\ncsrf",
        "POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ncs",
    ],
)
def test_a_request_that_does_not_arrive_is_given_up(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(connections, "GRACE_S", 0.1)
    monkeypatch.setattr(connections, "SILENT_S", 0.1 if not sent else 60)
    monkeypatch.setattr(connections, "TIDY_S", 0.05)
    with connected(dashboard, sent) as one:
        assert is_closed(one)


def test_the_pace_that_is_asked_for() -> None:
    pace = connections.Pace()
    assert not pace.is_too_slow(True, 0, 100.0) and not pace.is_too_slow(True, 0, 119.0)
    assert not pace.is_too_slow(True, 10 * connections.LEAST_RATE, 129.0), "each byte gives it time"
    assert pace.is_too_slow(True, 10 * connections.LEAST_RATE, 131.0)
    assert not pace.is_too_slow(False, 0, 200.0) and not pace.is_too_slow(True, 0, 219.0), "it begins anew"


# ── who takes too little ──────────────────────────────────────────────────────────────────────────


def test_those_who_do_not_take_their_downloads_keep_nobody_out(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(1000)
    monkeypatch.setattr(dashboard.parts.client, "log_chunks", log.chunks)
    request = GET.format("/runs/run/jobs/job/log.txt") + "\r\n"
    with connected(dashboard, request) as first:
        assert first.recv(12) == b"HTTP/1.1 200"
        status, sentence = ask(dashboard, "GET", "/runs/run/jobs/job/log.txt", Accept="application/json")
        assert status == 503 and "at most 1 log at a time" in json.loads(sentence)["error"]
        assert ask(dashboard, "GET", "/livez")[0] == 200
        monkeypatch.setattr(connections, "TIDY_S", 0.05)
        monkeypatch.setattr(connections, "SILENT_S", 0.2)
        wait_until(lambda: (log.readers, dashboard.parts.streams.downloads.taken) == (0, 0), 20)
        assert log.given < 200, "it is not read on for somebody who does not take it"


def test_a_download_takes_little_memory_and_ends_with_who_takes_it(
    dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(300)
    monkeypatch.setattr(dashboard.parts.client, "log_chunks", log.chunks)
    before = resident()
    with connected(dashboard, GET.format("/runs/run/jobs/job/log.txt") + "Connection: close\r\n\r\n") as one:
        received, most, buffer = 0, 0, bytearray(1 << 20)
        while count := one.recv_into(buffer):
            received, most = received + count, max(most, resident())
    assert received > 300 * len(PIECE) and most - before < 64 * len(PIECE)
    with connected(dashboard, GET.format("/runs/run/jobs/job/log.txt") + "\r\n") as one:
        one.recv(1 << 16)
    wait_until(lambda: (log.readers, dashboard.parts.streams.downloads.taken) == (0, 0), 20)


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# ── who brings too much ───────────────────────────────────────────────────────────────────────────


def test_a_large_body_is_refused_before_it_comes_where_it_is_not_asked_for(dashboard: Dashboard) -> None:
    cookies = logged_in(dashboard)
    for path, length, status in (
        ("/workers/box:1/drain", (1 << 20) + 1, 413),
        ("/api/cluster", 1 << 40, 413),
        ("/nope", 1 << 62, 413),
        ("/submit", 17 << 20, 413),
        ("/submit", 16 << 20, 100),
        ("/assets/upload", 1 << 31, 100),
        ("/assets/upload", 5 << 30, 413),
    ):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\nContent-Length: {length}\r\n"
        with connected(dashboard, f"{head}Expect: 100-continue\r\n\r\n") as one:
            assert one.recv(12) == f"HTTP/1.1 {status}".encode(), (path, length)


def test_what_is_no_request_is_refused_in_the_form_of_all_answers(dashboard: Dashboard) -> None:
    status, text = ask(dashboard, "POST", "/api/cluster", Content_Length=str(1 << 40))
    assert status == 413 and "1048576 bytes" in json.loads(text)["error"] and "REQUEST" in json.loads(text)["code"]
    for sent in (
        GET.format("/") + "X: " + "x" * 40_000,
        "GET / HTTP/1.1\r\nno header\r\n\r\n",
        GET.format("http://[") + "\r\n",
        GET.format("/") + "Content-Length: " + "9" * 5000 + "\r\n\r\n",
        GET.format("/") + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        with connected(dashboard, sent) as one:
            answer = b"".join(iter(lambda: one.recv(4096), b"")).decode()
        assert answer.split()[1] in ("431", "400") and "X-Content-Type-Options: nosniff" in answer
        assert "Content-Security-Policy: default-src 'none'" in answer and "Cache-Control: no-store" in answer


def logged_in(dashboard: Dashboard) -> str:
    """The cookies of somebody who is."""
    session = dashboard.parts.sessions.open()
    return f"titan_session_{dashboard.port}={session.session_id}"
