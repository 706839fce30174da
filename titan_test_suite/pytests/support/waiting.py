"""Waiting for something to become true: the only way a test waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], timeout_s: float = 10.0, explain: Callable[[], object] | str = "") -> T:
    """The first true value of `predicate()`; fails after `timeout_s` with what `explain` says was seen last."""
    deadline_at = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline_at:
            seen = explain() if callable(explain) else explain
            raise AssertionError(f"not within {timeout_s} s: {seen or predicate}")
        time.sleep(0.005)
