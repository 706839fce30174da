"""The session with the master: dialled by the worker, kept up, and dialled again when it breaks.

    link-reader   dials · registers · reads orders ─▶ Foreman
    link-writer   what could not be sent at once ─▶ as many frames in one send as there are
    link-beat     a HEARTBEAT every `heartbeat_s`

The reader lives as long as the link, the other two as long as one session. A master that does not answer
is tried again with jittered backoff, for ever. A master that refuses (the token is wrong, or another
worker has this name) has decided: the link ends, and its owner is told why. One that is older than
another of the same cluster that was obeyed before (see terms) is left, and dialled again. Silence for
`death_s` ends a session, like a broken connection does.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable

from titan_core.errors import ConnectionLost, ProtocolError, TitanError, UnknownOpcode
from titan_core.failpoints import reach
from titan_core.lifecycle import Component
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream, decode, decode_any
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import (
    Error,
    ForgetRuns,
    Goodbye,
    Heartbeat,
    LogSinks,
    Register,
    Registered,
    ResultAck,
    Shutdown,
    SpawnWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.worker.foreman import Foreman
from titan_core.worker.outbox import Outbox
from titan_core.worker.results import Results
from titan_core.worker.terms import Terms

log = logging.getLogger("titan.worker")

REGISTER_TIMEOUT_S = 15.0
MAX_INTERVAL_S = 86_400.0
"""The longest that settings of a master allow."""


class Link(Component):
    """Connects `foreman` to the master at (host, port).

    `on_refused(error)` is called, once, when the master wants nothing of this worker; `on_shutdown` when
    it asks the worker to stop. Both on the reader's thread.
    """

    def __init__(
        self,
        master: tuple[str, int],
        token: str,
        foreman: Foreman,
        results: Results,
        terms: Terms,
        on_refused: Callable[[TitanError], None],
        on_shutdown: Callable[[], None],
        backoff_s: tuple[float, float],
    ) -> None:
        super().__init__("link")
        self._master = master
        self._token = token
        self._foreman = foreman
        self._terms = terms
        self._on_refused = on_refused
        self._backoff = Backoff(*backoff_s)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        """Notified of changes of the next four, and of the stop."""
        self._registering = False
        """The master may take this worker for a registered one, and there is no session yet."""
        self._session: _Session | None = None
        self._dismissed = False
        """The master has answered the goodbye of this session."""
        self._left = False
        """Nobody waits for what further sessions would bring."""
        self._said = ""
        self._leaving = False
        self._alone_since = time.monotonic()
        self._orders: dict[type[Message], Callable[..., object]] = {
            StartAttempt: foreman.on_start,
            StopAttempt: foreman.on_stop,
            ResultAck: lambda ack: results.acknowledge(ack.tokens),
            Heartbeat: foreman.on_heartbeat,
            ForgetRuns: foreman.on_forget,
            SpawnWorker: foreman.on_spawn,
            LogSinks: foreman.on_log_sinks,
            Goodbye: lambda goodbye: self._on_dismissed(),
            Shutdown: lambda shutdown: on_shutdown(),
            Error: lambda error: log.error("the master says: %s", error.message, extra={"action": "link.error"}),
        }

    def start(self) -> None:
        self.spawn("link-reader", self._keep_connected)

    def on_stop(self) -> None:
        with self._lock:
            if self._session is not None:
                self._session.stream.shut()
            self._changed.notify_all()

    @property
    def connected(self) -> bool:
        """Whether there is a session; registered, and not known to be lost."""
        return self._session is not None

    def alone_s(self) -> float:
        """For how long there has been no session; 0 = there is one."""
        return 0.0 if self.connected else time.monotonic() - self._alone_since

    def send(self, message: Message) -> bool:
        """Queue a message for the session; False when there is none."""
        session = self._session
        return session is not None and session.outbox.put(message)

    def say_goodbye(self) -> None:
        """Tell the master, also in sessions to come, that this worker takes no more work."""
        self._leaving = True
        self.send(Goodbye())

    def wait_until_dismissed(self, timeout_s: float) -> bool:
        """After `say_goodbye`: wait until the master has answered, so that all it sent was obeyed. False when that
        takes longer, or there is no session. None begins from then on."""
        until_at = time.monotonic() + timeout_s
        with self._lock:
            while (
                not self._dismissed
                and (self._session is not None or self._registering)
                and not self.stopping.is_set()
                and time.monotonic() < until_at
            ):
                self._changed.wait(until_at - time.monotonic())
            self._left = True
            return self._dismissed

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything queued is sent; False when that takes longer, or the session is over."""
        session = self._session
        return session is not None and session.outbox.wait_until_sent(timeout_s)

    # ── the reader's thread ───────────────────────────────────────────────────────────────────────

    def _keep_connected(self) -> None:
        while not self._over():
            try:
                self._hold_session()
            except TitanError as error:
                if self._over():
                    return
                if not error.retryable:
                    self._on_refused(error)
                    return
                self._say_once(f"{error}; trying again")
                self.stopping.wait(self._backoff.next_s())

    def _hold_session(self) -> None:
        """One session from the dialling to its end, which is always an error: what the master refuses with,
        or a retryable one."""
        stream = dial(*self._master, self._token, role="worker")
        try:
            session = self._register(stream)
            self._backoff.reset()
            try:
                self._read_orders(session)
            except (ConnectionLost, ProtocolError) as error:
                raise ConnectionLost(f"the connection to the master is lost: {error}") from None
            finally:
                self._end(session)
        finally:
            stream.close()

    def _register(self, stream: FrameStream) -> _Session:
        with self._lock:
            if self._left:
                raise ConnectionLost("this worker is stopping")
            self._registering, self._dismissed = True, False
        try:
            introduction = self._foreman.introduction()
            reach("worker.before_register")
            stream.send(introduction)
            registered = _answer(stream)
            self._terms.check(registered.cluster, registered.term)
            self._say_once(f"registered with the master at {stream.peer} as {registered.worker_id}")
            return self._begin(stream, introduction, registered)
        finally:
            with self._lock:
                self._registering = False
                self._changed.notify_all()

    def _begin(self, stream: FrameStream, introduction: Register, registered: Registered) -> _Session:
        session = _Session(stream, registered)
        with self._lock:
            self._session = session
            if self.stopping.is_set():
                stream.shut()
        self.spawn("link-writer", session.write)
        self.spawn("link-beat", session.beat, self._foreman.beat)
        self._foreman.on_registered(introduction, registered, session.outbox)
        if self._leaving:
            session.outbox.put(Goodbye())
        return session

    def _read_orders(self, session: _Session) -> None:
        stream = session.stream
        while (frame := stream.receive(session.death_s)) is not None:
            with contextlib.suppress(UnknownOpcode):  # a newer master may say more than this worker knows
                message = decode_any(frame, stream.receive_body(frame))
                order = self._orders.get(type(message))
                if order is not None:
                    order(message)
        raise ConnectionLost("the master closed it")

    def _end(self, session: _Session) -> None:
        with self._lock:
            self._alone_since = time.monotonic()
            self._session = None
            self._changed.notify_all()
        session.end()
        self._foreman.on_session_lost()

    def _on_dismissed(self) -> None:
        with self._lock:
            self._dismissed = True
            self._changed.notify_all()

    def _over(self) -> bool:
        return self._left or self.stopping.is_set()

    def _say_once(self, sentence: str) -> None:
        """Log what has changed; not every attempt to connect."""
        if sentence != self._said:
            self._said = sentence
            log.info("%s", sentence, extra={"action": "link.changed"})


