"""The handle by which others end a running attempt: what is asked of it, and the descriptor that wakes its slot.

Any thread may ask; the slot's thread sleeps in `poll` on the descriptor beside its process. The first
request says how the attempt is going to be told (`outcome`, `reason`); later ones can only hurry it.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace

from titan_core.protocol.messages import StartAttempt

UNLIMITED_S = float("inf")


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to end an attempt."""

    outcome: str
    """STOPPED, TIMED_OUT or INTERRUPTED."""
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
        self._lock = threading.Lock()
        self._request: Stop | None = None
        self._asked = threading.Event()
        self._wake = -1

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
            self._asked.set()
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def wait(self, seconds: float) -> bool:
        """Let time pass, but no longer than until the end is asked for; whether it is."""
        return self._asked.wait(seconds)

    def open_wake(self) -> int:
        """A descriptor that turns readable with each `stop`, and is so already if there was one."""
        with self._lock:
            self._wake = os.eventfd(self._request is not None, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            return self._wake

    def close_wake(self) -> None:
        with self._lock:
            os.close(self._wake)
            self._wake = -1
