"""The parts of a worker that need no process and no socket."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.errors import ConnectionLost, InvalidRequest
from titan_core.net.stream import encode
from titan_core.protocol.checks import is_program
from titan_core.protocol.messages import Heartbeat, LogBatch, Result, ServiceReady, StartAttempt, Task
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Decoder
from titan_core.worker import commands, procfs
from titan_core.worker.control import Control, Stop
from titan_core.worker.environment import attempt_environment, filled, worker_part
from titan_core.worker.journal import Journal
from titan_core.worker.link import Backoff
from titan_core.worker.logs import BATCH_LINES, AttemptLog, LogFollower
from titan_core.worker.outbox import ROOM_BYTES, Outbox
from titan_core.worker.results import Results
from titan_core.worker.terms import Terms
from titan_test_suite.pytests.support.waiting import wait_until

TOKEN = b"t" * 16


def start(**task: object) -> StartAttempt:
    return StartAttempt(TOKEN, "run", "job", 2, Task("job.py", **task))  # type: ignore[arg-type]


def frames(data: bytes) -> list[tuple[int, bytes]]:
    return [(frame.opcode, frame.payload) for frame in Decoder().feed(data)]


# ── control ───────────────────────────────────────────────────────────────────────────────────────


def test_the_first_request_names_the_outcome_and_the_shortest_grace_counts() -> None:
    control = Control(start(stop_grace_s=8.0))
    assert control.grace_s == 8.0
    control.stop(Stop("STOPPED", "cancelled", 20.0))
    assert control.grace_s == 8.0
    control.stop(Stop("INTERRUPTED", "the worker is stopping", 3.0))
    assert control.request == Stop("STOPPED", "cancelled", 3.0)
    assert control.grace_s == 3.0


def test_a_request_before_the_process_wakes_its_slot_as_well() -> None:
    control = Control(start())
    control.stop(Stop("STOPPED", ""))
    assert os.eventfd_read(control.open_wake()) == 1
    control.close_wake()
    control.stop(Stop("STOPPED", ""))


def readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def test_watchers_are_woken_by_the_request_and_by_the_end() -> None:
    asked, ended = Control(start()), Control(start())
    with asked.watched() as first, asked.watched() as second, ended.watched() as third:
        assert not any(map(readable, (first, second, third)))
        asked.stop(Stop("STOPPED", ""))
        ended.end()
        ended.end()
        assert all(map(readable, (first, second, third)))
    for control in (asked, ended):
        with control.watched() as late:
            assert readable(late)
    ended.end()


def test_nobody_is_told_that_what_is_over_is_ready() -> None:
    told: list[ServiceReady] = []
    control = Control(start())
    control.begin(77)
    control.port = 81
    assert control.become_ready(told.append)
    assert told == [control.readiness()] == [ServiceReady(TOKEN, 77, 81)]
    asked, ended = Control(start()), Control(start())
    asked.stop(Stop("STOPPED", ""))
    ended.end()
    assert not asked.become_ready(told.append) and not ended.become_ready(told.append)
    assert (asked.ready, ended.ready, len(told)) == (False, False, 1)


# ── outbox ────────────────────────────────────────────────────────────────────────────────────────


def test_everything_that_is_queued_is_taken_at_once() -> None:
    outbox = Outbox()
    assert outbox.put(Heartbeat(1))
    assert outbox.put_bytes(b"") and outbox.put(Heartbeat(2))
    assert frames(outbox.take()) == [(Opcode.HEARTBEAT, Heartbeat(n).encode()) for n in (1, 2)]


def test_bulk_waits_for_room_and_small_messages_do_not() -> None:
    outbox, passed = Outbox(), threading.Event()
    assert outbox.put_bulk(bytes(ROOM_BYTES))
    thread = threading.Thread(target=lambda: outbox.put_bulk(b"more") and passed.set())
    thread.start()
    assert outbox.put_bytes(b"small")
    assert not passed.is_set()
    assert outbox.take() == bytes(ROOM_BYTES) + b"small"
    assert outbox.take() == b"more"
    thread.join()
    assert passed.is_set()


def test_the_end_of_a_session_wakes_everyone() -> None:
    outbox, ends = Outbox(), []
    outbox.put_bulk(bytes(ROOM_BYTES))
    threads = [threading.Thread(target=lambda: ends.append(outbox.put_bulk(b"x"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    outbox.close()
    for thread in threads:
        thread.join()
    assert ends == [False, False]
    assert outbox.take() == b""
    assert not outbox.put(Heartbeat())
    assert not outbox.wait_until_sent(5)


class Wire:
    """What an outbox sends on: it takes `room` bytes at once, and holds whoever sends while that is told to wait."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[bytes] = []
        self.entered, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()

    def __call__(self, frames: bytes) -> int:
        self.entered.set()
        assert self.may_go.wait(10)
        self.sent.append(frames[: self.room])
        self.room -= len(self.sent[-1])
        return len(self.sent[-1])


