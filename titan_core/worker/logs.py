"""From the output files of attempts to LOG_BATCH frames.

A job writes to its file and never waits for anybody. The follower reads what has been added, at most
every 100 ms, only while there is a session with room for it: what can not be sent yet stays in the file.
The slot's thread sends what is left when the job has ended, so that a result never precedes its log.
Batches carry byte offsets: sending the same bytes again does no harm, and after a lost session the
follower goes on from where the master is.

`LogFollower` owns two threads: one sends, one keeps the files within their limits, also when nothing can be
sent for days. Both sleep without a time-out while nothing runs, the first also while nobody listens. One
attempt's log is sent by one thread at a time (its lock). Knows nothing of processes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

from titan_core.lifecycle import Component
from titan_core.protocol.messages import LogBatch
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import encode_frame
from titan_core.worker.log_sinks import LogDatagrams
from titan_core.worker.outbox import Outbox
from titan_core.worker.output import NOTE_ROOM, OutputFile, cut_note

logger = logging.getLogger("titan.worker")

BATCH_S = 0.1
BATCH_LINES = 200
PIECE_BYTES = 256 * 1024
SERVICE_LOG_BYTES = 50 * 1024 * 1024
"""What is kept of a service's output: the last of it, as much as the master keeps."""
LEAST_LOG_BYTES = 256 * 1024
"""What a smaller log of an earlier attempt counts for, so that they do not become very many."""
LOOK_S = 0.1
"""How long a file is left alone while something is printed; what comes in that time may exceed its limit."""
QUIET_LOOK_S = 0.25
"""The same, while nothing is."""


Tell = Callable[[int, bytes], None]


