"""What a master does for schedules around the core: it follows the wall clock, reads what a request needs to know
from the disk, and tells webhooks.

As `master.wall_clock`, `master.schedule_requests` and `master.alerts` do it: what is read from the disk is read once
all that was decided before is on it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from titan_core.errors import RequestRefused
from titan_core.master.engine import CLOCK_STEP_S
from titan_core.protocol.messages import ScheduleSpec, Timing
from titan_core.scheduler.actions import SendAlert
from titan_core.scheduler.events import AlertSettled, BackfillRequested, ScheduleDefined, WallClockSet
from titan_core.scheduler.schedule_model import Definition
from titan_core.store.definitions import definition
from titan_core.timetable import check_timing
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.oracle import Oracle
from titan_test_suite.pytests.support.simulation.store import Store

if TYPE_CHECKING:
    from titan_test_suite.pytests.support.simulation.master import Master


class Desk:
    """Of one life of a master."""

    def __init__(self, agenda: Agenda, store: Store, oracle: Oracle, master: Master) -> None:
        self._agenda, self._store, self._oracle, self._master = agenda, store, oracle, master
        self.following = False
        """It is being read what lies ahead of the wall clock; until then nothing is due."""

    # ── the wall clock ────────────────────────────────────────────────────────────────────────────

    @property
    def clock_was_set(self) -> bool:
        """Whether the wall clock is not where the core has it."""
        return abs(self._agenda.wall_offset_s - self._master.core.state.offset_s) > CLOCK_STEP_S

    def follow_clock(self) -> None:
        """Tell the core where the clock is, and which slots that lie ahead again have been decided on."""
        if self.following or not self._master.alive or not self.clock_was_set:
            return
        offset_s, state = self._agenda.wall_offset_s, self._master.core.state
        if offset_s > state.offset_s:
            self._master.handle(WallClockSet(offset_s))
            return
        self.following, names, wall = True, tuple(state.schedules), self._agenda.wall

        def tell() -> None:
            self.following = False
            found = {name: self._store.rows.decided_ahead(name, wall) for name in names}
            self._master.handle(WallClockSet(offset_s, {name: slots for name, slots in found.items() if slots}))

        self._master.answer(tell)

    # ── requests ──────────────────────────────────────────────────────────────────────────────────

    def define(self, asked: ScheduleSpec, pause: bool, resume: bool, only_new: bool) -> None:
        """Make a schedule, or change it; who asked is told once that is durable."""

        def put() -> None:
            known = self._master.core.state.schedules.get(asked.name)
            timing = self._anchored(asked.timing, known.definition.source.timing if known else None)
            source = replace(asked, timing=timing)
            try:
                if known is None or known.definition.source.timing != timing:
                    check_timing(timing, self._agenda.wall)
                self._master.handle(self._defined(definition(source), pause, resume, only_new, known is None))
            except RequestRefused as refusal:
                assert refusal.message
                return
            self._master.answer(lambda: self._oracle.timekeeper.promise(source))

        self._master.answer(put)

    def _anchored(self, timing: Timing, known: Timing | None) -> Timing:
        if not timing.every_s:
            return replace(timing, anchor_wall=0.0)
        if known is not None and replace(known, anchor_wall=0.0) == replace(timing, anchor_wall=0.0):
            return replace(timing, anchor_wall=known.anchor_wall)
        return replace(timing, anchor_wall=float(int(self._agenda.wall)))

    def _defined(self, made: Definition, pause: bool, resume: bool, only_new: bool, is_new: bool) -> ScheduleDefined:
        """A new one may have had a namesake, whose ledger goes on."""
        rows, name = self._store.rows, made.name
        wall = min(self._agenda.wall, self._master.core.state.wall)
        ahead = rows.decided_ahead(name, wall) if is_new else ()
        trigger = rows.last_trigger(name) if is_new else 0
        return ScheduleDefined(made, self._agenda.dice.randbytes(16), pause, resume, only_new, ahead, trigger)

    def backfill(self, name: str, first: int, last: int) -> None:
        """Have past slots made up for: those that did not run, and are not to."""

        def ask() -> None:
            schedule = self._master.core.state.schedules.get(name)
            if schedule is None:
                return
            slots = schedule.definition.timetable.newest(first - 1, min(last, schedule.cursor), last - first + 1)
            done = self._store.rows.ledgers.done_between(name, first, last)
            self._master.handle(BackfillRequested(name, tuple(slot for slot in slots if slot not in done)))

        self._master.answer(ask)

    # ── webhooks ──────────────────────────────────────────────────────────────────────────────────

    def alert(self, order: SendAlert) -> None:
        """Somebody is told once the order is durable: soon, after some tries, or never."""
        schedule, kind, slot = order.fire.schedule, order.fire.kind, order.fire.slot
        problem = "" if self._agenda.chance(0.8) else "nobody listens"

        def settle() -> None:
            if self._master.alive:
                self._oracle.timekeeper.was_told((schedule, kind.value, slot), order.about)
                self._master.handle(AlertSettled(schedule, kind, slot, order.about, problem))

        self._master.answer(lambda: self._agenda.after(self._agenda.spread(0.005, 40), settle))
