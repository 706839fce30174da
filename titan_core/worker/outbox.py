"""Frames on their way to the master: sent at once by those who produce them, as far as the connection takes them
without waiting, and by the session's writer where it does not.

One outbox per session; it ends with it, and what it still held is lost: whoever needs more than that
keeps the thing itself (results) or can read it again (logs). Small messages are always taken. Bulk waits
for room, so that a slow master costs neither memory nor, as logs are files, the jobs' time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from titan_core.net.stream import encode
from titan_core.protocol.codec import Message
from titan_core.worker.turn import TURN

ROOM_BYTES = 1024 * 1024
"""Bulk is taken while less than this is queued."""


class Outbox:
    """Any thread may put; one thread, the writer, takes what `send_some(frames)`, which says how many bytes it has
    sent and must not wait, has left. One thread at a time sends, the others only add."""

    def __init__(self, send_some: Callable[[bytes], int] = lambda frames: 0) -> None:
        self._send_some = send_some
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._parts: list[bytes] = []
        self._size = 0
        self._closed = False
        self._sending = False
        """Somebody has taken frames, and is not back yet …"""
        self._writer_sends = False
        """… which is the writer."""

    def put(self, message: Message) -> bool:
        """Send, or queue, one message; False when the session is over."""
        return self.put_bytes(encode(message))

    def add(self, message: Message) -> None:
        """Queue one message, which is not sent before `flush`, or the next that is put."""
        with self._lock:
            if not self._closed:
                self._queue(encode(message))

    def flush(self) -> None:
        """Send, or have sent, what is queued."""
        with self._lock:
            self._send_queue()

    def put_bytes(self, frames: bytes) -> bool:
        """Send, or queue, encoded frames; False when the session is over."""
        with self._lock:
            return self._put(frames)

    def put_bulk(self, frames: bytes) -> bool:
        """The same, once there is room; False when the session is over, also while waiting."""
        if self._size >= ROOM_BYTES:
            with TURN.away(), self._lock:
                while self._size >= ROOM_BYTES and not self._closed:
                    self._emptied.wait()
        return self.put_bytes(frames)

    def take(self) -> bytes:
        """Everything that is queued, as soon as there is something; empty when the session is over."""
        with self._lock:
            if self._writer_sends:
                self._writer_sends = False
                self._let_go()
            while (self._sending or not self._parts) and not self._closed:
                self._filled.wait()
            if self._closed:
                return b""
            self._writer_sends = True
            return self._claim()

    def wait_until_sent(self, timeout_s: float) -> bool:
        """Wait until nothing is queued, or on its way into the socket; False when that takes longer."""
        until_at = time.monotonic() + timeout_s
        with self._lock:
            while (self._parts or self._sending) and not self._closed and time.monotonic() < until_at:
                self._emptied.wait(until_at - time.monotonic())
            return not (self._parts or self._sending or self._closed)

    def close(self) -> None:
        """The session is over: wake everyone, take nothing more."""
        with self._lock:
            self._closed = True
            self._parts.clear()
            self._filled.notify_all()
            self._emptied.notify_all()

    def wait_until_let_go(self) -> None:
        """After `close`: until nobody but the writer is about to send."""
        with self._lock:
            while self._sending and not self._writer_sends:
                self._emptied.wait()

    # ── holding the lock ──────────────────────────────────────────────────────────────────────────

    def _put(self, frames: bytes) -> bool:
        if self._closed:
            return False
        self._queue(frames)
        self._send_queue()
        return not self._closed

    def _queue(self, frames: bytes) -> None:
        self._parts.append(frames)
        self._size += len(frames)

    def _send_queue(self) -> None:
        while self._parts and not self._sending and self._send(self._claim()):
            """While others have added something meanwhile."""

    def _send(self, frames: bytes) -> bool:
        """Let the lock go to send them; whether all were. The writer is called for the rest."""
        self._lock.release()
        sent = 0
        try:
            sent = self._send_some(frames)
        finally:
            self._lock.acquire()
            self._let_go()
        if sent < len(frames) and not self._closed:
            self._parts.insert(0, frames[sent:])
            self._size += len(frames) - sent
            self._filled.notify()
        return sent == len(frames)

    def _claim(self) -> bytes:
        self._sending = bool(self._parts)
        frames = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return frames

    def _let_go(self) -> None:
        self._sending = False
        self._emptied.notify_all()
