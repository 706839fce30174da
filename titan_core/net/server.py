"""The listening side: `socketserver.ThreadingTCPServer` with its traps settled, and one thread per connection.

What the class as shipped does, and what is done here instead:

- it listens with a backlog of 5: here 1,024, since a cluster reconnects all at once;
- it leaves `allow_reuse_address` off, so that a restart fails while old connections linger: here on;
- `server_close()` joins every handler thread and so hangs on live sessions: here `stop` shuts the
  connections' sockets first and `join` has a time-out;
- EMFILE in `accept` spins at 100 % CPU, the socket being readable and never drained: here a spare
  descriptor is given up to accept the peer and turn it away, and the loop waits a moment;
- `shutdown()` called from the serving thread deadlocks: here `stop` sets an Event and wakes the loop,
  which leaves by itself.

TLS, when it comes, belongs in the connection's thread: a silent client must not block `accept`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable

from titan_core.errors import (
    ConfigError,
    ConnectionLost,
    InternalError,
    TitanError,
    Unavailable,
)
from titan_core.lifecycle import Component
from titan_core.net.auth import AUTH_TIMEOUT_S, challenge
from titan_core.net.dial import check_port
from titan_core.net.stream import FrameStream
from titan_core.protocol.messages import Error
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import AUTHENTICATED, Flag, Frame, Limits, encode_frame

log = logging.getLogger("titan.net")

MAX_CONNECTIONS = 4096
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

ServeConnection = Callable[[FrameStream, str], None]
"""Serves one authenticated connection to its end: (stream, role)."""
ServeLegacy = Callable[[FrameStream, Frame], None]
"""Serves one text client: (stream, its first frame)."""


class Server(Component):
    """Accepts connections on `host:port` and serves each on a thread of its own, named `conn-<peer>`.

    `serve` gets every connection that has proved the token. `serve_legacy`, if given, gets those that
    begin with a text frame, when `admits_legacy(peer host)`; without it they are refused.
    `port` 0 takes a free one; `.port` says which. Raises ConfigError when the address can not be bound.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        token: str,
        serve: ServeConnection,
        serve_legacy: ServeLegacy | None = None,
        admits_legacy: Callable[[str], bool] = lambda host: False,
        legacy_limits: Limits | None = None,
    ) -> None:
        super().__init__(name)
        self._token = token
        self._serve = serve
        self._serve_legacy = serve_legacy
        self._admits_legacy = admits_legacy
        self._legacy_limits = legacy_limits
        self._streams: set[FrameStream] = set()
        self._streams_lock = threading.Lock()
        self._listener = _bind(self, host, port)
        self.host = host
        self.port = int(self._listener.server_address[1])

    def start(self) -> None:
        self.spawn(f"accept-{self.name}", self._accept)

    def on_stop(self) -> None:
        self._listener.wake()
        with self._streams_lock:
            streams = list(self._streams)
        for stream in streams:
            stream.shut()

    def join(self, timeout_s: float) -> bool:
        joined = super().join(timeout_s)
        self._listener.server_close()
        return joined

    @property
    def connection_count(self) -> int:
        with self._streams_lock:
            return len(self._streams)

    def _accept(self) -> None:
        with contextlib.suppress(_Stopped):
            self._listener.serve_forever(poll_interval=3600)

    def serve_socket(self, sock: socket.socket) -> None:
        """One connection, from its first byte to its last; the body of its thread."""
        stream = FrameStream(sock)
        try:
            with self._streams_lock:
                self._streams.add(stream)
                crowded = len(self._streams) > MAX_CONNECTIONS
            if self.stopping.is_set() or crowded:
                answer_error(stream, Unavailable("this side takes no more connections now; try again shortly"))
            else:
                self._authenticate_and_serve(stream)
        finally:
            with self._streams_lock:
                self._streams.discard(stream)
            stream.close()

    def _authenticate_and_serve(self, stream: FrameStream) -> None:
        try:
            if self._legacy_limits and self._admits_legacy(stream.peer_host):
                stream.set_limits(self._legacy_limits)
            first = stream.receive(AUTH_TIMEOUT_S)
            if first is None:
                return
            if not first.binary and self._serve_legacy and self._admits_legacy(stream.peer_host):
                self._serve_legacy(stream, first)
                return
            role = challenge(stream, self._token, first)
            stream.set_limits(AUTHENTICATED)
            self._serve(stream, role)
        except ConnectionLost as error:
            log.debug("%s", error, extra={"action": "connection.lost"})
        except TitanError as error:
            log.warning("%s refused: %s", stream.peer, error, extra={"action": "connection.refused"})
            answer_error(stream, error)
        except Exception:  # a defect in serving one peer must not end the others
            log.exception("%s: serving it failed", stream.peer, extra={"action": "connection.failed"})
            answer_error(stream, InternalError())


def answer_error(stream: FrameStream, error: TitanError) -> None:
    """Say why, if the peer still listens; the connection is about to end."""
    with contextlib.suppress(ConnectionLost):
        stream.send(error_message(error))


def error_message(error: TitanError) -> Error:
    return Error(error.code, error.message, error.retryable, tuple(sorted(error.details.items())))


def answer_text(stream: FrameStream, text: str, opcode: int = Opcode.ACK) -> None:
    """A reply in the Java-era form."""
    stream.send_bytes(encode_frame(opcode, text.encode(), Flag(0)))


class _Stopped(Exception):
    """Leaves `serve_forever`, which has no other way out that is safe from every thread."""


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 1024
    block_on_close = False

    def __init__(self, owner: Server, address: tuple[str, int], family: int) -> None:
        self.address_family = family
        self._owner = owner
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        super().__init__(address, socketserver.BaseRequestHandler)  # closes the server if it can not be bound

    def wake(self) -> None:
        """Make a blocked `serve_forever` look around: a listening socket that is shut down turns readable."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def service_actions(self) -> None:
        if self._owner.stopping.is_set():
            raise _Stopped

    def get_request(self) -> tuple[socket.socket, object]:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in _FULL:
                self._turn_away()
            raise

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        host, port = client_address[:2]  # type: ignore[index]
        self._owner.spawn(f"conn-{host}:{port}", self._owner.serve_socket, request)

    def handle_error(self, request: object, client_address: object) -> None:
        log.exception("no thread for %s; it is turned away", client_address, extra={"action": "accept.failed"})

    def server_close(self) -> None:
        super().server_close()
        self._give_up_spare()

    def _turn_away(self) -> None:
        """Out of descriptors: use the spare one to accept the peer and hang up on it."""
        log.error("out of file descriptors; a connection is turned away", extra={"action": "accept.full"})
        self._give_up_spare()
        with contextlib.suppress(OSError):
            self.socket.accept()[0].close()
        with contextlib.suppress(OSError):  # another thread was faster: the peers that follow wait for it
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._owner.stopping.wait(0.1)

    def _give_up_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
        self._spare = -1


def _bind(owner: Server, host: str, port: int) -> _Listener:
    check_port(port)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _Listener(owner, address[:2], family)  # type: ignore[arg-type]
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is in use; stop what listens there or choose another port"
            ) from None
        raise ConfigError(f"can not listen on {host}:{port}: {getattr(error, 'strerror', None) or error}") from None
