"""The worker's own listening port: its identity on the host, and where it answers for itself.

A second worker on the same port can not bind it, and says so. On loopback only: HEARTBEAT is answered by
a HEARTBEAT, STATS_JSON by the worker's figures, anything else by an ERROR.
"""

from __future__ import annotations

from titan_core.errors import UnknownOpcode
from titan_core.net.server import Server, answer_error
from titan_core.net.stream import FrameStream
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import ClusterStatus
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Frame
from titan_core.worker.foreman import Foreman

HOST = "127.0.0.1"


class OwnPort:
    """Binds 127.0.0.1:`port` at once (0 = a free one; `.port` says which). Raises ConfigError if it is in use."""

    def __init__(self, port: int, token: str) -> None:
        self.server = Server("worker", HOST, port, token, self._serve)
        self.port = self.server.port
        self._foreman: Foreman | None = None

    def start(self, foreman: Foreman) -> None:
        self._foreman = foreman
        self.server.start()

    def _serve(self, stream: FrameStream, role: str) -> None:
        while (frame := stream.receive()) is not None:
            stream.receive_body(frame)
            try:
                stream.send(self._answer(frame))
            except UnknownOpcode as error:
                answer_error(stream, error)

    def _answer(self, frame: Frame) -> Message:
        assert self._foreman is not None
        if frame.opcode == Opcode.HEARTBEAT:
            return self._foreman.heartbeat()
        if frame.opcode == Opcode.STATS_JSON:
            return ClusterStatus((self._foreman.status(),))
        raise UnknownOpcode("a worker answers HEARTBEAT and STATS_JSON only; ask the master")
