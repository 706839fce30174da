"""The session of a worker as the master keeps it: what it sends when, and whose output it takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from titan_core.clock import SystemClock
from titan_core.errors import ConnectionLost
from titan_core.master.engine import Engine
from titan_core.master.logs import LogStore
from titan_core.master.sessions import Identity, Session, Timing, log_name
from titan_core.master.topics import Topics
from titan_core.net.stream import FrameStream, decode
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import ForgetRuns, Heartbeat, LogBatch, Registered, ResultAck, Shutdown
from titan_core.scheduler.actions import AcknowledgeResult, ShutDownWorker
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import RunSubmitted, WorkerRegistered
from titan_core.scheduler.model import Attempt, WorkerInfo
from titan_core.store.durability import Durability
from titan_core.store.sqlite import Store
from titan_core.store.volatile import Volatile
from titan_test_suite.pytests.support.cluster_model import Cluster, service
from titan_test_suite.pytests.support.stored_cluster import open_store, stored_job, volatile_store
from titan_test_suite.pytests.support.waiting import wait_until

M = TypeVar("M", bound=Message)

INFO = WorkerInfo("w:1", b"i" * 16, frozenset({"GENERAL"}), slots=4)


@pytest.fixture
def logs(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs", Topics())


@pytest.fixture
def volatile() -> Iterator[Volatile]:
    with volatile_store(SystemClock()) as store:
        yield store


@contextmanager
def session_of(info: WorkerInfo, logs: LogStore, store: Durability) -> Iterator[tuple[Session, FrameStream]]:
    """A session, not started, and its worker's end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    with closing(FrameStream(theirs)) as worker, closing(FrameStream(ours)) as stream:
        session = Session(info.worker_id, stream, logs, Timing(1.0, 9.0), Identity(b"c" * 16, 1), store)
        yield session, worker
        session.stop()
        assert session.join(5.0)


def running_service() -> Attempt:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(service("web"))
    return cluster.job("web").attempts[-1]


def test_the_output_of_what_goes_on_is_kept_however_much_begins_and_ends_beside_it(
    logs: LogStore, volatile: Volatile
) -> None:
    web = running_service()
    tokens = [number.to_bytes(16, "big") for number in range(100)]
    with session_of(INFO, logs, volatile) as (session, _):
        session.know([web])
        for token in tokens:
            session.know([replace(web, token=token, number=int.from_bytes(token, "big"))])
            session.put(AcknowledgeResult("w:1", token), 0)
        session.keep_log(LogBatch(web.token, 0, b"still here\n"))
        assert logs.read(log_name(web), 0, 100) == (0, b"still here\n")
        assert list(session._known) == [web.token]


def test_a_result_told_in_the_registration_is_acknowledged_before_its_log_has_come(
    logs: LogStore, volatile: Volatile
) -> None:
    ended = running_service()
    with session_of(INFO, logs, volatile) as (session, _):
        session.know([ended])
        session.expect_logs([ended.token])
        session.put(AcknowledgeResult("w:1", ended.token), 0)
        session.keep_log(LogBatch(ended.token, 0, b"last words\n"))
        assert logs.read(log_name(ended), 0, 100) == (0, b"last words\n")
        session.put(AcknowledgeResult("w:1", ended.token), 0)
        session.log_is_whole(ended.token)
        assert not session._known


def read(worker: FrameStream, expected: type[M]) -> M:
    frame = worker.receive(5.0)
    assert frame is not None
    return decode(frame, worker.receive_body(frame), expected)


def test_what_a_worker_is_to_forget_is_on_disk_and_greetings_do_not_wait_for_that(
    logs: LogStore, tmp_path: Path
) -> None:
    clock = SystemClock()
    with open_store(tmp_path, clock) as store, session_of(INFO, logs, store) as (session, worker):
        engine = Engine(Core(), clock, store)
        engine.open_session(session, WorkerRegistered(INFO, session.number))
        session.start()
        assert read(worker, Registered).term == 1
        fill_disk(store)
        jobs = tuple(stored_job(f"j{number}", requirement="GPU") for number in range(500))
        engine.submit(RunSubmitted("run", "run", b"s" * 16, jobs))
        wait_until(lambda: store.trouble)
        engine.kill_strays(session, (b"T" * 16,))
        session.greet()
        assert read(worker, Heartbeat) == Heartbeat()
        free_disk(store)
        assert read(worker, Heartbeat) == Heartbeat(kill=(b"T" * 16,))


def fill_disk(store: Store) -> None:
    """SQLite calls a database that may not grow a full disk."""
    store._connection.execute("PRAGMA max_page_count = 1").fetchall()


def free_disk(store: Store) -> None:
    store._connection.execute("PRAGMA max_page_count = 1000000").fetchall()


def test_all_that_is_acknowledged_together_is_one_message_behind_what_came_before(
    logs: LogStore, volatile: Volatile
) -> None:
    with session_of(INFO, logs, volatile) as (session, worker):
        session.put(ForgetRuns(("old",)), 0)
        session.put(AcknowledgeResult("w:1", b"1"), 0)
        session.put(ShutDownWorker("w:1"), 0)
        session.put(AcknowledgeResult("w:1", b"2"), 0)
        session.start()
        assert read(worker, ForgetRuns) == ForgetRuns(("old",))
        assert read(worker, ResultAck) == ResultAck((b"1", b"2"))
        assert read(worker, Shutdown) == Shutdown()


def test_nothing_is_sent_before_its_step_is_on_disk(logs: LogStore, tmp_path: Path) -> None:
    clock = SystemClock()
    with open_store(tmp_path, clock) as store, session_of(INFO, logs, store) as (session, worker):
        engine = Engine(Core(), clock, store)
        session.start()
        fill_disk(store)
        engine.submit(RunSubmitted("run", "run", b"s" * 16, tuple(stored_job(f"j{n}") for n in range(500))))
        wait_until(lambda: store.trouble)
        session.put(ForgetRuns(("later",)), store.last)
        session.put(ForgetRuns(("behind",)), 0)
        with pytest.raises(ConnectionLost, match="in time"):
            worker.receive(0.2)
        free_disk(store)
        assert read(worker, ForgetRuns) == ForgetRuns(("later",))
        assert read(worker, ForgetRuns) == ForgetRuns(("behind",))
