"""People who keep schedules: they define, change, pause, resume, fire and remove them, and have fires made up for.

What they ask may be lost, and may come twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from titan_core.errors import RequestRefused
from titan_core.protocol.messages import ScheduleSpec
from titan_core.scheduler.events import (
    BackfillCancelled,
    Event,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleTriggered,
)
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.master import Master
from titan_test_suite.pytests.support.simulation.timetables import rolled_schedule, rolled_timing, seldom

NAMES = ("hourly", "nightly", "weekly")
LOOKED_BACK_S = 300
"""How far back somebody has fires made up for."""


class Planners:
    """`serving()` is the master if it takes requests now."""

    def __init__(self, agenda: Agenda, serving: Callable[[], Master | None]) -> None:
        self._agenda, self._serving = agenda, serving
        self._known: dict[str, ScheduleSpec] = {}
        """What was last asked for, by name, whether anybody heard it or not."""
        self._versions = 0

    def ask(self) -> None:
        name = self._agenda.dice.choice(NAMES)
        if name not in self._known:
            self._define(name)
            return
        match self._agenda.dice.randrange(20):
            case 0 | 1:
                self._define(name)
            case 2 | 3 | 4:
                self._change(name)
            case 5 | 6:
                self._put(SchedulePaused(name, self._agenda.dice.choice(["", "a holiday"])))
            case 7 | 8 | 9 | 10:
                self._put(ScheduleResumed(name))
            case 11 | 12 | 13:
                self._put(ScheduleTriggered(name))
            case 14 | 15 | 16:
                self._backfill(name)
            case 17:
                self._put(BackfillCancelled(name))
            case _:
                self._put(ScheduleRemoved(name))

    # ── definitions ───────────────────────────────────────────────────────────────────────────────

    def _define(self, name: str) -> None:
        """A new one, or another one of the same name."""
        self._versions += 1
        self._known[name] = rolled_schedule(self._agenda.dice, name, self._agenda.wall, f"v{self._versions}")
        self._send(name)

    def _change(self, name: str) -> None:
        """Another timing, or the same with other rules; it may have been removed meanwhile."""
        dice, known = self._agenda.dice, self._known[name]
        if dice.random() < 0.5:
            self._known[name] = replace(known, timing=rolled_timing(dice, self._agenda.wall))
        else:
            self._versions += 1
            other = rolled_schedule(dice, name, self._agenda.wall, f"v{self._versions}")
            self._known[name] = replace(other, timing=known.timing)
        self._send(name)

    def _send(self, name: str) -> None:
        dice, source = self._agenda.dice, self._known[name]
        pause, resume = dice.choice([(False, False)] * 6 + [(True, False)] + [(False, True)] * 3)
        only_new = dice.random() < 0.1
        self._later(lambda master: master.desk.define(source, pause, resume, only_new))

    # ── by hand ───────────────────────────────────────────────────────────────────────────────────

    def _backfill(self, name: str) -> None:
        wall = int(self._agenda.wall)
        first = wall - self._agenda.dice.randint(1, LOOKED_BACK_S)
        last = first + self._agenda.dice.choice([0, 20, 60, 120])
        self._later(lambda master: master.desk.backfill(name, first, last))

    def _put(self, event: Event) -> None:
        self._later(lambda master: master.handle(event))

    def _later(self, ask: Callable[[Master], object]) -> None:
        def arrive() -> None:
            master = self._serving()
            if master is not None:
                try:
                    ask(master)
                except RequestRefused as refusal:
                    assert refusal.message

        for _ in range(2 if self._agenda.chance(0.1) else 1):
            self._agenda.after(self._agenda.spread(0.0005, 0.5), arrive)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def wind_up(self) -> None:
        """Nothing is to be due for long; some stay paused, with what waits for them."""
        master = self._serving()
        assert master is not None
        for name, schedule in list(master.core.state.schedules.items()):
            source = replace(schedule.definition.source, timing=seldom())
            paused = schedule.paused and self._agenda.chance(0.5)
            master.desk.define(source, False, not paused, False)
            self._known[name] = source
