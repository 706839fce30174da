"""What the master asks of a store, be it on disk (`sqlite.Store`) or not there (`volatile.Volatile`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from titan_core.scheduler.records import Batch
from titan_core.store.history import History


class Durability(Protocol):
    """Steps go in under the engine's lock, in order, and are known by their tickets; in order they become durable."""

    trouble: str
    """Why nothing can be written at present, as a sentence; empty: it can."""

    history: History
    """What is stored, for those who ask."""

    def append(self, batch: Batch) -> int:
        """Have a step written; its ticket. Never waits."""

    @property
    def committed(self) -> int:
        """The ticket of the last step that is on disk, with all before it."""

    @property
    def last(self) -> int:
        """The ticket of the newest step."""

    def wait(self, ticket: int, timeout_s: float | None = None) -> bool:
        """Wait until this step, and all before it, is on disk; False when that takes longer.

        Raises Unavailable when it will never be: the store has ended.
        """

    def tell(self, ticket: int, told: Callable[[], None]) -> bool:
        """Have `told()`, which must not wait, called by the store's thread once this step, and all before it, is on
        disk; never, if the store ends before. False, and it is not called, when they are already."""

    def forget(self, run_ids: Iterable[str]) -> None:
        """Have these runs deleted, after all that was appended before. Never waits."""

    def shorten_ledgers(self, oldest_wall: float) -> None:
        """Have lines of ledgers deleted that are kept no longer. Never waits."""

    def expired(self, now_wall: float, keep_days: float, keep_runs: int) -> list[str]:
        """Which runs are over and kept for too long, or too many; 0 = no bound."""

    def forgotten_since(self, wall: float) -> list[str]:
        """The ids of the runs that were deleted since; known for 30 days."""
