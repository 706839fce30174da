"""What the scheduler knows of schedules: what is to run when, and what became of each fire.

A slot is an instant at which a schedule is due, in whole unix seconds: schedules are the one thing here that
goes by the wall clock. `State.offset_s` leads from there to the monotonic instants of the timers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from titan_core.scheduler.model import JobSpec, Run
from titan_core.scheduler.states import CatchUp, FireKind, FireOutcome, Overlap, RunState, ScheduleState

RECENT_FIRES = 20
"""Lines of its ledger that a schedule remembers; the others are on disk."""


class Timetable(Protocol):
    """When a schedule is due: a pure function of the wall time."""

    def after(self, wall: float) -> int | None:
        """The first slot later than `wall`; None: there is none any more."""

    def between(self, after_wall: float, until_wall: float) -> Iterable[int]:
        """The slots later than `after_wall` and not later than `until_wall`, ascending."""

    def newest(self, after_wall: float, until_wall: float, count: int) -> Sequence[int]:
        """Of the slots later than `after_wall` and not later than `until_wall`, the last `count`, ascending."""


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """Who is told; at most one of the two."""

    webhook: str = ""
    job: JobSpec | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """What the client asked for; never changes. `source` is for those who show and store it."""

    name: str
    timetable: Timetable
    timing: Any
    """What the timetable was made of; two that are equal are due at the same time."""
    jobs: tuple[JobSpec, ...]
    overlap: Overlap = Overlap.SKIP
    catch_up: CatchUp = CatchUp.LAST
    catch_up_window_s: float = 604800.0
    jitter_s: float = 0.0
    on_missed: AlertPolicy = AlertPolicy()
    on_failure: AlertPolicy = AlertPolicy()
    source: Any = None


@dataclass(slots=True, eq=False, repr=False)
class Fire:
    """One line of the ledger: for a slot, for a time that a person fired the schedule, or for a span of slots."""

    schedule: str
    slot: int
    kind: FireKind
    outcome: FireOutcome = FireOutcome.QUEUED
    reason: str = ""
    run_id: str = ""
    """Of the run that there is, or, of a QUEUED one, will be."""
    run_state: RunState | None = None
    """None: no run has begun."""
    decided_wall: float = 0.0
    """When the outcome became what it is."""
    finished_wall: float = 0.0
    """When its run was over; 0 = it is not."""
    made_up: bool = False
    """It waits, or ran, after its time: catch-up or backfill."""
    alert: str = ""
    """Empty: nobody is told; `due`, `sent`, or why nobody could be told."""
    until: int = 0
    """Of a SPAN: it stands for all slots from `slot` to this instant that have no line of their own; else 0."""

    @property
    def key(self) -> tuple[str, FireKind, int]:
        """What names the line."""
        return self.schedule, self.kind, self.slot

    def __repr__(self) -> str:
        return f"<Fire {self.schedule} {self.slot} {self.kind.value}: {self.outcome.value}>"


@dataclass(slots=True, eq=False, repr=False)
class Schedule:
    definition: Definition
    secret: bytes
    """16 random bytes from which the secrets of its runs are derived."""
    created_wall: float
    updated_wall: float
    """Since when it has this definition …"""
    since_wall: float
    """… and this timing: slots before are none of its own."""
    revision: int = 1
    paused: bool = False
    pause_reason: str = ""
    trouble: str = ""
    """Why its slots can not be worked out at present; empty: they can."""
    cursor: int = 0
    """Every slot up to here has been decided on."""
    ahead: set[int] = field(default_factory=set)
    """Slots beyond, which have been decided on all the same: the clock was set back since."""
    next_slot: int | None = None
    timer: int = 0
    """Ticket of the timer for it; 0 = none."""
    waiting: deque[Fire] = field(default_factory=deque)
    """Fires that wait until the runs before them are over, in their order …"""
    made_up: deque[Fire] = field(default_factory=deque)
    """… and those, behind them, whose time was long ago; by slot."""
    live: dict[Run, Fire] = field(default_factory=dict)
    """Its runs that are not over, oldest first."""
    recent: deque[Fire] = field(default_factory=lambda: deque(maxlen=RECENT_FIRES))
    """The newest lines of its ledger, in the order in which they were decided on."""
    last_trigger: int = 0
    """The slot of the newest fire that a person asked for."""

    def __repr__(self) -> str:
        return f"<Schedule {self.name}: {self.state.value}>"

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def state(self) -> ScheduleState:
        if self.paused or self.trouble:
            return ScheduleState.PAUSED
        return ScheduleState.FINISHED if self.next_slot is None else ScheduleState.ACTIVE
