"""Time: `monotonic()` to decide by, `wall()` to show.

Durations and deadlines are always taken from the monotonic side, so that setting the machine's
clock moves nothing. `to_wall` says when a monotonic instant was, or will be, on the wall;
`from_wall` is its inverse, for instants that an earlier process wrote down. Both keep the offset
between the two that was there at the start, so that what is stored stays in order among itself,
however the clock is set.

Only what is due at a time of the wall, such as a schedule, follows the clock when it is set: it
takes `offset_s()`, wall minus monotonic as it is now, and takes it again when it is told of that
(`titan_core.clock_set`).
"""

from __future__ import annotations

import math
import time
from typing import Protocol

_SAMPLES = 5
"""So many, as a thread may lose its processor in the midst of one."""
_NANOSECONDS = 1_000_000_000


class Clock(Protocol):
    def monotonic(self) -> float: ...

    def wall(self) -> float: ...

    def to_wall(self, instant_at: float) -> float: ...

    def from_wall(self, wall: float) -> float: ...

    def offset_s(self) -> float: ...


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

    def offset_s(self) -> float:
        """Wall minus monotonic, as it is now; a little less, never more: `wall - offset_s()` is never too early."""
        _, least = min(_sample() for _ in range(_SAMPLES))
        return math.nextafter(least / _NANOSECONDS, -math.inf)


def _sample() -> tuple[int, int]:
    """In nanoseconds: within how much the wall was read, and what wall minus monotonic then was at least."""
    before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
    return after - before, wall - after


class FakeClock:
    """A clock that a test moves by hand. Starts at 1,000 s monotonic, 2026-01-01T00:00:00Z wall.

    `set_wall_forward` is what setting the machine's clock is: `wall` and `offset_s` follow, and nothing else does.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self._offset_s = 1767225600.0 - 1000.0
        self._set_forward_s = 0.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now + self.offset_s()

    def to_wall(self, instant_at: float) -> float:
        return instant_at + self._offset_s

    def from_wall(self, wall: float) -> float:
        return wall - self._offset_s

    def offset_s(self) -> float:
        return self._offset_s + self._set_forward_s

    def set_wall_forward(self, seconds: float) -> None:
        """Somebody sets the wall clock, by so much; backward when it is negative."""
        self._set_forward_s += seconds

    def advance(self, seconds: float) -> None:
        self.now += seconds