def test_what_the_connection_takes_is_sent_by_whoever_puts_it() -> None:
    wire = Wire(room=1000)
    outbox = Outbox(wire)
    assert outbox.put_bytes(b"one") and outbox.put_bulk(b"two")
    assert wire.sent == [b"one", b"two"]
    assert outbox.wait_until_sent(0)


def test_what_was_only_added_goes_with_what_is_put_or_when_it_is_flushed() -> None:
    wire = Wire(room=1000)
    outbox = Outbox(wire)
    outbox.add(Heartbeat(1))
    outbox.add(Heartbeat(2))
    assert not wire.sent and not outbox.wait_until_sent(0)
    outbox.flush()
    outbox.flush()
    outbox.add(Heartbeat(3))
    assert outbox.put(Heartbeat(4))
    assert wire.sent == [b"".join(map(encode, map(Heartbeat, numbers))) for numbers in ((1, 2), (3, 4))]
    outbox.close()
    outbox.add(Heartbeat(5))
    outbox.flush()
    assert len(wire.sent) == 2


def test_what_the_connection_does_not_take_is_left_to_the_writer_in_order() -> None:
    wire = Wire(room=4)
    outbox = Outbox(wire)
    assert outbox.put_bytes(b"first") and outbox.put_bytes(b"second")
    assert not outbox.wait_until_sent(0)
    assert b"".join(wire.sent) + outbox.take() == b"firstsecond"
    wire.room = 1000
    assert outbox.put_bytes(b"third")
    assert b"third" not in wire.sent, "the writer is sending: nobody may overtake it"
    assert outbox.take() == b"third"


def test_what_comes_while_somebody_sends_goes_together_and_is_waited_for_at_the_end() -> None:
    wire = Wire(room=1000)
    wire.may_go.clear()
    outbox = Outbox(wire)
    sender = threading.Thread(target=outbox.put_bytes, args=(b"one",))
    sender.start()
    assert wire.entered.wait(10)
    assert outbox.put_bytes(b"two") and outbox.put_bytes(b"three")
    assert not outbox.wait_until_sent(0)
    wire.may_go.set()
    assert outbox.wait_until_sent(10)
    sender.join()
    assert wire.sent == [b"one", b"twothree"]
    wire.may_go.clear()
    wire.entered.clear()
    sender = threading.Thread(target=outbox.put_bytes, args=(b"four",))
    sender.start()
    assert wire.entered.wait(10)
    writer = threading.Thread(target=outbox.take)
    writer.start()
    outbox.close()
    writer.join(10)
    over = threading.Event()
    waiting = threading.Thread(target=lambda: (outbox.wait_until_let_go(), over.set()))
    waiting.start()
    assert not over.wait(0.05), "a sender that is not back keeps the connection"
    wire.may_go.set()
    assert over.wait(10)
    for thread in (waiting, sender):
        thread.join(10)
    assert wire.sent[2:] == [b"four"]


def test_sent_means_that_the_writer_came_back() -> None:
    outbox = Outbox()
    outbox.put_bytes(b"x")
    assert not outbox.wait_until_sent(0)
    assert outbox.take() == b"x"
    assert not outbox.wait_until_sent(0)
    writer = threading.Thread(target=outbox.take)
    writer.start()
    assert outbox.wait_until_sent(5)
    outbox.close()
    writer.join()


# ── logs and results ──────────────────────────────────────────────────────────────────────────────


def test_batches_end_at_lines(tmp_path: Path) -> None:
    outbox, log = Outbox(), AttemptLog(str(tmp_path / "log"), TOKEN, 1 << 30)
    os.write(log.create(), b"a\n" * (2 * BATCH_LINES) + b"half")
    assert log.send_rest(outbox)
    log.close()
    batches = [LogBatch.decode(payload) for _, payload in frames(outbox.take())]
    assert [(batch.offset, batch.data.count(b"\n")) for batch in batches] == [
        (0, BATCH_LINES),
        (2 * BATCH_LINES, BATCH_LINES),
        (4 * BATCH_LINES, 0),
    ]
    assert batches[-1].data == b"half"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "results")
    yield made
    made.close()


@pytest.fixture
def log(tmp_path: Path) -> AttemptLog:
    made = AttemptLog(str(tmp_path / "log"), TOKEN, 1 << 30)
    os.write(made.create(), b"printed\n")
    return made


