"""What became of an execution, whoever has heard of it."""

from __future__ import annotations

from dataclasses import dataclass

from titan_core.scheduler.states import Outcome


@dataclass
class Execution:
    key: str
    """Of its job."""
    args: tuple[str, ...] = ()
    outcome: Outcome | None = None
    """How it truly ended; None: it did not, or nobody let it."""
    over: bool = False
    was_up: bool = False
