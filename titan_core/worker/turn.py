"""Who computes: one slot's thread at a time, as far as that costs nobody anything.

Python runs one thread at a time anyway, and changes threads at nearly every system call, each of which then costs as
much again. A thread that has the turn is left alone by the other slots' threads, which sleep until it waits for
something (`away`) or is done. Measured with 2 × 4 slots full of shell jobs: 6 % more of them.

Nothing depends on it: who does not get the turn within PATIENCE_S goes on without.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 0.005
"""Ten times as long as a slot's thread computes for a job."""


class Turn:
    """Any thread may call; whoever is away without having had the turn does not come back with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0
        """The thread that has it; 0 = nobody."""

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Have the turn, if it can be had."""
        self._take()
        try:
            yield
        finally:
            self._give()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave it to others while this thread waits, or works for long."""
        had = self._give()
        try:
            yield
        finally:
            if had:
                self._take()

    def _take(self) -> None:
        if self._lock.acquire(timeout=PATIENCE_S):
            self._holder = threading.get_ident()

    def _give(self) -> bool:
        """Whether there was anything to give."""
        if self._holder != threading.get_ident():
            return False
        self._holder = 0
        self._lock.release()
        return True


TURN = Turn()
