"""Streams, authentication and the listener over real sockets, with peers that behave badly."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from titan_core.errors import (
    BadBody,
    BadVersion,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    FrameTooLarge,
    NotAuthorised,
    Unavailable,
)
from titan_core.net.auth import challenge
from titan_core.net.dial import dial
from titan_core.net.server import Server, answer_text
from titan_core.net.stream import FrameStream, decode
from titan_core.protocol.messages import (
    Ack,
    AuthChallenge,
    AuthHello,
    AuthProof,
    AuthWelcome,
    Error,
    GetRun,
    Heartbeat,
    JobList,
    RunStatus,
)
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import AUTHENTICATED, HEADER, LEGACY, MIB, Flag, Frame, encode_body, encode_frame
from titan_test_suite.pytests.support.listening import (
    TOKEN,
    EchoServer,
    StartServer,
    closed_by_peer,
    echo,
    received,
)
from titan_test_suite.pytests.support.waiting import wait_until

HELLO = encode_frame(Opcode.AUTH_HELLO, AuthHello(bytes(32), "client").encode())


@pytest.fixture
def start() -> Iterator[StartServer]:
    """Starts listeners; they are stopped at the end, and have to end in time."""
    servers: list[EchoServer] = []

    def start(*arguments, **options) -> EchoServer:
        servers.append(EchoServer(*arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert server.join(5), server.threads()


@pytest.fixture
def server(start) -> EchoServer:
    return start()


@pytest.fixture
def pair() -> Iterator[tuple[FrameStream, socket.socket]]:
    """A stream, and the bare socket of its peer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname(), timeout=10)
        stream = FrameStream(listener.accept()[0], AUTHENTICATED)
    yield stream, theirs
    stream.close()
    theirs.close()


def asked(stream: FrameStream, data: bytes) -> Frame:
    """The answer to these bytes."""
    stream.send_bytes(data)
    frame = stream.receive(10)
    assert frame is not None
    return frame


def works(server: EchoServer) -> bool:
    """Whether the listener serves a good client now."""
    with contextlib.closing(server.dial()) as stream:
        body = GetRun("last").encode()
        return asked(stream, encode_body(Opcode.GET_RUN, body)).payload == body


