"""A master that answers as a test says: real sockets and real authentication, canned decisions. For client tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from titan_core.errors import ConnectionLost, TitanError
from titan_core.net.server import Server, error_message
from titan_core.net.stream import FrameStream, decode_any
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import Ack, Error
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import encode_body

TOKEN = "0123456789abcdef0123456789abcdef"

M = TypeVar("M", bound=Message)
Handler = Callable[[FrameStream, M], Message | None]
"""Gets the connection and a request; gives the answer, or None when it has sent it itself."""


class HangUp(Exception):
    """Raised by a handler: close the connection instead of answering."""


class ScriptedMaster:
    """Handlers by the class of request; what it was asked is in `requests`, in order of arrival."""

    def __init__(self) -> None:
        self.requests: list[Message] = []
        self.connections = 0
        self._handlers: dict[type[Message], Handler[Message]] = {}
        self._streams: set[FrameStream] = set()
        self._server = Server("scripted", "127.0.0.1", 0, TOKEN, self._serve)
        self.port = self._server.port
        self._server.start()

    def on(self, request: type[M], handler: Callable[[FrameStream, M], Message | None]) -> None:
        self._handlers[request] = handler  # type: ignore[assignment]

    def answer(self, request: type[Message], *answers: Message | BaseException) -> None:
        """Answer with these in turn, and then always with the last."""
        left = list(answers)

        def handler(stream: FrameStream, message: Message) -> Message:
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self.on(request, handler)

    def asked(self, request: type[M]) -> list[M]:
        return [message for message in self.requests if isinstance(message, request)]

    def drop_connections(self) -> None:
        for stream in list(self._streams):
            stream.shut()

    @property
    def open_connections(self) -> int:
        return self._server.connection_count

    def stop(self) -> None:
        self._server.stop()
        assert self._server.join(5), "a connection of the scripted master does not end"

    def _serve(self, stream: FrameStream, role: str) -> None:
        assert role == "client"
        self.connections += 1
        self._streams.add(stream)
        try:
            with contextlib.suppress(HangUp, ConnectionLost):
                self._converse(stream)
        finally:
            self._streams.discard(stream)

    def _converse(self, stream: FrameStream) -> None:
        while (frame := stream.receive()) is not None:
            message = decode_any(frame, stream.receive_body(frame))
            self.requests.append(message)
            try:
                answer = self._handlers[type(message)](stream, message)
            except ConnectionLost:
                raise
            except TitanError as error:
                answer = error_message(error)
            if answer is not None:
                send(stream, answer)


def send(stream: FrameStream, answer: Message) -> None:
    """A reply under the opcode that replies of its kind have."""
    opcode = {Ack: Opcode.ACK, Error: Opcode.ERROR}.get(type(answer), Opcode.DATA)
    stream.send_bytes(encode_body(opcode, answer.encode()))


@contextlib.contextmanager
def scripted_master() -> Iterator[ScriptedMaster]:
    master = ScriptedMaster()
    try:
        yield master
    finally:
        master.stop()
