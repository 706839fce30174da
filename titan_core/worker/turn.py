"""Who computes: one slot's thread at a time, as far as that costs nobody anything.

Python runs one thread at a time anyway, and changes threads at nearly every system call, each of which then costs as
much again. A thread that has the turn is left alone by the other slots' threads, which sleep until it waits for
something (`away`) or is done; it is not away while a process is made for it. Measured with 2 × 4 slots full of shell
jobs: 6 % more of them.

What costs less when it is done for several threads together, as sending is, waits until none of them waits for the
turn (`afterwards`): then a result is sent with those of the others that are about to be there.

Nothing depends on it: who does not get the turn within PATIENCE_S goes on without.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

PATIENCE_S = 0.005
"""Several times as long as a slot's thread computes for a job, or has a process made."""
MOST_LEFT = 4
"""So many things are left for afterwards, where there always is somebody who waits."""


class Turn:
    """Any thread may call; whoever is away without having had the turn does not come back with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0
        """The thread that has it; 0 = nobody."""
        self._waiting: set[int] = set()
        """The threads that wait for it."""
        self._left: deque[Callable[[], object]] = deque()
        """What is to be done once nobody does."""

    def taken(self) -> _Taken:
        """Have the turn, if it can be had, as long as the block lasts."""
        return _Taken(self)

    def away(self) -> _Away:
        """Leave it to others in the block, in which this thread waits, or works for long."""
        return _Away(self)

    def afterwards(self, do: Callable[[], object]) -> None:
        """Call `do` as soon as nobody waits for the turn, which may be now. Whoever waits comes to `give`, with the
        turn or without, and calls it then; should that be held up meanwhile, a thread that has nothing to do does
        (`catch_up`)."""
        self._left.append(do)
        if not self._waiting or len(self._left) >= MOST_LEFT:
            self.catch_up()

    def take(self) -> None:
        """Have it, if it can be had; `give` is owed in any case."""
        if not self._lock.acquire(blocking=False) and not self._wait():
            return
        self._holder = threading.get_ident()

    def _wait(self) -> bool:
        thread = threading.get_ident()
        self._waiting.add(thread)
        try:
            return self._lock.acquire(timeout=PATIENCE_S)
        finally:
            self._waiting.discard(thread)

    def give(self) -> bool:
        """Let others have it; whether there was anything to give."""
        had = self._holder == threading.get_ident()
        try:
            if self._left and not self._waiting:
                self.catch_up()
        finally:
            if had:
                self._holder = 0
                self._lock.release()
        return had

    def catch_up(self) -> None:
        """Do what was left for afterwards."""
        while self._left:
            try:
                do = self._left.popleft()
            except IndexError:  # another thread was faster
                return
            do()


class _Taken:
    # No generator, as `contextmanager` makes of one: each job comes here several times.

    def __init__(self, turn: Turn) -> None:
        self._turn = turn

    def __enter__(self) -> None:
        self._turn.take()

    def __exit__(self, *error: object) -> None:
        self._turn.give()


class _Away:
    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._had = False

    def __enter__(self) -> None:
        self._had = self._turn.give()

    def __exit__(self, *error: object) -> None:
        if self._had:
            self._turn.take()


TURN = Turn()
