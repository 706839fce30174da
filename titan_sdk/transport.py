"""Authenticated connections to the master, kept open and shared by the threads of a client.

A thread leases a connection for one conversation, so nobody waits for anybody: the pool's lock is
held for list operations only, never across I/O. A connection that was idle may have died with a
master that restarted; the conversation is then held once more, on a new one. Knows nothing of what
is said in the conversations.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from titan_core.errors import (
    ConnectionFailed,
    ConnectionLost,
    NotAuthorised,
    ProtocolError,
    RequestRefused,
)
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream
from titan_core.protocol.checks import shown
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import OPCODES
from titan_core.protocol.wire import MAX_BODY, encode_body
from titan_sdk.access import Access
from titan_sdk.errors import ClientClosed, InvalidRequest

MAX_IDLE = 16
"""Connections kept open between requests."""

M = TypeVar("M", bound=Message)
T = TypeVar("T")
OnAway = Callable[[str], None]
"""Told, in a sentence, that the master does not answer and is tried again."""


def say_nothing(text: str) -> None:
    """The OnAway of those who only wait."""


class Connection:
    """One connection, used by one thread at a time."""

    def __init__(self, stream: FrameStream) -> None:
        self.stream = stream
        self.at_rest = True
        """Everything that was asked is answered: the next conversation may begin."""

    def ask(self, message: Message, reply: type[M], timeout_s: float) -> M:
        """Send a request, receive its answer. Raises the error that the master answers with."""
        self.send(request_bytes(message))
        return self.receive(reply, timeout_s)

    def send(self, data: bytes) -> None:
        self.at_rest = False
        self.stream.send_bytes(data)

    def receive(self, reply: type[M], timeout_s: float) -> M:
        """The answer, as a `reply`, which must begin within `timeout_s`."""
        try:
            message = self.stream.receive_message(reply, timeout_s)
        except RequestRefused:
            self.at_rest = True
            raise
        self.at_rest = True
        return message


class Transport:
    """A pool of connections. Every method may be called from any thread."""

    def __init__(self, access: Access, timeout_s: float, on_away: OnAway = say_nothing) -> None:
        self._access = access
        self.on_away = on_away
        self.timeout_s = timeout_s
        """How long an answer may take, beyond what the request itself allows for."""
        self._idle: list[Connection] = []
        self._leased: set[Connection] = set()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pid = os.getpid()

    def ask(self, message: Message, reply: type[M], *, wait_s: float = 0.0, repeatable: bool = True) -> M:
        """One request and its answer, which the master may delay by `wait_s`.

        Raises the error that the master answers with; ConnectionFailed, ConnectionLost, NotAuthorised.
        """
        timeout_s = self.timeout_s + wait_s
        return self.converse(lambda connection: connection.ask(message, reply, timeout_s), repeatable=repeatable)

    def converse(self, conversation: Callable[[Connection], T], *, repeatable: bool = True) -> T:
        """Hold `conversation` on a connection of its own, and give back what it returns.

        One that is `repeatable` may be held twice: first on an idle connection, and when that turns out
        dead, on a new one. One that is not is held on a new connection at once.
        """
        begun_at = time.monotonic()
        idle = self._take_idle() if repeatable else None
        if idle is not None:
            try:
                return self._hold(idle, conversation)
            except ConnectionLost:
                self._drop_idle()  # they are as old, and died of the same cause
                if time.monotonic() - begun_at >= self.timeout_s:
                    raise  # not dead but mute; a second try would only double the wait
        return self._hold(Connection(self._dial()), conversation)

    def pause(self, seconds: float) -> None:
        """Let time pass, unless the client is closed. Raises ClientClosed."""
        self._closed.wait(seconds)
        self._check_open()

    def close(self) -> None:
        """End all connections; a thread in a conversation gets ClientClosed. Idempotent."""
        with self._lock:
            self._closed.set()
            leased = list(self._leased)
        for connection in leased:
            connection.stream.shut()  # its thread closes it
        self._drop_idle()

    # ── the pool ──────────────────────────────────────────────────────────────────────────────────

    def _hold(self, connection: Connection, conversation: Callable[[Connection], T]) -> T:
        self._lease(connection)
        try:
            return conversation(connection)
        except ConnectionLost:
            self._check_open()
            raise
        finally:
            self._give_back(connection)

    def _take_idle(self) -> Connection | None:
        self._check_open()
        self._leave_parent()
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _lease(self, connection: Connection) -> None:
        with self._lock:
            if not self._closed.is_set():
                self._leased.add(connection)
                return
        connection.stream.close()
        raise ClientClosed()

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            self._leased.discard(connection)
            keep = connection.at_rest and len(self._idle) < MAX_IDLE and not self._closed.is_set()
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.stream.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.stream.close()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ClientClosed()

    def _leave_parent(self) -> None:
        """In a forked process: the connections are the parent's; forget them without ending them."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.Lock()
            self._idle, self._leased = [], set()

    # ── opening ───────────────────────────────────────────────────────────────────────────────────

    def _dial(self) -> FrameStream:
        self._check_open()
        host, port = self._access.address()
        try:
            token = self._access.find_token()
        except NotAuthorised:
            self._check_master(host, port)
            raise
        return self._open(host, port, token)

    def _open(self, host: str, port: int, token: str) -> FrameStream:
        try:
            return dial(host, port, token, role="client", timeout_s=self.timeout_s)
        except ConnectionFailed as error:
            raise ConnectionFailed(
                f"{error}: the master does not run there; start one with: python -m titan_core.master, "
                "or say where it is with TITAN_MASTER or TITAN_HOME"
            ) from None

    def _check_master(self, host: str, port: int) -> None:
        """Raise ConnectionFailed when there is no master: that is the first thing to put right, before the token."""
        with contextlib.suppress(NotAuthorised, ConnectionLost, ProtocolError):
            self._open(host, port, token="").close()


def request_bytes(message: Message) -> bytes:
    """The frames of a request. Raises InvalidRequest for broken text, and for more than any master accepts."""
    try:
        body = message.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{shown(error.object)} is not valid UTF-8") from None
    except (TypeError, AttributeError, struct.error) as error:
        raise InvalidRequest(f"{type(message).__name__} holds a value of the wrong type: {error}") from None
    if len(body) > MAX_BODY:
        raise InvalidRequest(
            f"the request has {len(body)} bytes, {MAX_BODY} is the most; send the jobs in several parts (add_jobs)"
        )
    return encode_body(OPCODES[type(message)], body)
