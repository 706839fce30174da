"""A cluster without threads, each step of which the timekeeper judges as soon as it is decided: its master's disk is
never late, the wall clock may be set, and the master may be started again."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from titan_core.errors import RequestRefused
from titan_core.scheduler import records
from titan_core.scheduler.actions import Action
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import Event, TimePassed
from titan_core.scheduler.states import FINAL
from titan_test_suite.pytests.support.kept_cluster import GRACE_S, KeptCluster
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.desk import Desk
from titan_test_suite.pytests.support.simulation.store import Step
from titan_test_suite.pytests.support.simulation.timekeeper import Timekeeper

RUNS_KEPT = 10
"""Finished runs in memory, of which the invariants read everything after each step."""


class JudgedCluster(KeptCluster):
    """To its desk it is a master that is always there."""

    alive = True

    def __init__(self) -> None:
        super().__init__(runs_kept=RUNS_KEPT)
        self.timekeeper = Timekeeper()
        self.trouble_text = ""
        """Why no run can be made."""
        self.broken = False
        """Something was not as it must be; what the timekeeper knows since is not the whole truth."""
        self._clock = Agenda(0)
        store, oracle = SimpleNamespace(rows=self.rows), SimpleNamespace(timekeeper=self.timekeeper)
        self.desk = Desk(self._clock, store, oracle, self)
        self.desk.follow_clock()

    @property
    def wall(self) -> float:
        return self._clock.wall

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: Event) -> list[Action]:
        told_s, self.broken = self.core.state.offset_s, True
        try:
            actions = super().handle(event)
            rows = records.batch(actions, self.now)
            if rows is not None:
                self.timekeeper.durable(Step(0, rows, event, self.now, self.wall, told_s))
        except RequestRefused:
            self.broken = False
            raise
        self.broken = False
        return actions

    def answer(self, say: Callable[[], None]) -> None:
        say()

    # ── time ──────────────────────────────────────────────────────────────────────────────────────

    def advance(self, seconds: float) -> None:
        """Let time pass; nothing fires before the core knows the wall clock as it is."""
        target = self.now + seconds
        while (due_at := self.core.next_due_at()) is not None and due_at <= target:
            self._go_to(due_at)
            if self.desk.clock_was_set:
                self.desk.follow_clock()
            else:
                self.handle(TimePassed(self.trouble_text))
        self._go_to(target)

    def _go_to(self, instant_at: float) -> None:
        self.now = self._clock.now = max(self.now, instant_at)

    def set_clock(self, forward_s: float, noticed: bool) -> None:
        self._clock.wall_offset_s += forward_s
        if noticed:
            self.desk.follow_clock()

    def start_again(self, away_s: float, forward_s: float) -> None:
        """Another master, after so long, and by a clock that was set meanwhile."""
        self._go_to(self.now + away_s)
        self.set_clock(forward_s, noticed=False)
        for worker in self.workers.values():
            worker.connected = False
        self.core, self.term = Core(self.core.state.settings), self.term + 1
        self.handle(self.rows.recovered(self.term, GRACE_S, RUNS_KEPT, self.wall, self._clock.wall_offset_s))

    def pending(self) -> bool:
        """Whether a job waits for anything."""
        return any(job.state not in FINAL for run in self.core.state.runs.values() for job in run.jobs.values())