class TestAuthentication:
    def test_the_right_token(self, server):
        assert works(server)
        assert server.roles == ["client"]

    def test_a_wrong_token(self, server):
        with pytest.raises(NotAuthorised, match="--token-file"):
            server.dial("f" * 32)
        assert server.roles == []
        assert works(server)

    def test_a_listener_that_does_not_know_the_token(self):
        """It may let us in; we do not go."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            impostor = threading.Thread(target=_welcome_anyone, args=(listener,))
            impostor.start()
            with pytest.raises(NotAuthorised, match="does not know this token"):
                dial("127.0.0.1", listener.getsockname()[1], TOKEN, "client")
            impostor.join()

    def test_a_recorded_handshake_is_of_no_use(self, server):
        with _Recorder(server.port) as recorder:
            dial("127.0.0.1", recorder.port, TOKEN, "client").close()
        wait_until(lambda: server.roles == ["client"])
        assert [frame.opcode for frame in server.answers(recorder.sent)] == [Opcode.AUTH_CHALLENGE, Opcode.ERROR]
        assert server.roles == ["client"]

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (encode_frame(Opcode.GET_RUN, GetRun("last").encode()), "NOT_AUTHORISED"),
            (encode_frame(Opcode.STATS, b"", Flag(0)), "NOT_AUTHORISED"),
            (encode_frame(0x6E, b""), "NOT_AUTHORISED"),
            (encode_frame(Opcode.AUTH_HELLO, AuthHello(b"short", "client").encode()), "PROTOCOL"),
            (encode_frame(Opcode.AUTH_HELLO, b"garbage"), "BAD_BODY"),
            (b"GET / HTTP/1.1\r\n\r\n", "BAD_VERSION"),
            (HEADER.pack(2, Opcode.AUTH_HELLO, 1, 0, 0), "BAD_VERSION"),
            (HEADER.pack(1, Opcode.AUTH_HELLO, 0x81, 0, 0), "BAD_FLAGS"),
            (HEADER.pack(1, Opcode.AUTH_HELLO, 1, 7, 0), "BAD_FLAGS"),
            (HEADER.pack(1, Opcode.AUTH_HELLO, 1, 0, 4097), "FRAME_TOO_LARGE"),
            (HEADER.pack(1, Opcode.SUBMIT_DAG, 0, 0, 2**32 - 1), "FRAME_TOO_LARGE"),
        ],
    )
    def test_other_openings_are_refused_with_a_reason(self, server, sent, code):
        assert server.refusal(sent).code == code
        assert server.roles == []
        assert works(server)

    @pytest.mark.parametrize(
        ("second", "code"),
        [
            (encode_frame(Opcode.AUTH_PROOF, AuthProof(bytes(32)).encode()), "NOT_AUTHORISED"),
            (encode_frame(Opcode.AUTH_PROOF, AuthProof(b"").encode()), "NOT_AUTHORISED"),
            (encode_frame(Opcode.AUTH_PROOF, b""), "BAD_BODY"),
            (encode_frame(Opcode.GET_RUN, AuthProof(bytes(32)).encode()), "NOT_AUTHORISED"),
            (encode_frame(Opcode.ERROR, Error("INTERNAL", "not your error").encode()), "NOT_AUTHORISED"),
            (HELLO, "NOT_AUTHORISED"),
            (b"\xff" * 8, "BAD_VERSION"),
        ],
    )
    def test_other_proofs_are_refused_with_a_reason(self, server, second, code):
        with server.connect() as sock:
            sock.sendall(HELLO)
            assert sock.recv(4096)[1] == Opcode.AUTH_CHALLENGE
            sock.sendall(second)
            (answer,) = received(sock)
        assert Error.decode(answer.payload).code == code
        assert server.roles == []
        assert works(server)

    @pytest.mark.parametrize("sent", [b"", b"\1", HELLO[:4], HELLO[:-1], HELLO])
    def test_peers_that_leave_in_the_middle(self, server, sent):
        assert [frame.opcode for frame in server.answers(sent)] == [Opcode.AUTH_CHALLENGE] * (sent == HELLO)
        assert works(server)

    def test_silent_peers_block_nobody_and_are_cut_off(self, server, monkeypatch):
        monkeypatch.setattr("titan_core.net.server.AUTH_TIMEOUT_S", 0.3)
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(server.connect()) for _ in range(20)]
            assert works(server)
            wait_until(lambda: all(map(closed_by_peer, silent)), 5)
        assert works(server)

    def test_a_peer_that_stalls_in_the_middle_of_its_proof(self, server, monkeypatch):
        monkeypatch.setattr("titan_core.net.auth.AUTH_TIMEOUT_S", 0.2)
        with server.connect() as sock:
            sock.sendall(HELLO + HELLO[:5])
            assert [frame.opcode for frame in received(sock)] == [Opcode.AUTH_CHALLENGE]


def _welcome_anyone(listener: socket.socket) -> None:
    stream = FrameStream(listener.accept()[0])
    stream.receive(5)
    stream.send(AuthChallenge(bytes(32)))
    stream.receive(5)
    stream.send(AuthWelcome(bytes(32)))
    stream.close()


class _Recorder:
    """Stands between a dialler and the listener for one handshake; keeps what the dialler sends."""

    def __init__(self, port: int) -> None:
        self.sent = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._target = port
        self._thread = threading.Thread(target=self._relay)

    def __enter__(self) -> _Recorder:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._thread.join()
        self._listener.close()

    def _relay(self) -> None:
        dialler, _ = self._listener.accept()
        with dialler, socket.create_connection(("127.0.0.1", self._target)) as listener:
            for _ in range(2):  # hello and challenge, proof and welcome
                data = dialler.recv(4096)
                self.sent += data
                listener.sendall(data)
                dialler.sendall(listener.recv(4096))


class TestDialling:
    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(ConnectionFailed, match=f"nobody answers at 127.0.0.1:{port}"):
            dial("127.0.0.1", port, TOKEN, "client")

    @pytest.mark.parametrize(
        ("host", "port"), [("no.such.host.invalid", 1), ("127.0.0.1", 70000), ("127.0.0.1", -1), ("a" * 70, 1)]
    )
    def test_addresses_that_are_none(self, host, port):
        with pytest.raises(ConnectionFailed if port == 1 else ConfigError):
            dial(host, port, TOKEN, "client")

    def test_something_else_listens(self):
        def serve_http() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4096)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve_http)
            thread.start()
            with pytest.raises(BadVersion, match="is it a Titan master"):
                dial("127.0.0.1", listener.getsockname()[1], TOKEN, "client")
            thread.join()

    def test_a_listener_that_hangs_up(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=lambda: listener.accept()[0].close())
            thread.start()
            with pytest.raises(ConnectionLost):
                dial("127.0.0.1", listener.getsockname()[1], TOKEN, "client")
            thread.join()


class TestServing:
    def test_many_requests_are_answered_in_order(self, server):
        bodies = [GetRun(f"run-{n}").encode() for n in range(200)]
        with contextlib.closing(server.dial()) as stream:
            stream.send_bytes(b"".join(encode_body(Opcode.GET_RUN, body) for body in bodies))
            frames = [stream.receive(10) for _ in bodies]
        assert [frame.payload for frame in frames if frame] == bodies

    def test_a_body_of_many_frames(self, server):
        body = Ack("x" * (3 * MIB + 5)).encode()
        with contextlib.closing(server.dial()) as stream:
            first = asked(stream, encode_body(Opcode.ACK, body))
            assert first.more
            assert stream.receive_body(first) == body

    def test_an_unknown_opcode_is_an_answer_not_an_end(self, server):
        with contextlib.closing(server.dial()) as stream:
            answer = asked(stream, encode_frame(0x6E, b"whatever"))
            assert Error.decode(answer.payload).code == "UNKNOWN_OPCODE"
            assert asked(stream, encode_frame(Opcode.GOODBYE, b"")).opcode == Opcode.DATA

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (HEADER.pack(1, Opcode.SUBMIT_DAG, 1, 0, MIB + 1), "FRAME_TOO_LARGE"),
            (HEADER.pack(1, Opcode.SUBMIT_DAG, 0, 0, 4097), "FRAME_TOO_LARGE"),
            (HEADER.pack(9, Opcode.SUBMIT_DAG, 1, 0, 0), "BAD_VERSION"),
            (HEADER.pack(1, Opcode.SUBMIT_DAG, 5, 0, 0), "BAD_FLAGS"),
            (encode_frame(Opcode.SUBMIT_DAG, b"garbage"), "BAD_BODY"),
            (encode_frame(4, b"x", Flag(3)) + encode_frame(5, b""), "BAD_BODY"),
            (encode_frame(4, b"", Flag(3)), "BAD_BODY"),
        ],
    )
    def test_bad_frames_after_authentication(self, server, sent, code):
        with contextlib.closing(server.dial()) as stream:
            answer = asked(stream, sent)
            assert answer.opcode == Opcode.ERROR
            assert Error.decode(answer.payload).code == code
            assert stream.receive(10) is None
        assert works(server)

    def test_a_frame_that_stalls_after_authentication(self, server, monkeypatch):
        monkeypatch.setattr("titan_core.net.stream.STALL_S", 0.2)
        with contextlib.closing(server.dial()) as stream:
            stream.send_bytes(b"\x01\x04")
            assert stream.receive(10) is None

    def test_a_defect_in_serving_one_ends_only_that_one(self, start, caplog):
        def serve(stream: FrameStream, role: str) -> None:
            if decode(asked_for := stream.receive(10), asked_for.payload, GetRun).key == "defect":
                raise ZeroDivisionError
            stream.send_bytes(encode_frame(Opcode.DATA, asked_for.payload))

        server = start(serve)
        with contextlib.closing(server.dial()) as stream:
            answer = asked(stream, encode_frame(Opcode.GET_RUN, GetRun("defect").encode()))
            assert Error.decode(answer.payload).code == "INTERNAL"
        assert works(server)
        assert [record.action for record in caplog.records if record.exc_info] == ["connection.failed"]

    def test_too_many_connections(self, server, monkeypatch):
        monkeypatch.setattr("titan_core.net.server.MAX_CONNECTIONS", 2)
        streams = [server.dial(), server.dial()]
        with pytest.raises(Unavailable, match="no more connections"):
            server.dial()
        for stream in streams:
            stream.close()
        wait_until(lambda: server.connection_count == 0)
        assert works(server)

    def test_connections_are_forgotten_when_they_end(self, server):
        for _ in range(5):
            assert works(server)
        wait_until(lambda: server.connection_count == 0, explain=lambda: server.connection_count)
        wait_until(lambda: len(server.threads()) == 1, explain=server.threads)


class TestTextClients:
    @staticmethod
    def upper(stream: FrameStream, first: Frame) -> None:
        answer_text(stream, first.payload.decode().upper())

    def test_are_refused_unless_asked_for(self, server):
        error = server.refusal(encode_frame(Opcode.STATS, b"stats", Flag(0)))
        assert (error.code, "native clients only" in error.message) == ("NOT_AUTHORISED", True)

    def test_are_served_from_where_they_are_admitted(self, start):
        server = start(serve_legacy=self.upper, admits_legacy=lambda host: host == "127.0.0.1", legacy_limits=LEGACY)
        body = b"x" * (10 * MIB)
        (frame,) = server.answers(encode_frame(Opcode.SUBMIT_DAG, body, Flag(0)))
        assert (frame.opcode, frame.flags, frame.payload) == (Opcode.ACK, 0, body.upper())
        assert server.refusal(HEADER.pack(1, 4, 0, 0, 10 * MIB + 1)).code == "FRAME_TOO_LARGE"
        assert works(server)

    def test_are_refused_from_elsewhere(self, start):
        server = start(serve_legacy=self.upper, admits_legacy=lambda host: False, legacy_limits=LEGACY)
        assert server.refusal(encode_frame(Opcode.STATS, b"stats", Flag(0))).code == "NOT_AUTHORISED"


class TestStreams:
    def test_a_peer_that_closes_between_frames(self, pair):
        stream, theirs = pair
        theirs.sendall(encode_frame(1, b"abc"))
        theirs.close()
        assert stream.receive(10) == Frame(1, 1, b"abc")
        assert stream.receive(10) is None

    def test_a_peer_that_closes_in_the_middle(self, pair):
        stream, theirs = pair
        theirs.sendall(encode_frame(1, b"abc")[:-1])
        theirs.close()
        with pytest.raises(ConnectionLost, match="in the middle of a frame"):
            stream.receive(10)

    def test_a_peer_that_closes_in_the_middle_of_a_body(self, pair):
        stream, theirs = pair
        theirs.sendall(encode_frame(1, b"abc", Flag(3)))
        theirs.close()
        with pytest.raises(ConnectionLost, match="in the middle of a body"):
            stream.receive_body(stream.receive(10))

    def test_a_body_that_is_too_long_is_refused_as_it_comes(self, pair):
        stream, theirs = pair
        theirs.sendall(encode_frame(1, b"x" * 100, Flag(3)) * 3)
        with pytest.raises(FrameTooLarge, match="more than 250 bytes"):
            stream.receive_body(stream.receive(10), limit=250)

    def test_another_request_inside_a_body(self, pair):
        stream, theirs = pair
        theirs.sendall(encode_frame(1, b"abc", Flag(3)) + encode_frame(2, b"abc"))
        with pytest.raises(BadBody, match="opcode 0x02 inside a body of opcode 0x01"):
            stream.receive_body(stream.receive(10))

    def test_a_reset_connection(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            stream = FrameStream(listener.accept()[0])
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with pytest.raises(ConnectionLost), contextlib.closing(stream):
            stream.receive(10)

    def test_waiting_has_an_end(self, pair):
        stream, _ = pair
        with pytest.raises(ConnectionLost, match="sent nothing in time"):
            stream.receive(0.01)

    def test_a_peer_that_takes_nothing(self, pair, monkeypatch):
        monkeypatch.setattr("titan_core.net.stream.STALL_S", 0.1)
        stream, _ = pair
        with pytest.raises(ConnectionLost, match="takes no data"):
            stream.send_bytes(bytes(16 * MIB))

    def test_shut_wakes_who_waits(self, pair):
        stream, _ = pair
        ended: list[object] = []
        receiver = threading.Thread(target=lambda: ended.append(stream.receive()))
        receiver.start()
        stream.shut()
        receiver.join(10)
        assert ended == [None]

    def test_one_thread_sends_while_another_receives(self, pair):
        stream, theirs = pair
        sender = threading.Thread(target=stream.send_bytes, args=(encode_body(1, bytes(8 * MIB)),))
        sender.start()
        theirs.sendall(encode_frame(2, b"meanwhile"))
        assert stream.receive(10) == Frame(2, 1, b"meanwhile")
        left = len(encode_body(1, bytes(8 * MIB)))
        while left:
            left -= len(theirs.recv(MIB))
        sender.join(10)

    def test_answers_are_what_was_expected_or_an_error(self):
        assert decode(Frame(Opcode.ACK, 1, b""), b"", Ack) == Ack()
        assert decode(Frame(Opcode.DATA, 1, b""), b"", JobList) == JobList()
        assert decode(Frame(Opcode.HEARTBEAT, 1, b""), b"", Heartbeat) == Heartbeat()
        with pytest.raises(BadBody, match="opcode 0x50 where RunStatus was expected"):
            decode(Frame(Opcode.ACK, 1, b""), b"", RunStatus)
        error = Error("UNAVAILABLE", "not now", True).encode()
        with pytest.raises(Unavailable, match="not now"):
            decode(Frame(Opcode.ERROR, 1, error), error, RunStatus)

    def test_the_listeners_side_wants_a_hello(self, pair):
        stream, _ = pair
        with pytest.raises(NotAuthorised):
            challenge(stream, TOKEN, Frame(Opcode.STATS, 1, b""))


class TestStopping:
    def make(self) -> Server:
        return Server("test", "127.0.0.1", 0, TOKEN, echo)

    def test_before_the_start(self):
        server = self.make()
        server.stop()
        server.start()
        assert server.join(5)

    def test_never_started(self):
        server = self.make()
        server.stop()
        assert server.join(0)

    def test_during_the_start(self):
        for _ in range(50):
            server = self.make()
            stopper = threading.Thread(target=server.stop)
            stopper.start()
            server.start()
            stopper.join()
            assert server.join(5)

    def test_again_and_again(self, server):
        for _ in range(3):
            server.stop()
            assert server.join(5)

    def test_with_connections_of_every_kind(self, start):
        server = start()
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(server.connect())
                stack.enter_context(contextlib.closing(server.dial()))
            stuck = stack.enter_context(server.connect())
            stuck.sendall(HELLO[:5])
            wait_until(lambda: server.connection_count == 21)
            began_at = time.monotonic()
            server.stop()
            assert server.join(5)
            assert time.monotonic() - began_at < 2
        assert server.connection_count == 0

    def test_from_a_connection_of_its_own(self, start):
        server = start(lambda stream, role: server.stop())
        with contextlib.closing(server.dial()) as stream:
            assert stream.receive(10) is None
        assert server.join(5)

    def test_its_port_is_free_at_once(self, server):
        stream = server.dial()
        server.stop()
        assert server.join(5)
        again = Server("again", "127.0.0.1", server.port, TOKEN, echo)
        again.stop()
        again.join(5)
        stream.close()


class TestBinding:
    def test_a_port_in_use(self, server):
        with pytest.raises(ConfigError, match=f"port {server.port} on 127.0.0.1 is in use"):
            Server("second", "127.0.0.1", server.port, TOKEN, echo)

    @pytest.mark.parametrize(
        ("host", "port", "reason"),
        [
            ("no.such.host.invalid", 0, "can not listen on"),
            ("192.0.2.1", 0, "can not listen on"),
            ("127.0.0.1", 70000, "70000 is not a port"),
        ],
    )
    def test_addresses_that_can_not_be_bound(self, host, port, reason):
        with pytest.raises(ConfigError, match=reason):
            Server("nowhere", host, port, TOKEN, echo)
