"""A real master in this process, spoken to over real sockets: connections, sessions, long polls, uploads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from titan_core.config import MasterConfig
from titan_core.errors import (
    BadBody,
    ChecksumMismatch,
    ConnectionLost,
    InvalidRequest,
    NotFound,
    TitanError,
    Unavailable,
    UnknownOpcode,
)
from titan_core.master.app import Master
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream, decode, decode_any, encode
from titan_core.protocol import messages as m
from titan_core.protocol.codec import Message
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Flag, encode_frame
from titan_test_suite.pytests.support.waiting import wait_until

ANSWER_S = 10.0
T = TypeVar("T", bound=Message)


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Master]:
    running = Master(MasterConfig(home=tmp_path, port=0, heartbeat_s=0.1, death_s=0.5))
    running.start()
    (tmp_path / "perm_files" / "x.sh").write_text("true\n")
    yield running
    running.stop()
    assert running.join()


@pytest.fixture
def stream(master: Master) -> Iterator[FrameStream]:
    connection = _dial(master)
    yield connection
    connection.close()


class FakeWorker:
    """A worker's side of a session, without processes."""

    def __init__(self, master: Master, port: int = 7001, instance: bytes = b"i" * 16, **fields: object) -> None:
        self.stream = _dial(master, "worker")
        register = m.Register(port, "fake", ("GENERAL",), 2, instance, **fields)  # type: ignore[arg-type]
        try:
            self.registered = ask(self.stream, register, m.Registered)
        except TitanError:
            self.stream.close()
            raise

    def __enter__(self) -> FakeWorker:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def expect(self, kind: type[Message]) -> Message:
        """The next message of this kind; heartbeats and others in between are passed over."""
        while True:
            frame = self.stream.receive(ANSWER_S)
            assert frame is not None
            message = decode_any(frame, frame.payload)
            if isinstance(message, kind):
                return message

    def start(self) -> m.StartAttempt:
        message = self.expect(m.StartAttempt)
        assert isinstance(message, m.StartAttempt)
        return message


def _messages_until(stream: FrameStream, kind: type[Message]) -> list[Message]:
    """What comes before the first message of this kind."""
    messages: list[Message] = []
    while not messages or not isinstance(messages[-1], kind):
        frame = stream.receive(ANSWER_S)
        assert frame is not None
        messages.append(decode_any(frame, frame.payload))
    return messages[:-1]


def state_of(stream: FrameStream, key: str) -> str:
    return ask(stream, m.GetJob(key), m.JobStatus).state


def _dial(master: Master, role: str = "client") -> FrameStream:
    return dial("127.0.0.1", master.port, master.token, role)


def _answer(stream: FrameStream, reply: type[T]) -> T:
    frame = stream.receive(ANSWER_S)
    assert frame is not None
    return decode(frame, stream.receive_body(frame), reply)


def ask(stream: FrameStream, request: Message, reply: type[T]) -> T:
    stream.send(request)
    return _answer(stream, reply)


def submit(stream: FrameStream, *job_ids: str, request_id: bytes = b"", **fields: object) -> str:
    jobs = tuple(m.JobSpec(job_id, m.Task("x.sh"), **fields) for job_id in job_ids)  # type: ignore[arg-type]
    submitted = ask(stream, m.SubmitRun("test", jobs, request_id), m.Submitted)
    return submitted.run_id


