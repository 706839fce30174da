"""A listener that echoes bodies, and raw sockets that do to it what no client of ours would."""

from __future__ import annotations

import socket
from collections.abc import Callable

from titan_core.errors import UnknownOpcode
from titan_core.net.dial import dial
from titan_core.net.server import ServeConnection, Server, error_message
from titan_core.net.stream import FrameStream, decode_any
from titan_core.protocol.messages import Error
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Decoder, Frame, Limits, encode_body

TOKEN = "0123456789abcdef0123456789abcdef"
ANY_SIZE = Limits(2**32 - 1, 2**32 - 1)


def echo(stream: FrameStream, role: str) -> None:
    """Answer every request with its own body; those of unknown opcodes with an error."""
    while (frame := stream.receive()) is not None:
        body = stream.receive_body(frame)
        try:
            decode_any(frame, body)
        except UnknownOpcode as error:
            stream.send(error_message(error))
        else:
            stream.send_bytes(encode_body(Opcode.DATA, body))


class EchoServer(Server):
    """A running listener; `roles` says who has proved themselves."""

    def __init__(self, serve: ServeConnection = echo, **options: object) -> None:
        self.roles: list[str] = []
        self._then = serve
        super().__init__("echo", "127.0.0.1", 0, TOKEN, self._note_and_serve, **options)  # type: ignore[arg-type]
        self.start()

    def _note_and_serve(self, stream: FrameStream, role: str) -> None:
        self.roles.append(role)
        self._then(stream, role)

    def dial(self, token: str = TOKEN) -> FrameStream:
        return dial("127.0.0.1", self.port, token, "client")

    def connect(self) -> socket.socket:
        """A connection that has said nothing yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def answers(self, sent: bytes, close: bool = True) -> list[Frame]:
        """Everything that comes back for these bytes, up to the end of the connection."""
        with self.connect() as sock:
            sock.sendall(sent)
            if close:
                sock.shutdown(socket.SHUT_WR)
            return received(sock)

    def refusal(self, sent: bytes) -> Error:
        """The error that these bytes are answered with, after which the connection ends."""
        (frame,) = self.answers(sent, close=False)
        assert frame.opcode == Opcode.ERROR
        return Error.decode(frame.payload)


def received(sock: socket.socket) -> list[Frame]:
    """The frames that come until the peer closes."""
    decoder, frames = Decoder(ANY_SIZE), []
    try:
        while data := sock.recv(65536):
            frames += decoder.feed(data)
    except ConnectionResetError:
        pass  # it closed with bytes of ours unread
    return frames


def closed_by_peer(sock: socket.socket) -> bool:
    """Whether the peer has ended the connection, without waiting for it."""
    sock.setblocking(False)
    try:
        while sock.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    return True


StartServer = Callable[..., EchoServer]
