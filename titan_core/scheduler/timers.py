"""The delay heap: everything that is to happen later, in one place, earliest first.

The ClockWatcher sleeps until `next_due_at`; nothing else in the master waits for a point in time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_SLACK = 64
"""Cancelled entries that may lie in the heap before it is worth rebuilding."""


class Timers(Generic[T]):
    """What is due when. A ticket is a positive number; cancelling is O(1), the rest O(log n)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._pending: dict[int, T] = {}
        self._last_ticket = 0

    def __len__(self) -> int:
        return len(self._pending)

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._pending

    def add(self, due_at: float, what: T) -> int:
        """Have `what` come out of `pop_due` at `due_at`; returns the ticket to cancel it with."""
        self._last_ticket += 1
        self._pending[self._last_ticket] = what
        heapq.heappush(self._heap, (due_at, self._last_ticket))
        return self._last_ticket

    def cancel(self, ticket: int) -> None:
        """Forget it; a ticket that is not pending (0, fired, cancelled) is no matter."""
        self._pending.pop(ticket, None)
        if len(self._heap) > 2 * len(self._pending) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._pending]
            heapq.heapify(self._heap)

    def next_due_at(self) -> float | None:
        """The earliest instant at which something is due; None when nothing is."""
        while self._heap and self._heap[0][1] not in self._pending:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> Iterator[T]:
        """All that is due at `now`, earliest first, in order of adding among equals; never early.

        What is cancelled before it was reached does not come any more.
        """
        while self._heap and self._heap[0][0] <= now:
            _, ticket = heapq.heappop(self._heap)
            if ticket in self._pending:
                yield self._pending.pop(ticket)
