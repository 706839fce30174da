"""Clocks: what follows when the machine's clock is set, and what does not."""

from __future__ import annotations

import itertools
import time
from fractions import Fraction

import pytest

from titan_core.clock import FakeClock, SystemClock

NS = 1_000_000_000


def test_setting_the_wall_moves_the_wall_alone() -> None:
    clock = FakeClock()
    now, wall, offset_s = clock.monotonic(), clock.wall(), clock.offset_s()
    clock.set_wall_forward(3600.0)
    clock.set_wall_forward(-5400.0)
    assert (clock.wall(), clock.offset_s()) == (wall - 1800.0, offset_s - 1800.0)
    assert (clock.monotonic(), clock.to_wall(now), clock.from_wall(wall)) == (now, wall, now)
    clock.advance(10.0)
    assert clock.wall() == clock.monotonic() + clock.offset_s() == wall - 1790.0


def test_the_offset_is_never_too_large() -> None:
    clock = SystemClock()
    for _ in range(1000):
        before = time.monotonic_ns()
        most = Fraction(time.time_ns() - before, NS)
        assert most - 1 < Fraction(clock.offset_s()) < most


def test_the_tightest_reading_counts_and_of_it_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first readings are torn apart, before and after the wall is read; the wall is 1,700,000,000 s ahead."""
    moments = [
        (0, 5_000_000, 5_000_100),
        (0, 100, 9_000_000),
        (0, 40_000, 100_000),
        (0, 20_000, 90_000),
        (0, 10_000, 95_000),
    ]
    begins = itertools.count(NS, NS)
    readings = [begin + moment for begin, three in zip(begins, moments, strict=False) for moment in three]
    monotonic, walls = iter([now for index, now in enumerate(readings) if index % 3 != 1]), iter(readings[1::3])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(monotonic))
    monkeypatch.setattr(time, "time_ns", lambda: next(walls) + 1_700_000_000 * NS)
    least = 1_700_000_000 - Fraction(70_000, NS)
    assert least - Fraction(1, 1 << 21) < Fraction(SystemClock().offset_s()) < least
