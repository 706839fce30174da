"""The live connection to a worker: an outbox, who empties it, and what the frames say.

The engine puts actions into the outbox under its lock, each with the ticket of its step; once that is
on disk the store's thread turns them into frames, and sends what the connection takes without waiting.
The writer thread sends what it does not take, and what waits for no disk, such as greetings: a worker
is to know that the master is there. One of them at a time sends. A worker that does not take its frames
loses the session, never a frame: it registers again, and both sides compare what they know.
"""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from titan_core.errors import ConnectionLost
from titan_core.failpoints import reach
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
    SpawnWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.model import Attempt
from titan_core.store.durability import Durability

log = logging.getLogger("titan.master")

OUTBOX_LIMIT = 50_000
"""Actions that may wait for a slow worker; a worker has few slots, so that many mean that it is stuck."""

_numbers = itertools.count(1)


class Timing(NamedTuple):
    heartbeat_s: float
    death_s: float


class Identity(NamedTuple):
    """Which master this is, for its workers."""

    cluster: bytes
    term: int


class Session(Component):
    """One session of one worker, from registration to the end of the connection."""

    def __init__(
        self,
        worker_id: str,
        stream: FrameStream,
        logs: LogStore,
        timing: Timing,
        identity: Identity,
        store: Durability,
    ) -> None:
        super().__init__(f"session-{worker_id}")
        self.number = next(_numbers)
        self.worker_id = worker_id
        self.stream = stream
        self.load = messages.Heartbeat()
        """What the worker last said of its load …"""
        self.usage: dict[bytes, messages.ServiceUsage] = {}
        """… and of what its services take, by token."""
        self._logs = logs
        self._timing = timing
        self._identity = identity
        self._store = store
        self._outbox: deque[tuple[int, Action | Message]] = deque()
        """Each behind its ticket."""
        self._awaited = False
        """The store is asked to call when the first of them is on disk."""
        self._greetings: list[Message] = []
        self._rest = b""
        """Of frames of which the connection has taken a part."""
        self._sending = False
        """Somebody has taken something, and is not back yet."""
        self._welcomed = False
        """The answer to the registration, which comes first, was sent."""
        self._filled = threading.Condition()
        self._known: dict[bytes, tuple[LogName, bool]] = {}
        """By token: its log, and whether that is a service's."""
        self._owed: dict[bytes, LogName] = {}
        """By token: logs of attempts that were over before the session, to be sent now, each before its result."""

    # ── sending ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        self.spawn(f"writer-{self.worker_id}", self._write)

    def put(self, item: Action | Message, ticket: int) -> None:
        """Have it sent, after all that was put before, once the step of this ticket is on disk. Never blocks.
        Actions are put under the engine's lock."""
        if isinstance(item, StartAttempt):
            self.know([item.attempt])
        elif isinstance(item, AcknowledgeResult):
            self._is_acknowledged(item.token)
        with self._filled:
            self._outbox.append((ticket, item))
            overfull = len(self._outbox) > OUTBOX_LIMIT
        self._await_disk()
        if overfull:
            self.end("it does not take its frames")

    def greet(self) -> None:
        """Send a HEARTBEAT, also while the disk takes nothing."""
        with self._filled:
            self._greetings.append(messages.Heartbeat())
            self._filled.notify()

    def kill(self, tokens: tuple[bytes, ...], ticket: int) -> None:
        """Have the worker end and forget these attempts. This waits for the disk, as one may just have ended: until
        its result is written here, it is in the worker's journal alone."""
        self.put(messages.Heartbeat(kill=tokens), ticket)

    def end(self, reason: str) -> None:
        """End the session; the thread that reads from it does the rest."""
        if not self.stopping.is_set():
            log.info("session with %s ends: %s", self.worker_id, reason, extra={"action": "session.ended"})
        self.stop()

    def on_stop(self) -> None:
        self.stream.shut()
        with self._filled:
            self._filled.notify_all()

    def join(self, timeout_s: float) -> bool:
        """Also for the store's thread, should it be about to send."""
        until_at = time.monotonic() + timeout_s
        joined = super().join(timeout_s)
        with self._filled:
            return self._filled.wait_for(lambda: not self._sending, max(0.0, until_at - time.monotonic())) and joined

    def _await_disk(self) -> None:
        """Have the first that waits sent as soon as it may be."""
        with self._filled:
            if self._awaited or not self._outbox:
                return
            self._awaited, ticket = True, self._outbox[0][0]
        # The store is not to keep a session that has ended, while its disk takes nothing.
        if not self._store.tell(ticket, functools.partial(_flush, weakref.ref(self))):
            with self._filled:
                self._awaited = False
                self._filled.notify()

    def flush(self) -> None:
        """Send what has come to be on disk; called by the store's thread."""
        with self._filled:
            self._awaited = False
            if self._sending or self._rest or not self._welcomed or self.stopping.is_set():
                self._filled.notify()  # the writer does it
                return
            items = self._claim()
        self._send(b"", items, self.stream.send_some)

    def _write(self) -> None:
        while not self.stopping.is_set():
            with self._filled:
                while self._sending or not self._has_something():
                    if self.stopping.is_set():
                        return
                    self._filled.wait()
                rest, items = self._rest, self._claim()
            self._send(rest, items, self._send_all)

    def _send_all(self, frames: bytes) -> int:
        self.stream.send_bytes(frames)
        return len(frames)

    def _has_something(self) -> bool:
        return bool(self._rest or self._greetings) or self._is_due()

    def _is_due(self) -> bool:
        return bool(self._outbox) and self._outbox[0][0] <= self._store.committed

    def _claim(self) -> list[Action | Message]:
        """What may be sent now; nobody else sends until `_let_go`. Holding the lock."""
        self._sending = True
        items: list[Action | Message] = [*self._greetings] if self._welcomed else []
        self._greetings.clear()
        while self._is_due():
            items.append(self._outbox.popleft()[1])
        return items

    def _let_go(self, rest: bytes) -> None:
        with self._filled:
            self._rest, self._sending = rest, False
            if self._has_something() or self.stopping.is_set():
                self._filled.notify_all()
        self._await_disk()

    def _send(self, rest: bytes, items: list[Action | Message], send: Callable[[bytes], int]) -> None:
        kinds = set(map(type, items))
        try:
            if StartAttempt in kinds:
                reach("master.before_send")
            if AcknowledgeResult in kinds:
                reach("master.before_ack")
            frames = rest + b"".join(map(self._frame, _in_few(items)))
            rest = frames[send(frames) :]
            self._welcomed = self._welcomed or bool(items)
            if StartAttempt in kinds:
                reach("master.after_send")
        except ConnectionLost as error:
            self.end(str(error))
        except Exception:
            log.exception("the session with %s is at fault", self.worker_id, extra={"action": "session.defect"})
            self.end("a defect of the master")
        finally:
            self._let_go(rest)

    def _frame(self, item: Action | Message) -> bytes:
        if isinstance(item, AcceptWorker):
            return encode(self._welcome(item))
        return encode(item if isinstance(item, Message) else _MESSAGES[type(item)](item))

    def _welcome(self, action: AcceptWorker) -> messages.Registered:
        positions = [
            messages.LogPosition(attempt.token, self._logs.size(log_name(attempt))) for attempt in action.adopted
        ]
        return messages.Registered(self.worker_id, *self._timing, tuple(positions), *self._identity)

    # ── what is known of the attempts ─────────────────────────────────────────────────────────────

    def know(self, attempts: Iterable[Attempt]) -> None:
        """Logs of these attempts may come over this session. Called under the engine's lock."""
        for attempt in attempts:
            self._known[attempt.token] = log_name(attempt), attempt.job.spec.service

    def expect_logs(self, tokens: Iterable[bytes]) -> None:
        """The registration named these results. Called under the engine's lock, before they count."""
        for token in tokens:
            if token in self._known:
                self._owed[token] = self._known[token][0]
                self._logs.await_rest(self._owed[token])

    def log_is_whole(self, token: bytes) -> None:
        """The result of this attempt came, and so has all of its log."""
        name = self._owed.pop(token, None)
        if name is not None:
            self._known.pop(token, None)
            self._logs.rest_is_here(name)

    def expect_no_more(self) -> None:
        """The session is over."""
        for token in list(self._owed):
            self.log_is_whole(token)

    def _is_acknowledged(self, token: bytes) -> None:
        """Its log came before its result; but for one whose result was told in the registration."""
        if token not in self._owed:
            self._known.pop(token, None)

    def set_load(self, load: messages.Heartbeat) -> None:
        self.load = load
        self.usage = {usage.token: usage for usage in load.usage}

    def keep_log(self, batch: messages.LogBatch) -> None:
        """Store what an attempt printed; a batch of an attempt that is not known is dropped."""
        known = self._known.get(batch.token)
        if known is not None:
            name, service = known
            self._logs.append(name, batch.offset, batch.data, rotate=service)


