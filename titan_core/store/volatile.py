"""A store that keeps nothing, for throw-away clusters: the same interface as `Store`, and no promise behind it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from titan_core.clock import Clock
from titan_core.errors import Conflict
from titan_core.lifecycle import Component
from titan_core.scheduler.records import Batch
from titan_core.store.history import History
from titan_core.store.loading import Loaded


class Volatile(Component):
    """Every ticket counts as committed at once; there is no history but what the master remembers."""

    trouble = ""

    def __init__(self, clock: Clock) -> None:
        super().__init__("store")
        self.last = self.last_sequence = 0
        self.cluster = secrets.token_bytes(16)
        self.term = int(clock.wall())
        self.history = History("", clock.to_wall(0.0))
        self._lock = threading.Lock()

    @property
    def committed(self) -> int:
        return self.last

    def load(self, now_wall: float) -> Loaded:
        return Loaded((), ())

    def start(self) -> None:
        """It has no thread."""

    def on_stop(self) -> None:
        self.history.close()

    def append(self, batch: Batch) -> int:
        with self._lock:
            self.last += 1
            return self.last

    def wait(self, ticket: int, timeout_s: float | None = None) -> bool:
        return True

    def tell(self, ticket: int, told: Callable[[], None]) -> bool:
        return False

    def forget(self, run_ids: Iterable[str]) -> None:
        """Nothing is kept that could be deleted."""

    def shorten_ledgers(self, oldest_wall: float) -> None:
        """The same."""

    def expired(self, now_wall: float, keep_days: float, keep_runs: int) -> list[str]:
        return []

    def forgotten_since(self, wall: float) -> list[str]:
        return []

    def snapshot(self, path: Path) -> None:
        raise Conflict("this master runs with --in-memory: there is nothing stored to back up")
