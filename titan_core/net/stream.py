"""A connection as a stream of frames. `OSError` ends here: beyond this module it is ConnectionLost.

One thread may receive while another sends; two senders must agree among themselves. `shut` may be
called from any thread and wakes both.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import NoReturn, TypeVar

from titan_core.errors import BadBody, ConnectionLost, FrameTooLarge, UnknownOpcode, from_code
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import BODIES, OPCODES, Error
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import MAX_BODY, UNAUTHENTICATED, Decoder, Frame, Limits, encode_body

RECEIVE_BYTES = 64 * 1024
"""Room for one recv; memory of 128 KiB and more would be mapped and unmapped by malloc each time."""
STALL_S = 30.0
"""How long a frame that has begun may pause, and how long the peer may take nothing of what is sent."""
_LONGEST_WAIT_S = 86400.0
"""`poll` takes no number of milliseconds of any size; nobody waits for longer than a day."""

RESEND_MS = 1000
"""The longest pause before what was not acknowledged is sent again, from Linux 6.15 on. Elsewhere pauses double, up
to two minutes: after a cut of 20 s, 7 s more were measured until a peer was heard, which is close to its death."""
_TCP_RTO_MAX_MS = 44

M = TypeVar("M", bound=Message)


class FrameStream:
    """Frames over one connected socket, which it owns."""

    def __init__(self, sock: socket.socket, limits: Limits = UNAUTHENTICATED) -> None:
        with contextlib.suppress(OSError):  # a peer that is gone already is found out at the first receive
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, RESEND_MS)  # last, as older systems do not know it
        sock.setblocking(False)
        self._sock = sock
        self._decoder = Decoder(limits)
        self._frames: deque[Frame] = deque()
        self._drained = True
        """Nothing has come, for all that is known, since the last bytes that were received."""
        self._readable = _poller(sock, select.POLLIN)
        self._writable = _poller(sock, select.POLLOUT)
        self.peer = _peer_name(sock)
        self.last_received_at = time.monotonic()
        """Monotonic instant of the last bytes from the peer."""

    def set_limits(self, limits: Limits) -> None:
        self._decoder.limits = limits

    @property
    def peer_host(self) -> str:
        return self.peer.rpartition(":")[0]

    # ── receiving ─────────────────────────────────────────────────────────────────────────────────

    def receive(self, timeout_s: float | None = None) -> Frame | None:
        """The next frame; None when the peer closed between two frames.

        Waits up to `timeout_s` (None: for ever) for a frame to begin, and STALL_S for it to go on.
        Raises ConnectionLost for a peer that is cut off, stalls or is too late, ProtocolError for bad bytes.
        """
        deadline_at = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._frames:
            data = self._receive_some(deadline_at)
            if not data:
                if self._decoder.mid_frame:
                    raise ConnectionLost(f"{self.peer} closed the connection in the middle of a frame")
                return None
            self._frames.extend(self._decoder.feed(data))
        return self._frames.popleft()

    @property
    def more_is_here(self) -> bool:
        """Whether the next message has been received already, whole."""
        return bool(self._frames) and not self._frames[0].more

    def receive_message(self, message: type[M], timeout_s: float) -> M:
        """The answer, as a `message`, which must begin within `timeout_s`. Raises also what `decode` does."""
        frame = self.receive(timeout_s)
        if frame is None:
            raise ConnectionLost(f"{self.peer} closed the connection without an answer")
        return decode(frame, self.receive_body(frame), message)

    def receive_body(self, first: Frame, limit: int = MAX_BODY) -> bytes:
        """The whole body that `first` begins, put together from its MORE frames, of at most `limit` bytes."""
        if not first.more:
            return first.payload
        body = bytearray()  # not a list of the frames, which may be a hundred million tiny ones
        for piece in self.receive_pieces(first, limit):
            body += piece
        return bytes(body)

    def receive_pieces(self, first: Frame, limit: int = MAX_BODY) -> Iterator[bytes]:
        """The body that `first` begins, frame by frame as it arrives."""
        frame, size = first, 0
        while True:
            size += len(frame.payload)
            if size > limit:
                raise FrameTooLarge(f"a body of more than {limit} bytes")
            yield frame.payload
            if not frame.more:
                return
            if not frame.payload:  # such a body would grow in frames, not in bytes, and so have no limit
                raise BadBody("an empty frame in the middle of a body")
            following = self.receive(STALL_S)
            if following is None:
                raise ConnectionLost(f"{self.peer} closed the connection in the middle of a body")
            if following.opcode != first.opcode:
                raise BadBody(f"opcode 0x{following.opcode:02x} inside a body of opcode 0x{first.opcode:02x}")
            frame = following

    def _receive_some(self, deadline_at: float | None) -> bytes:
        while True:
            if self._drained:  # to ask first, in vain nearly always, would be one more call
                self._wait_readable(deadline_at)
            try:
                data = self._sock.recv(RECEIVE_BYTES)
            except (BlockingIOError, InterruptedError):
                self._drained = True
            except OSError as error:
                raise self._lost(error) from None
            else:
                self._drained = len(data) < RECEIVE_BYTES
                if data:  # the end of the stream is no sign of life
                    self.last_received_at = time.monotonic()
                return data

    def _wait_readable(self, deadline_at: float | None) -> None:
        if self._decoder.mid_frame:
            stalled_at = time.monotonic() + STALL_S
            deadline_at = stalled_at if deadline_at is None else min(deadline_at, stalled_at)
        if not _wait(self._readable, deadline_at):
            raise ConnectionLost(f"{self.peer} sent nothing in time")

    # ── sending ───────────────────────────────────────────────────────────────────────────────────

    def send_bytes(self, data: bytes) -> None:
        """Send encoded frames. Raises ConnectionLost when the peer is gone or takes nothing for STALL_S."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._sock.send(view) :]
            except (BlockingIOError, InterruptedError):
                if not _wait(self._writable, time.monotonic() + STALL_S):
                    raise ConnectionLost(f"{self.peer} takes no data") from None
            except OSError as error:
                raise self._lost(error) from None

    def send_some(self, data: bytes) -> int:
        """Send what can be sent without waiting; how many bytes that were. Raises ConnectionLost."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._lost(error) from None

    def send(self, message: Message) -> None:
        """Send one message, as `encode` makes it."""
        self.send_bytes(encode(message))

    def _lost(self, error: OSError) -> ConnectionLost:
        return ConnectionLost(f"{self.peer}: {error.strerror or error}")

    def shut(self) -> None:
        """End the connection, from any thread; whoever is blocked on it is woken. `close` is still owed."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back. For the owner, once no other thread uses the stream:
        a descriptor closed under a thread that polls it may already be somebody else's."""
        self.shut()
        self._sock.close()


