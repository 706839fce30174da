"""Stop signals, waited for by the main thread without losing one.

A main thread that blocks on a lock, a queue or an Event misses a signal that arrives in the instant
between its last look and its sleep: the handler runs only at the next wake-up, which may never come.
Here the signal itself writes to a pipe, and the main thread sleeps on that.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTIFIED = 0
"""What `wait` returns when `notify` woke it."""


class StopSignals:
    """Takes over `numbers` for the rest of the process; make it on the main thread, before other threads."""

    def __init__(self, numbers: Iterable[int] = STOP_SIGNALS) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pending = b""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda number, frame: None)

    def wait(self) -> int:
        """Block until a signal arrives, or `notify` is called; the signal's number, or NOTIFIED."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        while not self._pending:
            poller.poll()
            self._pending = os.read(self._read, 4096)
        number, self._pending = self._pending[0], self._pending[1:]
        return number

    def notify(self) -> None:
        """Wake `wait`; from any thread."""
        os.write(self._write, bytes([NOTIFIED]))
