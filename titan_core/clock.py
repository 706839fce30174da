"""Time: `monotonic()` to decide by, `wall()` to show.

Durations and deadlines are always taken from the monotonic side, so that setting the machine's
clock moves nothing. `to_wall` says when a monotonic instant was, or will be, on the wall;
`from_wall` is its inverse, for instants that an earlier process wrote down.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float: ...

    def wall(self) -> float: ...

    def to_wall(self, instant_at: float) -> float: ...

    def from_wall(self, wall: float) -> float: ...


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def to_wall(self, instant_at: float) -> float:
        return instant_at + self._offset_s

    def from_wall(self, wall: float) -> float:
        return wall - self._offset_s


class FakeClock:
    """A clock that a test moves by hand. Starts at 1,000 s monotonic, 2026-01-01T00:00:00Z wall."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._offset_s = 1767225600.0 - 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self._offset_s

    def to_wall(self, instant_at: float) -> float:
        return instant_at + self._offset_s

    def from_wall(self, wall: float) -> float:
        return wall - self._offset_s

    def advance(self, seconds: float) -> None:
        self.now += seconds
