"""A master that does what a test says, for workers: real sockets, real authentication, no scheduler.

It takes a worker's registration, sends it orders, collects what comes back, and hands out assets.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator

from titan_core.errors import NotFound, TitanError
from titan_core.net.server import Server, error_message
from titan_core.net.stream import FrameStream, decode_any
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import (
    AssetInfo,
    FetchAsset,
    Goodbye,
    LogBatch,
    LogPosition,
    Register,
    Registered,
    Result,
    ResultAck,
    ServiceReady,
    StartAttempt,
    StopAttempt,
    Task,
)
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import encode_body, split_body
from titan_test_suite.pytests.support.waiting import wait_until

TOKEN = "0123456789abcdef0123456789abcdef"
RESULT_S = 20.0


class WorkerMaster:
    """Every field may be changed by a test at any time."""

    def __init__(self, port: int = 0) -> None:
        self.heartbeat_s, self.death_s = 10.0, 30.0
        self.refusal: TitanError | None = None
        self.adopt: Callable[[Register], tuple[LogPosition, ...]] = lambda register: ()
        self.acknowledges = True
        """Results are acknowledged …"""
        self.dismisses = True
        """… and a goodbye is answered."""
        self.cluster, self.term = b"c" * 16, 1
        self.fetch_gate = threading.Event()
        """Cleared, FETCH_ASSET waits."""
        self.fetch_gate.set()
        self.read_gate = threading.Event()
        """Cleared, nothing is read from the sessions."""
        self.read_gate.set()

        self.registrations: list[Register] = []
        self.received: list[Message] = []
        """Everything but logs, in order."""
        self.fetched: list[str] = []
        self.batches: dict[bytes, list[LogBatch]] = defaultdict(list)

        self._assets: dict[str, bytes] = {}
        self._session: FrameStream | None = None
        """The latest."""
        self._sessions: dict[int, FrameStream] = {}
        """By the port of the worker."""
        self._lock = threading.Lock()
        self.port = port
        self._open()

    def close(self) -> None:
        self.fetch_gate.set()
        self.read_gate.set()
        self._server.stop()
        assert self._server.join(10)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens on the port meanwhile."""
        self.close()
        try:
            yield
        finally:
            self._open()

    def _open(self) -> None:
        self._server = Server("worker-master", "127.0.0.1", self.port, TOKEN, self._serve)
        self.port = self._server.port
        self._server.start()

    # ── giving orders ─────────────────────────────────────────────────────────────────────────────

    def asset(self, content: bytes | str) -> str:
        """Make a content available; its SHA-256."""
        data = content.encode() if isinstance(content, str) else content
        sha256 = hashlib.sha256(data).hexdigest()
        self._assets[sha256] = data
        return sha256

    def start(self, content: bytes | str, name: str = "job.sh", service: bool = False, **task: object) -> bytes:
        """Order an attempt that runs this content; its token."""
        order = StartAttempt(
            secrets.token_bytes(16),
            "run-1",
            f"job-{secrets.token_hex(4)}",
            1,
            self.task(content, name, **task),
            service,
        )
        self.send(order)
        return order.token

    def task(self, content: bytes | str, name: str = "job.sh", **fields: object) -> Task:
        return Task(name, self.asset(content), **{"stop_grace_s": 5.0, **fields})  # type: ignore[arg-type]

    def run(self, content: bytes | str, name: str = "job.sh", **task: object) -> Result:
        """Order an attempt and wait for how it ends."""
        return self.result(self.start(content, name, **task))

    def stop(self, token: bytes, reason: str = "cancelled by the test") -> None:
        self.send(StopAttempt(token, reason))

    def send(self, message: Message, to: int = 0) -> None:
        """To the worker on port `to`, or else to the one that came last."""
        with self._lock:
            session = self._sessions.get(to) if to else self._session
            assert session is not None, "no worker is connected"
            session.send(message)

    def drop_session(self) -> None:
        with self._lock:
            assert self._session is not None
            self._session.shut()

    # ── what came back ────────────────────────────────────────────────────────────────────────────

    @property
    def connected(self) -> bool:
        return self._session is not None

    def has(self, port: int) -> bool:
        """Whether the worker on this port is connected."""
        return port in self._sessions

    def wait_for_worker(self, registrations: int = 1) -> Register:
        """Until so many registrations have come and the last one holds; that one."""
        wait_until(lambda: len(self.registrations) >= registrations and self.connected, RESULT_S, "no worker came")
        return self.registrations[-1]

    def of(self, kind: type[Message]) -> list[Message]:
        return [message for message in list(self.received) if isinstance(message, kind)]

    def results(self, token: bytes) -> list[Result]:
        return [r for r in list(self.received) if isinstance(r, Result) and r.token == token]

    def result(self, token: bytes, timeout_s: float = RESULT_S) -> Result:
        return wait_until(lambda: self.results(token), timeout_s, lambda: self.received[-5:])[0]

    def started(self, token: bytes) -> ServiceReady:
        """The word that a service is ready."""
        is_it = lambda m: isinstance(m, ServiceReady) and m.token == token  # noqa: E731
        return wait_until(lambda: next((m for m in list(self.received) if is_it(m)), None))  # type: ignore[return-value]

    def log(self, token: bytes) -> bytes:
        """What the attempt printed, put together as the offsets say."""
        pieces = sorted(self.batches[token], key=lambda batch: batch.offset)
        text = bytearray()
        for piece in pieces:
            assert piece.offset <= len(text), f"a hole in the log at {len(text)}"
            text[piece.offset : piece.offset + len(piece.data)] = piece.data
        return bytes(text)

    # ── serving ───────────────────────────────────────────────────────────────────────────────────

    def _serve(self, stream: FrameStream, role: str) -> None:
        if role == "worker":
            self._serve_worker(stream)
        else:
            self._serve_fetches(stream)

    def _serve_worker(self, stream: FrameStream) -> None:
        frame = stream.receive()
        assert frame is not None
        register = Register.decode(stream.receive_body(frame))
        if self.refusal is not None:
            stream.send(error_message(self.refusal))
            return
        registered = Registered(
            f"{register.hostname}:{register.port}",
            self.heartbeat_s,
            self.death_s,
            self.adopt(register),
            self.cluster,
            self.term,
        )
        with self._lock:
            stream.send_bytes(encode_body(Opcode.DATA, registered.encode()))
            self._session = self._sessions[register.port] = stream
        self.registrations.append(register)
        for result in register.finished:
            self._keep(result, stream)
        try:
            self._read(stream)
        finally:
            with self._lock:
                if self._session is stream:
                    self._session = None
                if self._sessions[register.port] is stream:
                    del self._sessions[register.port]

    def _read(self, stream: FrameStream) -> None:
        while self.read_gate.wait() and (frame := stream.receive()) is not None:
            message = decode_any(frame, stream.receive_body(frame))
            if isinstance(message, LogBatch):
                self.batches[message.token].append(message)
            else:
                self._keep(message, stream)

    def _keep(self, message: Message, stream: FrameStream) -> None:
        self.received.append(message)
        if isinstance(message, Result) and self.acknowledges:
            with self._lock:
                stream.send(ResultAck((message.token,)))
        elif isinstance(message, Goodbye) and self.dismisses:
            with self._lock:
                stream.send(message)

    def _serve_fetches(self, stream: FrameStream) -> None:
        while (frame := stream.receive()) is not None:
            request = FetchAsset.decode(stream.receive_body(frame))
            self.fetched.append(request.sha256)
            self.fetch_gate.wait()
            content = self._assets.get(request.sha256)
            if content is None:
                stream.send(error_message(NotFound(f"no asset with SHA-256 {request.sha256}")))
                continue
            info = AssetInfo("", request.sha256, len(content))
            stream.send_bytes(encode_body(Opcode.DATA, info.encode()))
            for piece in split_body(Opcode.ASSET_DATA, content):
                stream.send_bytes(piece)
