"""The live connection to a worker: an outbox, a thread that empties it, and what the frames say.

The engine puts actions into the outbox under its lock; they are turned into frames outside it, by the
writer thread, many to one `sendall`. A worker that does not take its frames loses the session, never a
frame: it registers again, and both sides compare what they know.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from titan_core.errors import ConnectionLost
from titan_core.lifecycle import Component
from titan_core.master.logs import LogName, LogStore
from titan_core.net.stream import FrameStream, encode
from titan_core.protocol import messages
from titan_core.protocol.codec import Message
from titan_core.scheduler.actions import (
    AcceptWorker,
    AcknowledgeResult,
    Action,
    ShutDownWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.model import Attempt

log = logging.getLogger("titan.master")

OUTBOX_LIMIT = 50_000
"""Actions that may wait for a slow worker; a worker has few slots, so that many mean that it is stuck."""
KNOWN_ATTEMPTS = 10_000
"""Attempts a session remembers the log of; more than can be in flight."""

_numbers = itertools.count(1)


class Timing(NamedTuple):
    heartbeat_s: float
    death_s: float


class Session(Component):
    """One session of one worker, from registration to the end of the connection."""

    def __init__(self, worker_id: str, stream: FrameStream, logs: LogStore, timing: Timing) -> None:
        super().__init__(f"session-{worker_id}")
        self.number = next(_numbers)
        self.worker_id = worker_id
        self.stream = stream
        self.load = messages.Heartbeat()
        """What the worker last said of its load."""
        self._logs = logs
        self._timing = timing
        self._outbox: list[Action | Message] = []
        self._filled = threading.Condition()
        self._known: OrderedDict[bytes, LogName] = OrderedDict()

    # ── sending ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        self.spawn(f"writer-{self.worker_id}", self._write)

    def put(self, item: Action | Message) -> None:
        """Have it sent, after all that was put before. Called under the engine's lock; never blocks."""
        if isinstance(item, StartAttempt):
            self.know([item.attempt])
        with self._filled:
            self._outbox.append(item)
            overfull = len(self._outbox) > OUTBOX_LIMIT
            self._filled.notify()
        if overfull:
            self.end("it does not take its frames")

    def end(self, reason: str) -> None:
        """End the session; the thread that reads from it does the rest."""
        if not self.stopping.is_set():
            log.info("session with %s ends: %s", self.worker_id, reason, extra={"action": "session.ended"})
        self.stop()

    def on_stop(self) -> None:
        self.stream.shut()
        with self._filled:
            self._filled.notify_all()

    def _write(self) -> None:
        try:
            while (items := self._take()) is not None:
                self.stream.send_bytes(b"".join(map(self._frame, items)))
        except ConnectionLost as error:
            self.end(str(error))

    def _take(self) -> list[Action | Message] | None:
        """All that waits to be sent; None at the end."""
        with self._filled:
            while not self._outbox and not self.stopping.is_set():
                self._filled.wait()
            items, self._outbox = self._outbox, []
        return None if self.stopping.is_set() else items

    def _frame(self, item: Action | Message) -> bytes:
        if isinstance(item, AcceptWorker):
            return encode(self._welcome(item))
        return encode(item if isinstance(item, Message) else _MESSAGES[type(item)](item))

    def _welcome(self, action: AcceptWorker) -> messages.Registered:
        positions = [
            messages.LogPosition(attempt.token, self._logs.size(log_name(attempt))) for attempt in action.adopted
        ]
        return messages.Registered(self.worker_id, *self._timing, tuple(positions))

    # ── what is known of the attempts ─────────────────────────────────────────────────────────────

    def know(self, attempts: Iterable[Attempt]) -> None:
        """Logs of these attempts may come over this session. Called under the engine's lock."""
        for attempt in attempts:
            self._known[attempt.token] = log_name(attempt)
        while len(self._known) > KNOWN_ATTEMPTS:
            self._known.popitem(last=False)

    def set_load(self, load: messages.Heartbeat) -> None:
        self.load = load

    def keep_log(self, batch: messages.LogBatch) -> None:
        """Store what an attempt printed; a batch of an attempt that is not known is dropped."""
        name = self._known.get(batch.token)
        if name is not None:
            self._logs.append(name, batch.offset, batch.data)


def log_name(attempt: Attempt) -> LogName:
    return LogName(attempt.job.run.run_id, attempt.job.job_id, attempt.number)


def _start(action: StartAttempt) -> Message:
    attempt, spec = action.attempt, action.attempt.job.spec
    return messages.StartAttempt(
        attempt.token, attempt.job.run.run_id, spec.job_id, attempt.number, spec.task, spec.service
    )


_MESSAGES: dict[type, Callable[..., Message]] = {
    StartAttempt: _start,
    StopAttempt: lambda action: messages.StopAttempt(action.token, action.reason),
    AcknowledgeResult: lambda action: messages.ResultAck((action.token,)),
    ShutDownWorker: lambda action: messages.Shutdown(),
}
