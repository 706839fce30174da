"""The session between worker and master: registration, orders given twice, lost connections, the end."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.errors import ConfigError, Conflict, NotAuthorised, UnknownOpcode
from titan_core.net.dial import dial
from titan_core.net.stream import raise_error
from titan_core.protocol.messages import (
    ClusterStatus,
    GetClusterStatus,
    GetStats,
    Goodbye,
    Heartbeat,
    LogPosition,
    Register,
    ResultAck,
    Shutdown,
    StartAttempt,
)
from titan_core.worker import app
from titan_core.worker.app import Worker
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

COUNT = "for n in 1 2 3; do echo $n; while [ ! -e go$n ]; do sleep 0.005; done; done"


# ── registration ──────────────────────────────────────────────────────────────────────────────────


def test_a_worker_says_who_it_is(master: WorkerMaster, start_worker: StartWorker) -> None:
    worker = start_worker(capabilities=("GPU", "HIGH_MEM"), slots=3, permanent=True)
    register = master.wait_for_worker()
    assert (register.port, register.hostname, register.slots) == (worker.port, "here", 3)
    assert (register.capabilities, register.permanent) == (("GPU", "HIGH_MEM"), True)
    assert (register.pid, len(register.instance)) == (os.getpid(), 16)
    assert register.cpu_count == os.cpu_count()
    assert register.memory_total == psutil.virtual_memory().total


def test_a_worker_whose_name_is_taken_ends(master: WorkerMaster, start_worker: StartWorker) -> None:
    master.refusal = Conflict("worker here:8080 is connected already; stop it or choose another port")
    worker = start_worker()
    wait_until(lambda: not worker.threads())
    assert worker.exit_code == 1
    assert str(worker.failure) == str(master.refusal)
    assert not master.registrations


def test_a_worker_with_a_wrong_token_ends(start_worker: StartWorker) -> None:
    worker = start_worker(token="another token, which nobody knows")
    wait_until(lambda: not worker.threads())
    assert worker.exit_code == 5
    assert isinstance(worker.failure, NotAuthorised)
    assert "--token-file" in str(worker.failure)


def test_a_second_worker_on_a_port(master: WorkerMaster, start_worker: StartWorker, worker: Worker) -> None:
    with pytest.raises(ConfigError, match=f"port {worker.port} on 127.0.0.1 is in use"):
        start_worker(port=worker.port)


def test_a_master_that_is_not_there_yet(start_worker: StartWorker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "titan.worker")
    port = free_port()
    start_worker(master_port=port)
    wait_until(lambda: "nobody answers" in caplog.text)
    late = WorkerMaster(port)
    try:
        late.wait_for_worker()
        wait_until(lambda: "registered with the master" in caplog.text)
        assert caplog.text.count("nobody answers") == 1
    finally:
        late.close()


def test_heartbeats_go_up_at_the_masters_pace(master: WorkerMaster, start_worker: StartWorker) -> None:
    master.heartbeat_s = 0.02
    start_worker()
    beats = wait_until(lambda: len(master.of(Heartbeat)) > 3 and master.of(Heartbeat))
    assert 0 < beats[-1].memory_used < psutil.virtual_memory().total  # type: ignore[attr-defined]


def test_how_things_are_is_said_before_the_first_interval_is_over(
    master: WorkerMaster, start_worker: StartWorker
) -> None:
    master.heartbeat_s = 600.0
    start_worker()
    beat = wait_until(lambda: master.of(Heartbeat))[0]  # type: ignore[index]
    assert 0 < beat.memory_used < psutil.virtual_memory().total


def test_a_silent_master_is_dialled_again(master: WorkerMaster, start_worker: StartWorker) -> None:
    master.death_s = 0.2
    start_worker()
    master.wait_for_worker(3)


def test_a_newer_master_may_say_more_than_the_worker_knows(master: WorkerMaster, worker: Worker) -> None:
    assert master._session is not None
    master._session.send_bytes(b"\x01\x4f\x01\x00\x00\x00\x00\x03new")
    assert master.run("true").outcome == "SUCCEEDED"
    assert len(master.registrations) == 1


# ── orders given twice, results told twice ────────────────────────────────────────────────────────


def test_the_same_order_twice_is_one_order(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    master.acknowledges = False
    order = StartAttempt(
        b"t" * 16, "run-1", "job", 1, master.task("echo ran >> ledger; while [ ! -e go ]; do sleep 0.01; done")
    )
    master.send(order)
    wait_until((shared / "ledger").exists)
    master.send(order)
    (shared / "go").touch()
    master.result(order.token)
    master.send(order)  # it has ended, and its result is not acknowledged
    master.acknowledges = True
    master.run("true")
    assert (shared / "ledger").read_text() == "ran\n"
    assert len(master.results(order.token)) == 1
    master.send(ResultAck((order.token,)))


def test_a_result_is_told_again_until_it_is_acknowledged(master: WorkerMaster, worker: Worker) -> None:
    master.acknowledges = False
    token = master.start("echo said; exit 4")
    first = master.result(token)
    master.drop_session()
    assert master.wait_for_worker(2).finished == (first,)
    wait_until(lambda: [batch.offset for batch in master.batches[token]] == [0, 0])  # its log, once more
    assert master.log(token) == b"said\n"
    master.acknowledges = True
    master.drop_session()
    assert master.wait_for_worker(3).finished == (first,)
    wait_until(lambda: not worker._results.kept())
    master.drop_session()
    assert master.wait_for_worker(4).finished == ()


def test_a_job_that_ends_while_nobody_listens(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    token = master.start("echo up; while [ ! -e go ]; do sleep 0.005; done; seq 2000")
    wait_until(lambda: master.log(token))
    with master.down():
        (shared / "go").touch()
        wait_until(lambda: not worker._foreman.slots.all())
    register = master.wait_for_worker(2)
    assert [result.token for result in register.finished] == [token]
    assert register.running == ()
    wait_until(lambda: master.log(token) == b"up\n" + b"".join(b"%d\n" % n for n in range(1, 2001)))


# ── running jobs and a lost connection ────────────────────────────────────────────────────────────


def test_an_adopted_job_goes_on_where_its_log_was(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    master.adopt = lambda register: tuple(LogPosition(token, 2) for token in register.running)
    token = master.start(COUNT)
    wait_until(lambda: master.log(token) == b"1\n")
    master.drop_session()
    assert master.wait_for_worker(2).running == (token,)
    (shared / "go1").touch()
    wait_until(lambda: master.log(token) == b"1\n2\n")
    (shared / "go2").touch()
    (shared / "go3").touch()
    assert master.result(token).outcome == "SUCCEEDED"
    assert [batch.offset for batch in master.batches[token]][:2] == [0, 2]
    assert master.log(token) == b"1\n2\n3\n"


def test_a_job_that_is_not_adopted_is_ended_and_forgotten(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    token = master.start("trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done", stop_grace_s=60.0)
    pid = int(wait_until(lambda: (shared / "pid").exists() and (shared / "pid").read_text()))
    master.drop_session()
    assert master.wait_for_worker(2).running == (token,)
    wait_until(lambda: not psutil.pid_exists(pid))
    wait_until(lambda: not worker._foreman.slots.all())
    master.run("true")
    assert not master.results(token)
    master.drop_session()
    register = master.wait_for_worker(3)
    assert (register.running, register.finished) == ((), ())


def test_a_job_that_ends_during_the_registration(master: WorkerMaster, worker: Worker, shared: Path) -> None:
    """It is told as running, and its result comes when the session holds."""

    def adopt(register: Register) -> tuple[LogPosition, ...]:
        (shared / "go").touch()
        wait_until(lambda: not worker._foreman.slots.all())
        return tuple(LogPosition(token, 3) for token in register.running)

    token = master.start("echo up; while [ ! -e go ]; do sleep 0.005; done; echo late")
    wait_until(lambda: master.log(token) == b"up\n")
    master.adopt = adopt
    master.drop_session()
    assert master.wait_for_worker(2).running == (token,)
    assert master.result(token).outcome == "SUCCEEDED"
    assert master.log(token) == b"up\nlate\n"
    assert master.batches[token][-1].offset == 3


# ── what the master does not want ─────────────────────────────────────────────────────────────────


def running(master: WorkerMaster) -> tuple[bytes, ...]:
    """What the latest heartbeat says, once there is one."""
    beat = wait_until(lambda: master.of(Heartbeat))[-1]
    assert isinstance(beat, Heartbeat)
    return beat.running


def test_heartbeats_name_what_runs_and_the_answer_what_is_to_be_ended(
    master: WorkerMaster, start_worker: StartWorker, shared: Path
) -> None:
    master.heartbeat_s = 0.02
    worker = start_worker()
    master.wait_for_worker()
    unwanted = master.start("trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done", stop_grace_s=60.0)
    wanted = master.start("echo up; while [ ! -e go ]; do sleep 0.01; done")
    pid = int(wait_until(lambda: (shared / "pid").exists() and (shared / "pid").read_text()))
    wait_until(lambda: {*running(master)} == {unwanted, wanted})
    master.send(Heartbeat(kill=(unwanted, b"nobody's")))
    wait_until(lambda: not psutil.pid_exists(pid))
    wait_until(lambda: running(master) == (wanted,))
    (shared / "go").touch()
    assert master.result(wanted).outcome == "SUCCEEDED"
    wait_until(lambda: running(master) == ())
    assert not master.results(unwanted)
    wait_until(lambda: not worker._results.kept())


def test_a_result_that_nobody_wants_is_forgotten(master: WorkerMaster, worker: Worker) -> None:
    master.acknowledges = False
    token = master.start("true")
    master.result(token)
    master.send(Heartbeat(kill=(token,)))
    wait_until(lambda: not worker._results.kept())
    master.drop_session()
    assert master.wait_for_worker(2).finished == ()


def test_an_older_master_of_the_same_cluster_is_not_obeyed(
    master: WorkerMaster, worker: Worker, caplog: pytest.LogCaptureFixture, shared: Path
) -> None:
    caplog.set_level(logging.INFO, "titan.worker")
    master.term = 7
    master.drop_session()
    master.wait_for_worker(2)
    token = master.start("echo up; while [ ! -e go ]; do sleep 0.01; done")
    wait_until(lambda: master.log(token) == b"up\n")
    master.term = 6  # it adopts nothing
    master.drop_session()
    wait_until(lambda: len(master.registrations) > 6)
    assert caplog.text.count("its term is 6, and this worker has obeyed term 7 of the same cluster") == 1
    assert worker._foreman.slots.find(token)

    master.adopt = lambda register: tuple(LogPosition(token) for token in register.running)
    master.term = 8
    wait_until(lambda: worker.link.connected)
    (shared / "go").touch()
    assert master.result(token).outcome == "SUCCEEDED"


def test_terms_outlive_the_worker(master: WorkerMaster, worker: Worker, start_worker: StartWorker) -> None:
    master.term = 7
    master.drop_session()
    master.wait_for_worker(2)
    worker.stop()
    assert worker.join(10)
    master.term = 6
    successor = start_worker()
    wait_until(lambda: len(master.registrations) > 4)
    assert not successor.link.connected
    master.cluster = b"d" * 16  # a term says nothing about another cluster
    wait_until(lambda: successor.link.connected)


def test_a_master_that_names_no_cluster_is_obeyed(master: WorkerMaster, worker: Worker) -> None:
    for registrations, term in enumerate((9, 0), 2):
        master.cluster, master.term = b"", term
        master.drop_session()
        master.wait_for_worker(registrations)
        assert master.run("true").outcome == "SUCCEEDED"


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def test_stopping_says_goodbye_and_then_what_became_of_the_jobs(master: WorkerMaster, worker: Worker) -> None:
    token = master.start("echo up; exec sleep 600")
    wait_until(lambda: master.log(token))
    worker.stop()
    assert worker.join(15)
    assert isinstance(next(m for m in master.received if not isinstance(m, Heartbeat)), Goodbye)
    assert master.result(token).outcome == "INTERRUPTED"
    wait_until(lambda: not master.connected)
    assert worker.exit_code == 0


def test_what_the_master_does_not_acknowledge_in_time_is_told_by_the_next_worker(
    master: WorkerMaster, worker: Worker, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "ACKNOWLEDGE_S", 0.05)
    master.acknowledges = False
    token = master.start("echo up; exec sleep 600")
    wait_until(lambda: master.log(token))
    worker.stop()
    assert worker.join(15)
    start_worker(port=worker.port)
    (result,) = master.wait_for_worker(2).finished
    assert (result.token, result.outcome) == (token, "INTERRUPTED")


def test_an_idle_worker_says_goodbye_as_well(master: WorkerMaster, worker: Worker) -> None:
    worker.stop()
    assert worker.join(15)
    wait_until(lambda: master.of(Goodbye))


def test_the_master_can_stop_the_worker(master: WorkerMaster, worker: Worker) -> None:
    master.send(Shutdown())
    wait_until(lambda: not worker.threads())
    assert worker.failure is None


def test_what_is_ordered_after_the_goodbye_is_given_back(master: WorkerMaster, worker: Worker) -> None:
    busy = master.start(
        "trap 'while [ ! -e go ]; do sleep 0.01; done; exit' TERM; echo up; while :; do sleep 0.01; done"
    )
    wait_until(lambda: master.log(busy))
    worker.stop()
    wait_until(lambda: master.of(Goodbye))
    result = master.run("touch never")
    assert (result.outcome, result.reason) == ("INTERRUPTED", "the worker is stopping")
    assert master.result(busy).outcome == "INTERRUPTED"


def test_an_order_that_crosses_the_goodbye_is_given_back(master: WorkerMaster, worker: Worker) -> None:
    master.dismisses = False
    worker.stop()
    wait_until(lambda: master.of(Goodbye))
    assert master.run("touch never").outcome == "INTERRUPTED"
    master.send(Goodbye())
    assert worker.join(15)


@pytest.fixture
def registering(master: WorkerMaster, start_worker: StartWorker) -> Iterator[tuple[Worker, threading.Event]]:
    """A worker whose registration was read, and is answered when the event is set."""
    asked, answer = threading.Event(), threading.Event()

    def adopt(register: Register) -> tuple[LogPosition, ...]:
        asked.set()
        answer.wait()
        return ()

    master.adopt = adopt
    worker = start_worker()
    assert asked.wait(10)
    yield worker, answer
    answer.set()


def test_a_worker_that_stops_while_it_registers_gives_back_what_it_gets(
    master: WorkerMaster, registering: tuple[Worker, threading.Event]
) -> None:
    worker, answer = registering
    master.dismisses = False
    worker.stop()
    assert not worker.join(0.2)
    answer.set()
    wait_until(lambda: master.of(Goodbye))
    assert master.run("touch never").outcome == "INTERRUPTED"
    master.send(Goodbye())
    assert worker.join(15)


def test_an_answer_to_the_registration_is_not_waited_for_long(
    registering: tuple[Worker, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "ACKNOWLEDGE_S", 0.05)
    worker, answer = registering
    worker.stop()
    wait_until(lambda: worker.link.stopping.is_set())
    answer.set()
    assert worker.join(15)


def test_an_answer_to_the_goodbye_is_not_waited_for_long(
    master: WorkerMaster, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "ACKNOWLEDGE_S", 0.05)
    master.dismisses = False
    worker.stop()
    assert worker.join(15)


def test_a_worker_in_a_hurry_waits_for_no_answer(master: WorkerMaster, worker: Worker) -> None:
    master.dismisses = False
    worker.stop()
    wait_until(lambda: master.of(Goodbye))
    began_at = time.monotonic()
    worker.kill()
    assert worker.join(15)
    assert time.monotonic() - began_at < app.ACKNOWLEDGE_S


@pytest.mark.parametrize("times", [1, 3])
def test_stop_before_start_is_not_lost(
    master: WorkerMaster, tmp_path: Path, start_worker: StartWorker, times: int
) -> None:
    worker = Worker(start_worker().config, TOKEN)
    for _ in range(times):
        worker.stop()
    worker.start()
    assert worker.join(10)


def test_a_worker_that_was_never_started_gives_its_port_back(start_worker: StartWorker) -> None:
    worker = Worker(start_worker().config, TOKEN)
    worker.stop()
    assert worker.join(1)
    with socket.create_server(("127.0.0.1", worker.port)):
        pass


# ── its own port ──────────────────────────────────────────────────────────────────────────────────


def test_a_worker_answers_for_itself(master: WorkerMaster, worker: Worker) -> None:
    token = master.start("echo up; exec sleep 600", service=True)
    wait_until(lambda: master.log(token))
    stream = dial("127.0.0.1", worker.port, TOKEN, "client")
    try:
        stream.send(Heartbeat())
        frame = stream.receive(5)
        assert frame is not None
        assert Heartbeat.decode(frame.payload).services == 1
        stream.send(GetClusterStatus())
        frame = stream.receive(5)
        assert frame is not None
        (status,) = ClusterStatus.decode(frame.payload).workers
        assert (status.worker_id, status.state, status.slots, status.used) == (f"here:{worker.port}", "ONLINE", 4, 0)
        assert len(status.services) == 1
        stream.send(GetStats())
        frame = stream.receive(5)
        assert frame is not None
        with pytest.raises(UnknownOpcode, match="HEARTBEAT and STATS_JSON only"):
            raise_error(frame.payload)
    finally:
        stream.close()
    master.stop(token)
    master.result(token)


def test_a_stranger_learns_nothing_at_the_workers_port(worker: Worker) -> None:
    with pytest.raises(NotAuthorised):
        dial("127.0.0.1", worker.port, "a token that is not the cluster's", "client")
