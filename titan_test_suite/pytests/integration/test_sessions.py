"""The session of a worker as the master keeps it: what it sends when, and whose output it takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.clock import SystemClock
from titan_core.master import sessions
from titan_core.master.logs import LogStore
from titan_core.master.sessions import Identity, Session, Timing, log_name
from titan_core.master.topics import Topics
from titan_core.net.stream import FrameStream
from titan_core.protocol.messages import LogBatch
from titan_core.scheduler.actions import AcknowledgeResult
from titan_core.scheduler.model import Attempt
from titan_core.store.volatile import Volatile
from titan_test_suite.pytests.support.cluster_model import Cluster, service


@pytest.fixture
def logs(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs", Topics())


@contextmanager
def session_with(logs: LogStore) -> Iterator[Session]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with closing(theirs), closing(FrameStream(ours)) as stream:
        yield Session("w:1", stream, logs, Timing(1.0, 1.0), Identity(b"c" * 16, 1), Volatile(SystemClock()))


def running_service() -> Attempt:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(service("web"))
    return cluster.job("web").attempts[-1]


def test_the_output_of_what_goes_on_is_kept_however_much_begins_and_ends_beside_it(
    logs: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "KNOWN_ATTEMPTS", 10)
    web = running_service()
    tokens = [number.to_bytes(16, "big") for number in range(100)]
    with session_with(logs) as session:
        session.know([web])
        for token in tokens:
            session.know([replace(web, token=token, number=int.from_bytes(token, "big"))])
            session.put(AcknowledgeResult("w:1", token), 0)
        session.keep_log(LogBatch(web.token, 0, b"still here\n"))
        assert logs.read(log_name(web), 0, 100) == (0, b"still here\n")
        assert len(session._known) == 11