class TestRequests:
    def test_pipelined_requests_are_answered_in_order(self, stream: FrameStream) -> None:
        for key in ("first", "second", "third"):
            stream.send(m.GetJob(key))
        for key in ("first", "second", "third"):
            with pytest.raises(NotFound, match=key):
                _answer(stream, m.JobStatus)

    def test_an_unknown_opcode_is_refused_and_the_connection_goes_on(self, stream: FrameStream) -> None:
        stream.send_bytes(encode_frame(0x4F, b""))
        with pytest.raises(UnknownOpcode):
            _answer(stream, m.Ack)
        assert ask(stream, m.ListWorkers(), m.WorkerList) == m.WorkerList()

    def test_a_bad_body_is_refused_and_the_connection_goes_on(self, stream: FrameStream) -> None:
        stream.send_bytes(encode_frame(Opcode.GET_RUN, b"\x01\xff"))
        with pytest.raises(BadBody):
            _answer(stream, m.RunStatus)
        assert ask(stream, m.ListRuns(), m.RunList) == m.RunList()

    def test_a_message_of_the_session_is_no_request(self, stream: FrameStream) -> None:
        stream.send(m.Goodbye())
        with pytest.raises(InvalidRequest, match="Goodbye is not a request"):
            _answer(stream, m.Ack)

    def test_the_same_submission_twice_is_one_run(self, stream: FrameStream) -> None:
        first = submit(stream, "a", request_id=b"r" * 16)
        assert submit(stream, "a", request_id=b"r" * 16) == first
        assert len(ask(stream, m.ListRuns(), m.RunList).runs) == 1
        assert submit(stream, "a") != first

    @pytest.mark.parametrize("limit", [0, -1, 1_000_001])
    def test_limits_are_limited(self, stream: FrameStream, limit: int) -> None:
        with pytest.raises(InvalidRequest, match="limit"):
            ask(stream, m.ListRuns(limit), m.RunList)

    def test_a_prefix_that_fits_several_is_refused_with_their_names(self, stream: FrameStream) -> None:
        run = submit(stream, "load-a", "load-b")
        with pytest.raises(InvalidRequest, match="fits 2: load-a, load-b"):
            ask(stream, m.GetJob(f"{run}/load"), m.JobStatus)
        with pytest.raises(InvalidRequest, match="has 2 jobs"):
            ask(stream, m.GetJob("last"), m.JobStatus)
        assert ask(stream, m.GetJob("DAG-load-a"), m.JobStatus).job_id == "load-a"


