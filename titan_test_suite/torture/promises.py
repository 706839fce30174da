"""What a client of a storm was told."""

from __future__ import annotations

from dataclasses import dataclass, field

from titan_test_suite.torture.plans import Plan


@dataclass(eq=False)
class Promise:
    """A submission that was acknowledged, and what its client was told since."""

    plan: Plan
    name: str
    """Of the run; nobody else's. The run id begins with it."""
    run_id: str
    sent_wall: float
    """When it was sent for the first time."""
    cancelled: bool = False
    """A request to cancel it was granted."""
    end_at: float | None = None
    """When it is to be cancelled, or stopped; monotonic."""
    seen_final: dict[str, str] = field(default_factory=dict)
    """Final states that the client was told, by job id: the first of each."""
    changed: list[str] = field(default_factory=list)
    """Sentences about final states that were followed by another."""
    doubled: list[str] = field(default_factory=list)
    """Runs that the same submission became when it was sent once more."""
    over: bool = False
    disturbed: bool = False
    """A service that somebody wanted restarted or scaled."""