def encode(message: Message) -> bytes:
    """The frames of a message: under its own opcode, a reply that has none under DATA."""
    return encode_body(OPCODES.get(type(message), Opcode.DATA), message.encode())


def decode(frame: Frame, body: bytes, message: type[M]) -> M:
    """`body` as the message that is expected here; an ERROR frame is raised as the exception it stands for.

    Raises BadBody for any other opcode than the message's own, which is DATA for replies.
    """
    if frame.opcode == Opcode.ERROR:
        raise_error(body)
    if frame.opcode != OPCODES.get(message, Opcode.DATA):
        raise BadBody(f"opcode 0x{frame.opcode:02x} where {message.__name__} was expected")
    return message.decode(body)


def decode_any(frame: Frame, body: bytes) -> Message:
    """`body` as the message of the frame's opcode. Raises UnknownOpcode."""
    message = BODIES.get(frame.opcode)
    if message is None:
        raise UnknownOpcode(f"opcode 0x{frame.opcode:02x} is not one this side serves")
    return message.decode(body)


def raise_error(body: bytes) -> NoReturn:
    """Raise the exception that the body of an ERROR frame stands for."""
    error = Error.decode(body)
    raise from_code(error.code, error.message, dict(error.details))


def _poller(sock: socket.socket, event: int) -> select.poll:
    poller = select.poll()
    poller.register(sock, event)
    return poller


def _wait(poller: select.poll, deadline_at: float | None) -> bool:
    """Wait for the socket; whether it is ready (an error counts: the next call on it tells)."""
    if deadline_at is None:
        return bool(poller.poll())
    remaining_s = min(max(0.0, deadline_at - time.monotonic()), _LONGEST_WAIT_S)
    return bool(poller.poll(remaining_s * 1000))


def _peer_name(sock: socket.socket) -> str:
    try:
        host, port = sock.getpeername()[:2]
    except OSError:
        return "unknown:0"
    return f"{host}:{port}"