class TestLongPolls:
    def test_a_wait_ends_with_the_job(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a")
        with FakeWorker(master) as worker:
            start = worker.start()
            stream.send(m.GetJob(f"{run}/a", wait_s=ANSWER_S))
            worker.stream.send(m.Result(start.token, "SUCCEEDED", 0))
            assert _answer(stream, m.JobStatus).state == "COMPLETED"
            worker.expect(m.ResultAck)

    def test_a_wait_that_is_over_says_what_is(self, stream: FrameStream) -> None:
        run = submit(stream, "a")
        assert ask(stream, m.GetJob(f"{run}/a", wait_s=0.05), m.JobStatus).state == "QUEUED"

    def test_a_watcher_gets_what_changed_since(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a", "b", "c")
        status = ask(stream, m.GetRun(run), m.RunStatus)
        with FakeWorker(master) as worker:
            worker.start()
            changed = ask(stream, m.GetRun(run, wait_s=ANSWER_S, since=status.version), m.RunStatus)
            assert {job.job_id for job in changed.jobs} == {"a", "b"}
            assert changed.version > status.version

    def test_a_wait_does_not_outlive_the_master(self, tmp_path: Path) -> None:
        running = Master(MasterConfig(home=tmp_path, port=0))
        running.start()
        (tmp_path / "perm_files" / "x.sh").write_text("true\n")
        stream = _dial(running)
        run = submit(stream, "a")
        ended = threading.Event()

        def wait() -> None:
            with pytest.raises(ConnectionLost):
                stream.send(m.GetRun(run, wait_s=30, until_final=True))
                while stream.receive(ANSWER_S) is not None:
                    continue
                raise ConnectionLost
            ended.set()

        waiter = threading.Thread(target=wait)
        waiter.start()
        running.stop()
        assert running.join(5)
        waiter.join(5)
        assert ended.is_set()
        stream.close()


class TestUploads:
    def test_content_goes_up_once_and_comes_down(self, stream: FrameStream) -> None:
        data = bytes(range(256)) * 10_000
        announced = m.UploadAsset("data.bin", hashlib.sha256(data).hexdigest(), len(data))
        assert ask(stream, announced, m.UploadReply) == m.UploadReply(False)
        for start in range(0, len(data), 1 << 20):
            piece = data[start : start + (1 << 20)]
            more = Flag.MORE if start + len(piece) < len(data) else Flag(0)
            stream.send_bytes(encode_frame(Opcode.ASSET_DATA, piece, Flag.BINARY | more))
        assert _answer(stream, m.AssetInfo).size == len(data)
        assert ask(stream, announced, m.UploadReply) == m.UploadReply(True)
        assert ask(stream, m.FetchAsset("data.bin"), m.AssetInfo).sha256 == announced.sha256
        frame = stream.receive(ANSWER_S)
        assert frame is not None
        assert stream.receive_body(frame) == data

    def test_other_bytes_than_announced_are_refused(self, stream: FrameStream) -> None:
        assert ask(stream, m.UploadAsset("x.bin", "0" * 64, 3), m.UploadReply) == m.UploadReply(False)
        stream.send_bytes(encode_frame(Opcode.ASSET_DATA, b"abc"))
        with pytest.raises(ChecksumMismatch):
            _answer(stream, m.AssetInfo)
        assert not ask(stream, m.ListAssets(), m.AssetList).assets[1:]

    def test_more_bytes_than_announced_end_the_connection(self, stream: FrameStream) -> None:
        assert ask(stream, m.UploadAsset("x.bin", "0" * 64, 3), m.UploadReply) == m.UploadReply(False)
        stream.send_bytes(encode_frame(Opcode.ASSET_DATA, b"abcdef"))
        with pytest.raises(TitanError):
            _answer(stream, m.AssetInfo)
        assert stream.receive(ANSWER_S) is None

    def test_a_peer_that_hangs_up_half_way_leaves_nothing(self, master: Master, tmp_path: Path) -> None:
        with_half = _dial(master)
        ask(with_half, m.UploadAsset("half.bin", "0" * 64, 10), m.UploadReply)
        with_half.send_bytes(encode_frame(Opcode.ASSET_DATA, b"12345", Flag.BINARY | Flag.MORE))
        with_half.close()
        places = (tmp_path / "perm_files", tmp_path / ".titan" / "assets")
        wait_until(lambda: not [f for place in places for f in place.iterdir() if f.name != "x.sh"])

    @pytest.mark.parametrize("name", ["../up", "/etc/x", "a\0b", "a\nb", "x/" * 600 + "y", ".hidden"])
    def test_hostile_names_are_refused(self, stream: FrameStream, name: str) -> None:
        with pytest.raises(InvalidRequest):
            ask(stream, m.UploadAsset(name, "0" * 64, 1), m.UploadReply)


class TestSessions:
    def test_a_goodbye_is_answered_after_all_that_was_ordered(self, master: Master, stream: FrameStream) -> None:
        with FakeWorker(master) as worker:
            run = submit(stream, "a", "b", "c")
            worker.stream.send(m.Goodbye())
            until_the_answer = _messages_until(worker.stream, m.Goodbye)
            ordered = [message for message in until_the_answer if isinstance(message, m.StartAttempt)]
            assert {start.job_id for start in ordered} == {"a", "b"}
            for start in ordered:
                worker.stream.send(m.Result(start.token, "INTERRUPTED"))
                worker.expect(m.ResultAck)
            status = ask(stream, m.GetRun(run), m.RunStatus)
            assert {job.state for job in status.jobs} == {"QUEUED"}

    def test_a_second_worker_of_the_same_name_is_told_to_wait(self, master: Master) -> None:
        with FakeWorker(master):
            with pytest.raises(Unavailable, match="--hostname"):
                FakeWorker(master, instance=b"j" * 16)

    @pytest.mark.parametrize(
        "fields",
        [
            {"port": 0},
            {"hostname": "a b"},
            {"hostname": ""},
            {"capabilities": ("",)},
            {"capabilities": tuple(f"C{number}" for number in range(65))},
            {"slots": 0},
            {"slots": 10_000},
        ],
    )
    def test_a_registration_that_makes_no_sense_is_refused(self, master: Master, fields: dict[str, object]) -> None:
        stream = _dial(master, "worker")
        given = {
            "port": 1,
            "hostname": "h",
            "capabilities": ("GENERAL",),
            "slots": 1,
            "instance": b"i" * 16,
            **fields,
        }
        with pytest.raises(InvalidRequest):
            ask(stream, m.Register(**given), m.Registered)  # type: ignore[arg-type]
        stream.close()

    def test_a_worker_that_returns_keeps_its_attempt_and_its_log(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a")
        with FakeWorker(master) as worker:
            token = worker.start().token
            worker.stream.send(m.LogBatch(token, 0, b"first\n"))
            wait_until(lambda: ask(stream, m.GetLogs(run), m.LogChunk).data)
        wait_until(lambda: ask(stream, m.ListWorkers(), m.WorkerList).workers[0].state == "DISCONNECTED")
        with FakeWorker(master, running=(token, b"?" * 16)) as worker:
            assert worker.registered.adopted == (m.LogPosition(token, 6),)
            worker.stream.send(m.LogBatch(token, 6, b"second\n"))
            worker.stream.send(m.Result(token, "SUCCEEDED", 0))
            worker.expect(m.ResultAck)
        assert ask(stream, m.GetLogs(run), m.LogChunk).data == b"first\nsecond\n"
        assert ask(stream, m.GetJob(run), m.JobStatus).state == "COMPLETED"

    def test_results_that_come_together_count_each_after_its_log(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a", "b", "c")
        with FakeWorker(master) as worker:
            first, second = worker.start(), worker.start()
            said: list[Message] = []
            for start in (first, second):
                said += [m.LogBatch(start.token, 0, start.job_id.encode()), m.Result(start.token, "SUCCEEDED", 0)]
            worker.stream.send_bytes(b"".join(map(encode, [*said, said[-1], m.Heartbeat(cpu_percent=7.0)])))
            assert worker.expect(m.ResultAck) == m.ResultAck((first.token, second.token, second.token))
            assert worker.start().job_id == "c"
            for job_id in ("a", "b"):
                assert ask(stream, m.GetJob(f"{run}/{job_id}"), m.JobStatus).state == "COMPLETED"
                assert ask(stream, m.GetLogs(f"{run}/{job_id}"), m.LogChunk).data == job_id.encode()
            wait_until(lambda: ask(stream, m.ListWorkers(), m.WorkerList).workers[0].cpu_percent == 7.0)

    def test_results_before_what_is_no_message_of_a_worker_count(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a", "b")
        for job_id, broken in (("a", encode(m.Result(b"?" * 16, "LOST"))), ("b", encode(m.ListWorkers()))):
            with FakeWorker(master) as worker:
                worker.stream.send_bytes(encode(m.Result(worker.start().token, "SUCCEEDED", 0)) + broken)
                wait_until(lambda job_id=job_id: state_of(stream, f"{run}/{job_id}") == "COMPLETED")  # type: ignore[misc]

    def test_a_result_does_not_wait_for_the_rest_of_what_comes_after_it(
        self, master: Master, stream: FrameStream
    ) -> None:
        submit(stream, "a", "b")
        with FakeWorker(master) as worker:
            first, second = worker.start(), worker.start()
            log = m.LogBatch(second.token, 0, b"much").encode()
            begun = encode_frame(Opcode.LOG_BATCH, log[:8], Flag.BINARY | Flag.MORE)
            worker.stream.send_bytes(encode(m.Result(first.token, "SUCCEEDED", 0)) + begun)
            assert worker.expect(m.ResultAck) == m.ResultAck((first.token,))

    def test_of_a_service_what_was_not_sent_is_skipped_also_by_readers(
        self, master: Master, stream: FrameStream
    ) -> None:
        run = submit(stream, "a", service=True)
        with FakeWorker(master) as worker:
            token = worker.start().token
            worker.stream.send(m.LogBatch(token, 0, b"first\n"))
            worker.stream.send(m.LogBatch(token, 1_000_000, b"later\n"))
            later = ask(stream, m.GetLogs(run, offset=6, wait_s=10), m.LogChunk)
        assert (later.offset, later.data) == (1_000_000, b"later\n")
        wait_until(lambda: ask(stream, m.ListWorkers(), m.WorkerList).workers[0].state == "DISCONNECTED")
        with FakeWorker(master, running=(token,)) as worker:
            assert worker.registered.adopted == (m.LogPosition(token, 1_000_006),)

    def test_a_new_process_on_the_port_starts_the_job_anew(self, master: Master, stream: FrameStream) -> None:
        submit(stream, "a")
        with FakeWorker(master) as worker:
            first = worker.start()
        wait_until(lambda: ask(stream, m.ListWorkers(), m.WorkerList).workers[0].state == "DISCONNECTED")
        with FakeWorker(master, instance=b"n" * 16) as worker:
            second = worker.start()
            assert (first.number, second.number) == (1, 2)
            worker.stream.send(m.Result(first.token, "SUCCEEDED", 0))
            worker.expect(m.ResultAck)
            assert ask(stream, m.GetJob("a"), m.JobStatus).state == "RUNNING"

    def test_a_silent_worker_is_dead(self, master: Master, stream: FrameStream) -> None:
        submit(stream, "a")
        with FakeWorker(master) as worker:
            worker.start()
            wait_until(lambda: not ask(stream, m.ListWorkers(), m.WorkerList).workers)
        job = ask(stream, m.GetJob("a"), m.JobStatus)
        assert (job.state, job.attempts[0].outcome) == ("QUEUED", "LOST")

    def test_only_the_master_says_lost(self, master: Master, stream: FrameStream) -> None:
        submit(stream, "a")
        with FakeWorker(master) as worker:
            worker.stream.send(m.Result(worker.start().token, "LOST"))
            with pytest.raises((AssertionError, ConnectionLost)):
                while True:
                    worker.expect(m.Heartbeat)

    def test_a_log_has_no_holes(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a")
        with FakeWorker(master) as worker:
            token = worker.start().token
            for offset, data in ((0, b"one "), (1 << 43, b"two "), (-1, b"never "), ((1 << 63) - 1, b"three")):
                worker.stream.send(m.LogBatch(token, offset, data))
            worker.stream.send(m.Result(token, "SUCCEEDED", 0))
            worker.expect(m.ResultAck)
        assert ask(stream, m.GetLogs(run), m.LogChunk).data == b"one two three"

    def test_reasons_are_shortened(self, master: Master, stream: FrameStream) -> None:
        run = submit(stream, "a", "b")
        with FakeWorker(master) as worker:
            worker.stream.send(m.Result(worker.start().token, "FAILED", 1, "x" * 1_000_000))
            worker.expect(m.ResultAck)
        ask(stream, m.CancelJob(f"{run}/b", "y" * 1_000_000), m.Cancelled)
        for job_id in ("a", "b"):
            assert len(ask(stream, m.GetJob(f"{run}/{job_id}"), m.JobStatus).reason) < 1_000

    def test_a_log_of_nobody_is_dropped(self, master: Master, stream: FrameStream, tmp_path: Path) -> None:
        with FakeWorker(master) as worker:
            worker.stream.send(m.LogBatch(b"?" * 16, 0, b"x"))
            worker.stream.send(m.Heartbeat(cpu_percent=7.0))
            wait_until(lambda: ask(stream, m.ListWorkers(), m.WorkerList).workers[0].cpu_percent == 7.0)
        assert not list((tmp_path / ".titan" / "logs").iterdir())


def test_stop_is_safe_before_and_after_start(tmp_path: Path) -> None:
    master = Master(MasterConfig(home=tmp_path, port=0))
    master.stop()
    master.start()
    master.stop()
    assert master.join(5)
    master.stop()
