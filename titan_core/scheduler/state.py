"""Everything the core remembers, and what it has decided so far in this step.

Only the reactions (`core`, `jobs`, `runs`, `attempts`, `services`, `workers`, `scaling`, `by_hand`, `schedules`,
`fires`, `catch_up`) change it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from titan_core.scheduler.actions import Action
from titan_core.scheduler.model import Attempt, Job, LostWorker, Run, Service, Worker
from titan_core.scheduler.placement import Placement
from titan_core.scheduler.schedule_model import Fire, Schedule
from titan_core.scheduler.settings import Settings
from titan_core.scheduler.states import FireKind
from titan_core.scheduler.timers import Timers


@dataclass(slots=True)
class PoolGrowth:
    """What is remembered of the growth of the workers of one capability."""

    starved_since: float | None = None
    """Jobs have found no slot since; None: they have."""
    grown_at: float | None = None
    failures: int = 0
    """In a row."""
    not_before: float = 0.0
    """After a failure: when it may be tried again."""
    trouble: str = ""
    """Why it does not grow though it should."""


@dataclass(frozen=True, slots=True)
class Expected:
    """A worker that was asked for, and has not registered yet."""

    capabilities: frozenset[str]
    asked_at: float
    due_at: float
    """When it is not expected any more."""
    slots: int
    worker_id: str = ""
    """`host:port`, where that is known."""


@dataclass(slots=True, eq=False)
class Growth:
    """How the cluster grows and shrinks at present. Not stored: a master that was started again looks anew."""

    pools: dict[str, PoolGrowth] = field(default_factory=dict)
    expected: list[Expected] = field(default_factory=list)
    blocked_ports: dict[str, float] = field(default_factory=dict)
    """Worker ids that could not be had, and until when they are not tried again."""
    timer: int = 0
    timer_at: float = 0.0
    not_before: float = 0.0
    """Nothing grows before: workers of before the start may still come back."""
    idled: bool = False
    """A worker that may be stopped has fallen idle in this step."""

    def pool(self, capability: str) -> PoolGrowth:
        return self.pools.setdefault(capability, PoolGrowth())

    def expected_of(self, capability: str) -> list[Expected]:
        return [one for one in self.expected if capability in one.capabilities]

    def expected_as(self, worker_id: str) -> Expected | None:
        """The one that will have this id, if that is known of any."""
        return next((one for one in self.expected if one.worker_id == worker_id), None)


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
    lost_workers: dict[str, LostWorker] = field(default_factory=dict)
    """The last LOST_KEPT that were taken for dead and have not come back, the latest last. Not stored."""
    attempts: dict[bytes, Attempt] = field(default_factory=dict)
    """The attempts that are on a worker, by token."""
    lost: dict[bytes, Attempt] = field(default_factory=dict)
    """Attempts given up while no newer one of their job exists: should their worker return, they still count."""
    timers: Timers[Job | Worker | Growth | Schedule] = field(default_factory=Timers)
    placement: Placement = field(default_factory=Placement)
    requests: dict[bytes, str] = field(default_factory=dict)
    """Run ids by the request id of the submission that made, or extended, them."""
    over: deque[Run] = field(default_factory=deque)
    """Runs without a job that is not final, in the order they got there."""
    jobs_over: int = 0
    """Jobs of the runs in `over`."""
    forgotten: deque[tuple[int, Run]] = field(default_factory=deque)
    """Runs that were removed from `runs` and are still whole, each with the generation that it ended."""
    generation: int = 0
    """Grows with each run that is forgotten."""
    reading: dict[int, int] = field(default_factory=dict)
    """How many look at what they have found, by the generation in which they began; the oldest first."""
    deleted: dict[str, None] = field(default_factory=dict)
    """Ids of runs that were given up for deletion, the latest last: they do not come back."""
    last_sequence: int = 0
    finished: int = 0
    """Jobs that came to an end since the start."""
    growth: Growth = field(default_factory=Growth)
    unsettled: dict[Run | Service, None] = field(default_factory=dict)
    """About which something changed in this step that may have consequences for services."""
    offset_s: float = 0.0
    """Wall time minus monotonic time, as it is now; for schedules."""
    schedules: dict[str, Schedule] = field(default_factory=dict)
    """By name."""
    live_fires: dict[str, dict[Run, Fire]] = field(default_factory=dict)
    """By the name of a schedule, be it there or removed: its runs that are not over, oldest first."""
    stirred: dict[Run, None] = field(default_factory=dict)
    """Runs of schedules that were over, or went on again, in this step."""
    alerts: dict[tuple[str, FireKind, int, str], Fire] = field(default_factory=dict)
    """Fires of which a webhook is to be told, by schedule, kind, slot, and what it is about."""

    @property
    def wall(self) -> float:
        """Unix seconds."""
        return self.now + self.offset_s

    def live_of(self, name: str) -> dict[Run, Fire]:
        return self.live_fires.setdefault(name, {})

    def act(self, action: Action) -> None:
        self.actions.append(action)

    def next_sequence(self) -> int:
        self.last_sequence += 1
        return self.last_sequence
