"""How many requests were answered, and how. Any thread."""

from __future__ import annotations

import threading
from collections import Counter

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""A client may make up others, each of which would be counted for ever."""


class Traffic:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, int]] = Counter()

    def count(self, method: str, status: int) -> None:
        with self._lock:
            self._counts[method if method in _METHODS else "OTHER", status] += 1

    def counts(self) -> dict[tuple[str, int], int]:
        """By method and status."""
        with self._lock:
            return dict(self._counts)