class AttemptLog:
    """What one attempt has printed, up to `limit` bytes (of a service: SERVICE_LOG_BYTES), and how much was sent."""

    def __init__(
        self, path: str, token: bytes, limit: int, service: bool = False, tell: Tell = lambda offset, data: None
    ) -> None:
        """`tell(offset, data)` is called with each piece that was sent; must not wait."""
        self.path = path
        self._tell = tell
        self.token = token
        self.service = service
        self._output = OutputFile(path, 0, SERVICE_LOG_BYTES) if service else OutputFile(path, limit // 2, limit)
        self._lock = threading.Lock()
        self._offset = 0
        self._unreadable = False

    def create(self) -> int:
        """Make the file, empty; the descriptor that the process writes to, valid until `close`. Raises OSError."""
        if self.service:
            _make_room(self.path)
        return self._output.create()

    def trim(self) -> bool:
        """Keep the file within its limit; whether something was printed since the last call."""
        return self._output.trim()

    def end(self) -> None:
        """The process has ended: the file becomes the whole log."""
        self._output.finish()

    def send_some(self, outbox: Outbox) -> bool:
        """Send the next piece, waiting for room; whether there was one, and it was taken."""
        with self._lock:
            piece = self._read()
            return bool(piece) and self._send(outbox, *piece)

    def send_rest(self, outbox: Outbox) -> bool:
        """After `end`: send all that is left; False when the session was lost meanwhile. What can not be read is
        lost, and its job's result is not."""
        with self._lock:
            while piece := self._read():
                if not self._send(outbox, *piece):
                    return False
            return True

    def send_again(self, outbox: Outbox, offset: int) -> bool:
        """Send a log that was closed before, from `offset` on; as `send_rest`. One that can not be opened any more,
        or is something else by now, is lost like one that can not be read."""
        try:
            self._output.open()
            self.seek(offset)
            return self.send_rest(outbox)
        except OSError:
            return True
        finally:
            self.close()

    def seek(self, offset: int) -> None:
        """The master has the bytes before `offset`."""
        with self._lock:
            self._offset = offset

    def close(self) -> None:
        self._output.close()

    def _read(self) -> tuple[int, bytes] | tuple[()]:
        """The next piece: where it begins, and it; empty: there is none."""
        if self._unreadable:
            return ()
        try:
            start, data = self._output.read(self._offset, PIECE_BYTES)
        except OSError as error:
            self._unreadable = True
            logger.error("can not read %s: %s", self.path, error, extra={"action": "log.failed"})
            return ()
        if data and start > self._offset:
            start, data = _after_gap(self._offset, start, data)
        return (start, data) if data else ()

    def _send(self, outbox: Outbox, start: int, data: bytes) -> bool:
        if not outbox.put_bulk(_frames(self.token, start, data)):
            return False
        self._offset = start + len(data)
        self._tell(start, data)
        return True


class LogFollower(Component):
    """Sends what running attempts print, and logs that are owed from an earlier session."""

    def __init__(self, master_host: str = "") -> None:
        super().__init__("logs")
        self.datagrams = LogDatagrams(master_host)
        self._changed = threading.Condition()
        self._outbox: Outbox | None = None
        self._followed: dict[bytes, AttemptLog] = {}
        self._idle = False
        """The thread that sends has nothing to do."""
        self._owed: deque[tuple[AttemptLog, int, bytes]] = deque()
        self._running = threading.Event()
        """Something is followed, or was at the trimmer's last look."""

    def start(self) -> None:
        self.spawn("log-follower", self._run)
        self.spawn("log-trimmer", self._trim)

    def on_stop(self) -> None:
        with self._changed:
            self._running.set()
            self._changed.notify_all()
        self.datagrams.close()

    def follow(self, log: AttemptLog) -> None:
        with self._changed:
            self._followed[log.token] = log
            if self._idle:
                self._changed.notify_all()
            if not self._running.is_set():
                self._running.set()

    def finish(self, log: AttemptLog) -> Outbox | None:
        """The process has ended: send the rest, close the file. The session that was given all of it, if one was."""
        with self._changed:
            self._followed.pop(log.token, None)
            outbox = self._outbox
        try:
            log.end()
            return outbox if outbox is not None and log.send_rest(outbox) else None
        finally:
            log.close()

    def drop(self, log: AttemptLog) -> None:
        """Nobody wants the rest: close the file."""
        with self._changed:
            self._followed.pop(log.token, None)
        log.end()
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

    # ── the thread that sends ─────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while self._wait_for_work():
            while self._send_round():
                """While there is more."""

    def _send_round(self) -> bool:
        """A piece of each log in turn, so that a loud one does not silence the others; whether one had more."""
        with self._changed:
            outbox, followed = self._outbox, list(self._followed.values())
            owed = self._owed.popleft() if self._owed and outbox else None
        if outbox is None or self.stopping.is_set():
            return False
        if owed is not None:
            _send_owed(outbox, *owed)
        sent = [log.send_some(outbox) for log in followed]
        return owed is not None or any(sent)

    def _wait_for_work(self) -> bool:
        """Sleep while there is nothing to do, then until it is time for the next batch; False = stop."""
        with self._changed:
            while not self.stopping.is_set() and not (self._outbox and (self._followed or self._owed)):
                self._idle = True
                self._changed.wait()
            self._idle = False
            if not self._owed and not self.stopping.is_set():
                self._changed.wait(BATCH_S)
            return not self.stopping.is_set()

    # ── the thread that trims ─────────────────────────────────────────────────────────────────────

    def _trim(self) -> None:
        pause_s = LOOK_S
        while self._running.wait() and not self.stopping.wait(pause_s):
            with self._changed:
                followed = list(self._followed.values())
                if not followed and not self.stopping.is_set():  # after `on_stop`, nobody would set it again
                    self._running.clear()
            grown = [log.trim() for log in followed]
            pause_s = QUIET_LOOK_S if followed and not any(grown) else LOOK_S


def _send_owed(outbox: Outbox, log: AttemptLog, offset: int, then: bytes) -> None:
    if log.send_again(outbox, offset):
        outbox.put_bytes(then)


def _make_room(path: str) -> None:
    """Delete logs of earlier attempts of a service, oldest first, so that they are as much as one may be: a service
    that starts again and again does not fill the disk."""
    room = SERVICE_LOG_BYTES
    for log in sorted(Path(path).parent.glob("attempt-*.log"), key=_attempt_number, reverse=True):
        with contextlib.suppress(OSError):
            room -= max(log.lstat().st_size, LEAST_LOG_BYTES)
            if room < 0:
                log.unlink()


def _attempt_number(log: Path) -> int:
    number = log.stem.removeprefix("attempt-")
    return int(number) if number.isdecimal() else 0


def _after_gap(offset: int, start: int, data: bytes) -> tuple[int, bytes]:
    """`data`, which begins at `start`, with a note of what is missing since `offset`. The note takes the last of
    the missing bytes' places in the log, so that all others keep theirs."""
    behind = max(start, offset + NOTE_ROOM)
    note = cut_note(behind - offset)
    return behind - len(note), note + data[behind - start :]


def _frames(token: bytes, offset: int, piece: bytes) -> bytes:
    """LOG_BATCH frames for `piece`, which begins at `offset`: at most 200 lines each, or where there is more to send
    than a piece holds, all of it in one."""
    if len(piece) >= PIECE_BYTES:
        return _frame(token, offset, piece)
    frames = []
    start = 0
    while start < len(piece):
        stop = _batch_end(piece, start)
        frames.append(_frame(token, offset + start, piece[start:stop]))
        start = stop
    return b"".join(frames)


def _frame(token: bytes, offset: int, data: bytes) -> bytes:
    return encode_frame(Opcode.LOG_BATCH, LogBatch(token, offset, data).encode())


def _batch_end(piece: bytes, start: int) -> int:
    """Where the batch that begins at `start` ends: after 200 lines, or with the piece."""
    stop = start
    for _ in range(BATCH_LINES):
        stop = piece.find(b"\n", stop) + 1
        if not stop:
            return len(piece)
    return stop
