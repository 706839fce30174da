"""From the log files of attempts to LOG_BATCH frames.

A job writes to its file and never waits for anybody. The follower reads what has been added, at most
every 100 ms, only while there is a session with room for it: what can not be sent yet stays in the file.
The slot's thread sends what is left when the job has ended, so that a result never precedes its log.
Batches carry byte offsets: sending the same bytes again does no harm, and after a lost session the
follower goes on from where the master is.

`LogFollower` owns a thread, which sleeps without a time-out while nothing runs or nobody listens. One
attempt's log is read by one thread at a time (its lock). Knows nothing of processes.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque

from titan_core.lifecycle import Component
from titan_core.protocol.messages import LogBatch
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import encode_frame
from titan_core.worker.outbox import Outbox

BATCH_S = 0.1
BATCH_LINES = 200
PIECE_BYTES = 256 * 1024


class AttemptLog:
    """What one attempt has printed: the file, and how much of it has been sent."""

    def __init__(self, path: str, token: bytes, limit: int) -> None:
        self.path = path
        self.token = token
        self._limit = limit
        self._lock = threading.Lock()
        self._file = -1
        self._offset = 0
        self._cut = False

    def create(self) -> int:
        """Make the file, empty; the descriptor that the process writes to, valid until `close`. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o644)
        return self._file

    def send_some(self, outbox: Outbox) -> bool:
        """Send the next piece, waiting for room; whether there was one, and it was taken."""
        with self._lock:
            piece = self._read()
            if not piece or not outbox.put_bulk(_frames(self.token, self._offset, piece)):
                return False
            self._offset += len(piece)
            return True

    def send_rest(self, outbox: Outbox) -> bool:
        """The process has ended: send all that is left; False when the session was lost meanwhile."""
        size = self._final_size()
        while self._offset < size and self.send_some(outbox):
            """One piece after the other."""
        return self._offset >= size

    def send_again(self, outbox: Outbox, offset: int) -> bool:
        """Send a log that was closed before, from `offset` on; as `send_rest`. One that can not be opened any more,
        or is something else by now, is lost, and its job's result is not."""
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return True
        try:
            self.seek(offset)
            return self.send_rest(outbox)
        finally:
            self.close()

    def seek(self, offset: int) -> None:
        """The master has the bytes before `offset`."""
        with self._lock:
            self._offset = offset

    def close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _read(self) -> bytes:
        if self._file < 0:
            return b""
        left = self._limit - self._offset
        if left <= 0:
            self._cut_off()
            return b""
        return os.pread(self._file, min(PIECE_BYTES, left), self._offset)

    def _cut_off(self) -> None:
        """What lies beyond the limit is dropped; the process, which appends, goes on at the new end."""
        if os.fstat(self._file).st_size > self._limit:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._limit)
            self._cut = True

    def _final_size(self) -> int:
        """Nobody writes any more. If something was dropped, the log says so at its end."""
        with self._lock:
            if self._file < 0:
                return self._offset
            size = os.fstat(self._file).st_size
            if not self._cut and size <= self._limit:
                return size
            self._cut_off()
            note = f"\n[titan: the output went on; only the first {self._limit} bytes of it are kept]\n".encode()
            with contextlib.suppress(OSError):
                self._limit += os.write(self._file, note)
            self._cut = False
            return self._limit


class LogFollower(Component):
    """Sends what running attempts print, and logs that are owed from an earlier session."""

    def __init__(self) -> None:
        super().__init__("logs")
        self._changed = threading.Condition()
        self._outbox: Outbox | None = None
        self._followed: dict[bytes, AttemptLog] = {}
        self._owed: deque[tuple[AttemptLog, int, bytes]] = deque()

    def start(self) -> None:
        self.spawn("log-follower", self._run)

    def on_stop(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def follow(self, log: AttemptLog) -> None:
        with self._changed:
            self._followed[log.token] = log
            if len(self._followed) == 1:
                self._changed.notify_all()

    def finish(self, log: AttemptLog) -> Outbox | None:
        """The process has ended: send the rest, close the file. The session that was given all of it, if one was."""
        with self._changed:
            self._followed.pop(log.token, None)
            outbox = self._outbox
        try:
            return outbox if outbox is not None and log.send_rest(outbox) else None
        finally:
            log.close()

    def drop(self, log: AttemptLog) -> None:
        """Nobody wants the rest: close the file."""
        with self._changed:
            self._followed.pop(log.token, None)
        log.close()

    def owe(self, log: AttemptLog, offset: int, then: bytes) -> None:
        """Send a closed log from `offset`, and after it the frames in `then`. Forgotten with the session."""
        with self._changed:
            self._owed.append((log, offset, then))
            self._changed.notify_all()

    def seek(self, token: bytes, offset: int) -> None:
        """A running attempt was adopted: the master has so much of its log."""
        with self._changed:
            log = self._followed.get(token)
        if log is not None:
            log.seek(offset)

    def attach(self, outbox: Outbox) -> None:
        """A session has begun."""
        with self._changed:
            self._outbox = outbox
            self._changed.notify_all()

    def detach(self) -> None:
        """The session is over."""
        with self._changed:
            self._outbox = None
            self._owed.clear()

    # ── its thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while self._wait_for_work():
            with self._changed:
                outbox, followed = self._outbox, list(self._followed.values())
                owed = self._owed.popleft() if self._owed else None
            if outbox is None:
                continue
            if owed is not None:
                _send_owed(outbox, *owed)
            while followed:  # a piece of each in turn, so that a loud one does not silence the others
                followed = [log for log in followed if log.send_some(outbox)]

    def _wait_for_work(self) -> bool:
        """Sleep while there is nothing to do, then until it is time for the next batch; False = stop."""
        with self._changed:
            while not self.stopping.is_set() and not (self._outbox and (self._followed or self._owed)):
                self._changed.wait()
            if not self._owed and not self.stopping.is_set():
                self._changed.wait(BATCH_S)
            return not self.stopping.is_set()


def _send_owed(outbox: Outbox, log: AttemptLog, offset: int, then: bytes) -> None:
    if log.send_again(outbox, offset) and then:
        outbox.put_bytes(then)


def _frames(token: bytes, offset: int, piece: bytes) -> bytes:
    """LOG_BATCH frames for `piece`, which begins at `offset`: at most 200 lines each."""
    frames = []
    start = 0
    while start < len(piece):
        stop = _batch_end(piece, start)
        frames.append(encode_frame(Opcode.LOG_BATCH, LogBatch(token, offset + start, piece[start:stop]).encode()))
        start = stop
    return b"".join(frames)


def _batch_end(piece: bytes, start: int) -> int:
    """Where the batch that begins at `start` ends: after 200 lines, or with the piece."""
    stop = start
    for _ in range(BATCH_LINES):
        stop = piece.find(b"\n", stop) + 1
        if not stop:
            return len(piece)
    return stop