def test_a_result_follows_its_log_in_the_session_that_has_it(log: AttemptLog, journal: Journal) -> None:
    follower, outbox = LogFollower(), Outbox()
    results = Results(follower, journal)
    follower.attach(outbox)
    results.attach(outbox, set(), {})
    results.report(Result(TOKEN, "SUCCEEDED"), log)
    assert [opcode for opcode, _ in frames(outbox.take())] == [Opcode.LOG_BATCH, Opcode.JOB_COMPLETE]
    assert TOKEN in results
    results.acknowledge((TOKEN,))
    assert TOKEN not in results
    assert results.wait_until_acknowledged(0)


def test_a_log_that_went_to_a_lost_session_is_sent_again_before_the_result(log: AttemptLog, journal: Journal) -> None:
    follower, lost, outbox = LogFollower(), Outbox(), Outbox()
    results = Results(follower, journal)
    follower.attach(lost)  # the log is finished in this one …
    finish = follower.finish

    def finish_and_lose(log: AttemptLog) -> Outbox | None:
        sent_on = finish(log)
        follower.attach(outbox)
        results.attach(outbox, set(), {})  # … and the result comes in that one
        return sent_on

    follower.finish = finish_and_lose  # type: ignore[method-assign]
    results.report(Result(TOKEN, "SUCCEEDED"), log)
    follower.start()
    try:
        wait_until(lambda: len(frames(b"".join(outbox._parts))) == 2)
    finally:
        follower.stop()
        assert follower.join(5)
    sent = frames(outbox.take())
    assert [opcode for opcode, _ in sent] == [Opcode.LOG_BATCH, Opcode.JOB_COMPLETE]
    assert LogBatch.decode(sent[0][1]) == LogBatch(TOKEN, 0, b"printed\n")


def test_nobody_waits_for_acknowledgements_without_a_session(journal: Journal) -> None:
    results = Results(LogFollower(), journal)
    results.report(Result(TOKEN, "SUCCEEDED"), None)
    assert not results.wait_until_acknowledged(60)
    assert results.kept() == (Result(TOKEN, "SUCCEEDED"),)


def test_a_log_that_is_gone_holds_up_no_result(tmp_path: Path) -> None:
    assert AttemptLog(str(tmp_path / "none"), TOKEN, 1).send_again(Outbox(), 0)


def test_nor_does_one_that_a_job_has_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "file" / "attempt-1.log", tmp_path / "fifo"):
        assert AttemptLog(str(path), TOKEN, 1).send_again(Outbox(), 0)


# ── terms ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [b"", b"seven", b"\xff" * 10, b"-5"])
def test_what_is_no_term_is_not_believed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / (b"c" * 16).hex()).write_bytes(content)
    for _ in range(2):
        Terms(tmp_path).check(b"c" * 16, 2**62)
    with pytest.raises(ConnectionLost, match="an old one"):
        Terms(tmp_path).check(b"c" * 16, 2**62 - 1)


@pytest.mark.parametrize("cluster", [b"c" * 16, b"c" * 4_000])
def test_terms_need_no_disk(tmp_path: Path, cluster: bytes) -> None:
    (tmp_path / "file").touch()
    terms = Terms(tmp_path / "file" / "terms")
    terms.check(cluster, 5)
    terms.check(cluster, 5)
    with pytest.raises(ConnectionLost):
        terms.check(cluster, 4)


# ── commands and environment ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "program"), [("a.py", False), ("a.sh", False), ("a.jar", False), ("a", True), ("a.rb", True)]
)
def test_what_is_executed_itself(name: str, program: bool) -> None:
    assert is_program(name) is program


