"""Defects that are put into the code on purpose, so that the judge shows that it sees them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from titan_core.scheduler import records
from titan_core.scheduler.actions import Action
from titan_core.scheduler.records import Batch
from titan_test_suite.pytests.support.simulation.cluster import Broken, simulate

HISTORIES = 1000
"""Each defect is seen in one of so many; most are in the first, the rarest in one of fifty."""
Patch = pytest.MonkeyPatch
Install = Callable[[Patch], None]


class Defects(dict[str, Install]):
    """By name. `@defects.add` is for the functions that put one in."""

    def add(self, install: Install) -> Install:
        self[install.__name__.replace("_", " ")] = install
        return install

    def check_is_seen(self, name: str, monkeypatch: Patch) -> None:
        """Raises AssertionError if nothing is wrong with any of HISTORIES. The core's own invariants are not looked
        at."""
        first = random.SystemRandom().randrange(2**32)
        print("seeds from", first)
        self[name](monkeypatch)
        for seed in range(first, first + HISTORIES):
            try:
                simulate(seed, check_each=0)
            except Broken as broken:
                print(f"seen in history {seed - first + 1}: {str(broken).splitlines()[0]}")
                return
        raise AssertionError(f"{name}: nobody noticed in {HISTORIES} histories")


def around(monkeypatch: Patch, owner: Any, name: str, then: Callable[..., Any]) -> None:
    """Replace a function by `then(original, *arguments)`."""
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *given, **named: then(original, *given, **named))


def rows_without(monkeypatch: Patch, spoil: Callable[[Batch], Batch]) -> None:
    """What is written down is not all, or not true."""

    def batch(original: Callable[..., Any], actions: Iterable[Action], now: float) -> Batch | None:
        made = original(actions, now)
        return None if made is None else spoil(made)

    around(monkeypatch, records, "batch", batch)