def _answer(stream: FrameStream) -> Registered:
    """What the master says to the registration. Raises what it refuses with, and ConnectionLost for what makes no
    sense: it has proved that it knows the token, so that it is worth another try."""
    try:
        frame = stream.receive(REGISTER_TIMEOUT_S)
        if frame is None:
            raise ConnectionLost(f"{stream.peer} closed the connection instead of registering this worker")
        registered = decode(frame, stream.receive_body(frame), Registered)
    except ProtocolError as error:
        raise ConnectionLost(f"{stream.peer} did not answer the registration: {error}") from None
    for interval_s in (registered.heartbeat_s, registered.death_s):
        if not 0 < interval_s <= MAX_INTERVAL_S:
            raise ConnectionLost(f"{stream.peer} asks for heartbeats that nobody can keep to: every {interval_s:g} s")
    return registered


class _Session:
    """One registered connection, and the two threads that send on it."""

    def __init__(self, stream: FrameStream, registered: Registered) -> None:
        self.stream = stream
        self.outbox = Outbox(self._send_some)
        self.death_s = registered.death_s
        self._heartbeat_s = registered.heartbeat_s
        self._over = threading.Event()
        self._written = threading.Event()

    def write(self) -> None:
        try:
            while data := self.outbox.take():
                self.stream.send_bytes(data)
        except ConnectionLost:
            self.stream.shut()  # the reader finds out, and ends the session
        finally:
            self.outbox.close()
            self._written.set()

    def _send_some(self, frames: bytes) -> int:
        try:
            return self.stream.send_some(frames)
        except ConnectionLost:
            self.outbox.close()
            self.stream.shut()  # as above
            return 0

    def beat(self, heartbeat: Callable[[], Heartbeat]) -> None:
        while not self._over.wait(self._heartbeat_s):
            self.outbox.put(heartbeat())

    def end(self) -> None:
        """Called by the reader: nothing uses the stream afterwards, it may be closed."""
        self._over.set()
        self.outbox.close()
        self.stream.shut()
        self._written.wait()
        self.outbox.wait_until_let_go()


class Backoff:
    """Waits that double from one try to the next, each shortened at random so that workers do not come at once."""

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max(min_s, max_s)
        self._wait_s = min_s

    def next_s(self) -> float:
        wait_s = self._wait_s
        self._wait_s = min(self._max_s, 2 * wait_s)
        return wait_s * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._wait_s = self._min_s