def _flush(session: weakref.ref[Session]) -> None:
    alive = session()
    if alive is not None:
        alive.flush()


def _in_few(items: list[Action | Message]) -> list[Action | Message]:
    """The same, with one message for all that is acknowledged, in the place of the first."""
    tokens = tuple(item.token for item in items if isinstance(item, AcknowledgeResult))
    if len(tokens) < 2:
        return items
    first = next(place for place, item in enumerate(items) if isinstance(item, AcknowledgeResult))
    others = [item for item in items[first:] if not isinstance(item, AcknowledgeResult)]
    return [*items[:first], messages.ResultAck(tokens), *others]


def log_name(attempt: Attempt) -> LogName:
    return LogName(attempt.job.run.run_id, attempt.job.job_id, attempt.number)


def _start(action: StartAttempt) -> Message:
    attempt, spec, run = action.attempt, action.attempt.job.spec, action.attempt.job.run
    return messages.StartAttempt(
        attempt.token,
        run.run_id,
        spec.job_id,
        attempt.number,
        spec.task,
        spec.service,
        action.services,
        run.variables,
    )


_MESSAGES: dict[type, Callable[..., Message]] = {
    StartAttempt: _start,
    StopAttempt: lambda action: messages.StopAttempt(action.token, action.reason),
    AcknowledgeResult: lambda action: messages.ResultAck((action.token,)),
    ShutDownWorker: lambda action: messages.Shutdown(),
    SpawnWorker: lambda action: messages.SpawnWorker(action.port, action.capabilities, action.ephemeral),
}