def test_java_is_looked_for_in_java_home_first(tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("")
    java.chmod(0o755)
    command = commands.command_for("/x/app.jar", ("a",), {"JAVA_HOME": str(tmp_path), "PATH": "/nowhere"})
    assert command == [str(java), "-jar", "/x/app.jar", "a"]


@pytest.mark.parametrize(("name", "head"), [("a.py", b""), ("a", b"text"), ("a.txt", b"\x00\x01")])
def test_content_that_can_not_be_run(name: str, head: bytes) -> None:
    with pytest.raises(InvalidRequest):
        commands.check_content(name, head)


def test_the_worker_keeps_little_of_its_environment(tmp_path: Path) -> None:
    given = {
        "HOME": "/h",
        "LC_ALL": "C",
        "SECRET": "s",
        "TITAN_WORKER_SLOTS": "3",
        "VIRTUAL_ENV": "/v",
        "PYTHONHOME": "/p",
    }
    kept = worker_part(given, tmp_path, None, ("::1", 9090))
    assert kept.keys() == {"HOME", "LC_ALL", "PATH", "PYTHONPATH", "TITAN_MASTER", "TITAN_TOKEN_FILE"}
    assert kept["TITAN_MASTER"] == "[::1]:9090"


@pytest.mark.parametrize(
    ("environ", "token_file", "expected"),
    [
        ({}, None, {"TITAN_TOKEN_FILE": "/home/.titan/token"}),
        ({"TITAN_TOKEN_FILE": "/t"}, None, {"TITAN_TOKEN_FILE": "/t"}),
        ({"TITAN_TOKEN": "secret", "TITAN_TOKEN_FILE": "/t"}, None, {"TITAN_TOKEN": "secret"}),
        ({"TITAN_TOKEN": "secret"}, "/given", {"TITAN_TOKEN_FILE": "/given"}),
    ],
)
def test_a_job_finds_the_token_of_its_worker(
    environ: dict[str, str], token_file: str | None, expected: dict[str, str]
) -> None:
    kept = worker_part(environ, Path("/home"), token_file, ("h", 1))
    assert {name: value for name, value in kept.items() if name.startswith("TITAN_TOKEN")} == expected


def test_what_titan_says_outranks_the_job_which_outranks_the_worker() -> None:
    task = {"env": (("HOME", "/job"), ("PORT", "1")), "port": 8000}
    seen = attempt_environment({"HOME": "/worker", "PATH": "/bin"}, start(**task), "w:1", "/shared")
    assert (seen["HOME"], seen["PATH"], seen["PORT"], seen["TITAN_PORT"]) == ("/job", "/bin", "8000", "8000")
    assert (seen["TITAN_ATTEMPT"], seen["TITAN_WORKER"]) == ("2", "w:1")


VARIABLES = (("TITAN_SCHEDULED_FOR", "2026-11-25T02:00:00Z"), ("TITAN_SCHEDULE", "nightly"))


def test_variables_of_the_run_outrank_the_job_but_nothing_of_titans_own() -> None:
    common = {"PATH": "/bin", "TITAN_MASTER": "box:9090"}
    own = {"TITAN_MASTER": "x", "TITAN_RUN_ID": "x", "TITAN_SERVICE_DB": "x", "PATH": "x"}
    order = replace(
        start(env=(("TITAN_SCHEDULE", "mine"), ("A", "b"))),
        variables=(*VARIABLES, *own.items()),
        services=(("db", "box:5432"),),
    )
    seen = attempt_environment(common, order, "w:1", "/shared")
    assert {**seen, **dict(VARIABLES), **common} == seen
    assert (seen["A"], seen["TITAN_RUN_ID"], seen["TITAN_SERVICE_DB"]) == ("b", "run", "box:5432")


@pytest.mark.parametrize(
    ("arg", "expected"),
    [
        ("{scheduled_for}", "2026-11-25T02:00:00Z"),
        ("--day={scheduled_for}/{schedule}{schedule}", "--day=2026-11-25T02:00:00Z/nightlynightly"),
        ("{{schedule}}", "{nightly}"),
        *[(same, same) for same in ("", "{}", "{other}", "{SCHEDULED_FOR}", "{ schedule }", "{run_id}", "{schedule")],
        *[(same, same) for same in ("$TITAN_SCHEDULE", "{titan_schedule}", "{0}", "{schedule!r}", "\\{\\1}", "🚀")],
    ],
)
def test_what_is_filled_into_arguments(arg: str, expected: str) -> None:
    assert filled(("run", arg), VARIABLES) == ("run", expected)


def test_what_is_filled_in_is_not_filled_itself() -> None:
    variables = (("TITAN_A", "{b} \\1 \\g<0>"), ("TITAN_B", "{a}"))
    assert filled(("{a}{b}",), variables) == ("{b} \\1 \\g<0>{a}",)


def test_without_variables_arguments_are_what_they_are() -> None:
    assert filled(("{scheduled_for}", "{}"), ()) == ("{scheduled_for}", "{}")
    assert filled(("{scheduled_for}",), (("SCHEDULED_FOR", "x"), ("TITAN_", "y"))) == ("{scheduled_for}",)


# ── backoff, /proc ────────────────────────────────────────────────────────────────────────────────


def test_waits_double_up_to_a_bound_and_begin_again() -> None:
    backoff = Backoff(0.1, 1.0)
    waits = [backoff.next_s() for _ in range(8)]
    for wait_s, bound_s in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0], strict=True):
        assert bound_s / 2 <= wait_s <= bound_s
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_a_process_is_its_pid_and_its_start() -> None:
    mine = procfs.status(os.getpid())
    assert mine is not None
    assert procfs.is_alive(mine.process)
    assert not procfs.is_alive(mine.process._replace(start_ticks=mine.process.start_ticks - 1))
    assert 0 < mine.process.start_ticks <= procfs.boot_ticks()
    assert (mine.group, mine.session) == (os.getpgid(0), os.getsid(0))


def test_a_process_that_is_not_there_is_an_answer() -> None:
    nobody = 2**22 + 1  # beyond the largest pid
    assert procfs.status(nobody) is None
    assert procfs.children(nobody) == []
    assert procfs.descendants(nobody) == set()
    assert procfs.attempt_token(nobody) == ""
