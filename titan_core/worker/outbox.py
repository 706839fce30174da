"""Frames on their way to the master, between those who produce them and the session's writer.

One outbox per session; it ends with it, and what it still held is lost: whoever needs more than that
keeps the thing itself (results) or can read it again (logs). Small messages are always taken. Bulk waits
for room, so that a slow master costs neither memory nor, as logs are files, the jobs' time.
"""

from __future__ import annotations

import threading
import time

from titan_core.net.stream import encode
from titan_core.protocol.codec import Message

ROOM_BYTES = 1024 * 1024
"""Bulk is taken while less than this is queued."""


class Outbox:
    """Any thread may put; one thread, the writer, takes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._parts: list[bytes] = []
        self._size = 0
        self._closed = False
        self._sent = False
        """The writer has come back for more: what it took before is sent."""

    def put(self, message: Message) -> bool:
        """Queue one message; False when the session is over."""
        return self.put_bytes(encode(message))

    def put_bytes(self, frames: bytes) -> bool:
        """Queue encoded frames; False when the session is over."""
        with self._lock:
            self._add(frames)
            return not self._closed

    def put_bulk(self, frames: bytes) -> bool:
        """Queue encoded frames once there is room; False when the session is over, also while waiting."""
        with self._lock:
            while self._size >= ROOM_BYTES and not self._closed:
                self._emptied.wait()
            self._add(frames)
            return not self._closed

    def take(self) -> bytes:
        """Everything that is queued, as soon as there is something; empty when the session is over."""
        with self._lock:
            self._sent = True
            self._emptied.notify_all()
            while not self._parts and not self._closed:
                self._filled.wait()
            taken = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            self._sent = False
            self._emptied.notify_all()
            return taken

    def wait_until_sent(self, timeout_s: float) -> bool:
        """Wait until nothing is queued, or on its way into the socket; False when that takes longer."""
        until_at = time.monotonic() + timeout_s
        with self._lock:
            while (self._parts or not self._sent) and not self._closed and time.monotonic() < until_at:
                self._emptied.wait(until_at - time.monotonic())
            return self._sent and not self._parts and not self._closed

    def close(self) -> None:
        """The session is over: wake everyone, take nothing more."""
        with self._lock:
            self._closed = True
            self._parts.clear()
            self._filled.notify_all()
            self._emptied.notify_all()

    def _add(self, frames: bytes) -> None:
        if not self._closed:
            self._parts.append(frames)
            self._size += len(frames)
            self._filled.notify()
