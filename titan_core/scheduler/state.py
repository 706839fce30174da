"""Everything the core remembers, and what it has decided so far in this step.

Only the reactions (`core`, `jobs`, `runs`, `attempts`, `workers`, `by_hand`) change it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from titan_core.scheduler.actions import Action
from titan_core.scheduler.model import Attempt, Job, Run, Worker
from titan_core.scheduler.placement import Placement
from titan_core.scheduler.timers import Timers


@dataclass(frozen=True, slots=True)
class Settings:
    death_s: float = 30.0
    """A worker not heard for so long is dead, its attempts are lost."""
    runs_kept: int = 1_000
    """Runs that are over and still in memory; the oldest go first."""
    jobs_kept: int = 100_000
    """Jobs of such runs, together."""


@dataclass(slots=True, eq=False)
class State:
    settings: Settings = field(default_factory=Settings)
    now: float = 0.0
    term: int = 0
    """Which start of the master this is; part of every token, so that none comes twice."""
    grace_s: float = 0.0
    """What workers of before the start got to come back."""
    actions: list[Action] = field(default_factory=list)
    runs: dict[str, Run] = field(default_factory=dict)
    """In order of submission."""
    workers: dict[str, Worker] = field(default_factory=dict)
    """Those that are not dead, in order of registration."""
    attempts: dict[bytes, Attempt] = field(default_factory=dict)
    """The attempts that are on a worker, by token."""
    lost: dict[bytes, Attempt] = field(default_factory=dict)
    """Attempts given up while no newer one of their job exists: should their worker return, they still count."""
    timers: Timers[Job | Worker] = field(default_factory=Timers)
    placement: Placement = field(default_factory=Placement)
    requests: dict[bytes, str] = field(default_factory=dict)
    """Run ids by the request id of the submission that made, or extended, them."""
    over: deque[Run] = field(default_factory=deque)
    """Runs without a job that is not final, in the order they got there."""
    jobs_over: int = 0
    """Jobs of the runs in `over`."""
    deleted: dict[str, None] = field(default_factory=dict)
    """Ids of runs that were given up for deletion, the latest last: they do not come back."""
    last_sequence: int = 0

    def act(self, action: Action) -> None:
        self.actions.append(action)

    def next_sequence(self) -> int:
        self.last_sequence += 1
        return self.last_sequence
