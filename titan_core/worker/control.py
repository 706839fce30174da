"""The handle by which others end a running attempt: what is asked of it, and the descriptor that wakes its slot.

Any thread may ask; the slot's thread sleeps in `poll` on the descriptor beside its process. The first
request says how the attempt is going to be told (`outcome`, `reason`); later ones can only hurry it.

It is also what others know of a running attempt: its process, its port, whether it is ready. Whoever watches
it sleeps on a descriptor of its own (`watched`), which turns readable when there is nothing to watch any more.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from titan_core.frozen import dataclass
from titan_core.protocol.messages import ServiceReady, StartAttempt

UNLIMITED_S = float("inf")


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to end an attempt."""

    outcome: str
    """STOPPED, TIMED_OUT, FAILED or INTERRUPTED."""
    reason: str
    grace_s: float = UNLIMITED_S
    """Upper bound for the grace the job itself asks for; 0 = SIGKILL at once."""


class Control:
    """One attempt from the master's START to its result."""

    def __init__(self, start: StartAttempt) -> None:
        self.start = start
        self.token = start.token
        self.unwanted = False
        """The master has given the attempt up: nobody waits for its result."""
        self.pid = 0
        """Of its first process; 0 = there is none yet."""
        self.started_at = 0.0
        """When that process was started; monotonic."""
        self.port = 0
        """On which it listens, as far as it was given one; 0 = none."""
        self.ready = False
        """Of a service: it answers, as far as that is looked at."""
        self.ended = False
        """Its first process has ended: the pid may be another's."""
        self._lock = threading.Lock()
        self._request: Stop | None = None
        self._wake = -1
        self._watchers: set[int] = set()

    @property
    def request(self) -> Stop | None:
        return self._request

    @property
    def grace_s(self) -> float:
        """How long after the stop signal SIGKILL follows, as things stand."""
        limit_s = UNLIMITED_S if self._request is None else self._request.grace_s
        return min(self.start.task.stop_grace_s, limit_s)

    def stop(self, request: Stop) -> None:
        """Ask for the end. Callable from any thread, at any time, more than once."""
        with self._lock:
            first = self._request or request
            self._request = replace(first, grace_s=min(first.grace_s, request.grace_s))
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)
            self._send_watchers_home()

    def begin(self, pid: int) -> None:
        """It has its first process."""
        self.started_at = time.monotonic()
        self.pid = pid

    def end(self) -> None:
        """Its first process has ended, or there never will be one. Idempotent."""
        with self._lock:
            self.ended = True
            self._send_watchers_home()

    def become_ready(self, announce: Callable[[ServiceReady], object]) -> bool:
        """The service answers; False when its end has come, or was asked for, and nobody is told."""
        with self._lock:  # so that the word of it never follows the result
            if self.ended or self._request is not None:
                return False
            self.ready = True  # before the word of it: a session that begins now repeats it
            announce(self.readiness())
            return True

    def readiness(self) -> ServiceReady:
        """What the master is told of a service that is ready."""
        return ServiceReady(self.token, self.pid, self.port)

    @contextlib.contextmanager
    def watched(self) -> Iterator[int]:
        """A descriptor that is readable as soon as the end has come, or was asked for."""
        with self._lock:
            over = os.eventfd(self.ended or self._request is not None, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._watchers.add(over)
        try:
            yield over
        finally:
            with self._lock:
                self._watchers.remove(over)
                os.close(over)

    def wait(self, seconds: float) -> bool:
        """Let time pass, but no longer than until the end is asked for, or has come; whether that is so."""
        with self.watched() as over:
            return over_within(over, seconds)

    def open_wake(self) -> int:
        """A descriptor that turns readable with each `stop`, and is so already if there was one."""
        with self._lock:
            self._wake = os.eventfd(self._request is not None, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._wake

    def close_wake(self) -> None:
        with self._lock:
            os.close(self._wake)
            self._wake = -1

    def _send_watchers_home(self) -> None:
        for over in self._watchers:
            os.eventfd_write(over, 1)


def over_within(over: int, seconds: float) -> bool:
    """Let time pass on a descriptor that `watched` gave; whether the end came, or was asked for."""
    poller = select.poll()
    poller.register(over, select.POLLIN)
    return bool(poller.poll(1000 * seconds))
