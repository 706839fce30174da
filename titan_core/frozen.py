"""Dataclasses that nobody changes, and that cost no more to make than others.

With `frozen=True`, the standard library's have Python itself look at each assignment, those of `__init__` first of
all: an object of twelve fields takes 1.2 µs to make instead of 0.2, and a job makes dozens. That these are frozen,
only the type checker knows.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool = False, **options: Any) -> Any:
        """As of the standard library; equal ones have equal hashes, as there."""
        return dataclasses.dataclass(unsafe_hash=frozen and options.get("eq", True), **options)
