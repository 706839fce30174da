"""Whether somebody sets the machine's wall clock: a thread that sleeps until that is done, and then says so.

The kernel tells those who ask: a timer on the wall clock that is due at the end of all days is cancelled when the
clock is set, and when the machine wakes from its sleep. A clock that runs a little faster or slower for a while, as
one that is kept right does, is not set. The timer is armed anew before anybody is told, so that nothing is missed.

Knows nothing of what follows from it. `on_set` is called by the thread `clock-set`.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Protocol

from titan_core.lifecycle import Component

log = logging.getLogger("titan")


class Source(Protocol):
    """Where it is seen; `fileno` is a descriptor that can be read once there is something to see."""

    def fileno(self) -> int: ...

    def was_set(self) -> bool:
        """Whether the clock was set since the last `rearm`; does not wait."""

    def rearm(self) -> None: ...

    def close(self) -> None: ...


class ClockSetWatch(Component):
    """Calls `on_set()` after each time that the clock was set, from when `start` has returned on."""

    def __init__(self, on_set: Callable[[], object], open_source: Callable[[], Source] | None = None) -> None:
        super().__init__("clock-set")
        self._on_set = on_set
        self._open_source = open_source or WallTimer
        self._lock = threading.Lock()
        self._wake = -1

    def start(self) -> None:
        """Where the system does not tell, there is no thread, and `on_set` is never called."""
        try:
            source = self._open_source()
        except OSError as error:
            why = error.strerror or error
            log.info("nobody will tell when the clock is set: %s", why, extra={"action": "clock.unwatched"})
            return
        with self._lock:
            self._wake = os.eventfd(self.stopping.is_set(), os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.spawn("clock-set", self._run, source)

    def on_stop(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def _run(self, source: Source) -> None:
        poller = select.poll()
        try:
            for descriptor in (self._wake, source.fileno()):
                poller.register(descriptor, select.POLLIN)
            while poller.poll() and not self.stopping.is_set():
                if source.was_set():
                    source.rearm()
                    self._on_set()
        finally:
            source.close()
            self._close_wake()

    def _close_wake(self) -> None:
        with self._lock:  # whoever stops must not write to what is another's by then
            os.close(self._wake)
            self._wake = -1


# ── the kernel's word ─────────────────────────────────────────────────────────────────────────────


class _Instant(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Setting(ctypes.Structure):
    _fields_ = [("interval", _Instant), ("due", _Instant)]


_NON_BLOCKING, _CLOSED_ON_EXEC = os.O_NONBLOCK, os.O_CLOEXEC
_ABSOLUTE, _CANCELLED_ON_SET = 1, 2
_NEVER = _Setting(_Instant(0, 0), _Instant((1 << (8 * ctypes.sizeof(ctypes.c_long) - 1)) - 1, 0))
_libc = ctypes.CDLL(None, use_errno=True)


class WallTimer:
    """A timerfd that is never due, and is cancelled when the clock is set. Raises OSError where there is no such."""

    def __init__(self) -> None:
        if not hasattr(_libc, "timerfd_settime"):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._fd: int = _libc.timerfd_create(time.CLOCK_REALTIME, _NON_BLOCKING | _CLOSED_ON_EXEC)
        if self._fd < 0:
            raise _last_error()
        try:
            self.rearm()
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        return self._fd

    def was_set(self) -> bool:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.ECANCELED:
                raise
        return True

    def rearm(self) -> None:
        failed = _libc.timerfd_settime(self._fd, _ABSOLUTE | _CANCELLED_ON_SET, ctypes.byref(_NEVER), None)
        # ECANCELED: the clock was set since it was armed before, and now it is armed all the same.
        if failed and ctypes.get_errno() != errno.ECANCELED:
            raise _last_error()

    def close(self) -> None:
        os.close(self._fd)


def _last_error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
