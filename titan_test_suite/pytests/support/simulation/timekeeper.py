"""What schedules promise, and whether it is kept: the part of the judge that knows the wall clock.

From the events whose steps became durable, and from their rows, it keeps books of its own: what people want of a
schedule, its ledger line by line, its runs. From these it judges

    C1   every slot between the definition of a schedule and now has one line, or is one of many in a span
    C2   a fire has one run at most, whatever happens to the master and to the clock; a run and the line that says so
         are of one step
    C3   nothing is decided on before its slot, nor, while there is a master, long after it; a run is told its slot
    C4   C5   an outcome has its reason, see `FireRules`; what is made up for is what is wanted, in order
    C6   but for `overlap: allow`, no run begins while another one goes on; while it is paused, nothing begins but
         what somebody has asked for; all that may begin does so at once
    C7   at rest nothing waits but for what is paused, and a line says how its run ended
    C8   whoever is to be told is told, and no more than once of the same
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import NamedTuple

from titan_core.protocol.messages import ScheduleSpec
from titan_core.scheduler.events import (
    BackfillRequested,
    Event,
    ScheduleDefined,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    StateRecovered,
    WallClockSet,
)
from titan_core.scheduler.fires import MADE_UP_AT_ONCE
from titan_core.scheduler.records import StateRecord
from titan_core.scheduler.schedule_records import FireRecord, OriginRecord
from titan_core.scheduler.states import FINAL, FireOutcome, JobState, Overlap, RunState
from titan_test_suite.pytests.support.simulation.books import Book, Books, Place
from titan_test_suite.pytests.support.simulation.fire_rules import FireRules
from titan_test_suite.pytests.support.simulation.ledgers import (
    MISSED,
    QUEUED,
    SCHEDULE,
    SPAN,
    TRIGGER,
    FireKey,
    key_of,
)
from titan_test_suite.pytests.support.simulation.store import Step

RAN = FireOutcome.RAN.value
CLOCK = WallClockSet | StateRecovered
"""By these a master is told where the wall clock is."""
_FINAL = {state.value for state in FINAL}


class _Before(NamedTuple):
    """What a fire had its turn by: the rules, and who waited."""

    overlap: Overlap | None
    paused: bool
    queue: tuple[Place, ...]

    @classmethod
    def of(cls, book: Book) -> _Before:
        return cls(book.overlap, book.paused, tuple(book.queue))


class Timekeeper:
    """Raises AssertionError at the first thing that is not as it was promised."""

    def __init__(self) -> None:
        self.books = Books()
        self.counted: Counter[str] = Counter()
        """What has happened, for those who want to know whether anything has."""
        self._runs: dict[FireKey, int] = {}
        """By number; of what a schedule has fired."""
        self._fire_of: dict[int, FireKey] = {}
        self._origins: dict[int, OriginRecord] = {}
        self._jobs: dict[int, dict[int, StateRecord]] = {}
        """Of runs of fires."""
        self._run_states: dict[int, str] = {}
        self._sources: set[ScheduleSpec] = set()
        """All that were ever durable."""

    # ── what becomes durable ──────────────────────────────────────────────────────────────────────

    def durable(self, step: Step) -> None:
        if isinstance(step.cause, CLOCK):
            self._clock_was_set(step, step.cause.offset_s)
        self._retract(step)
        FireRules(self.books, step).check()
        new = [origin for origin in step.batch.origins if origin.kind and origin.run not in self._fire_of]
        before = {origin.schedule: _Before.of(self.books[origin.schedule]) for origin in new}
        self._count(step)
        for line in step.batch.fires:
            self.books[line.schedule].write(line)
        self._hear(step)
        if isinstance(step.cause, BackfillRequested):
            self.books[step.cause.name].begun_anew.update((SCHEDULE, slot) for slot in step.cause.slots)
        for origin in step.batch.origins:
            self._take_origin(step, origin)
        self._take_runs(step)
        for origin in new:
            self._check_launch(step, origin, before[origin.schedule])
        self._check_replaced(step)
        self._check_turns(step)
        self._check_runs_fit(step)

    def _clock_was_set(self, step: Step, offset_s: float) -> None:
        wall = step.at + offset_s
        self.books.clock_is_at(wall)
        if isinstance(step.cause, WallClockSet):
            self.counted["clock set"] += 1

    def _retract(self, step: Step) -> None:
        """What was MISSED of the future is gone."""
        after_wall = step.batch.retracted_after
        if after_wall is not None:
            wall = step.at + (step.cause.offset_s if isinstance(step.cause, CLOCK) else step.told_s)
            assert abs(after_wall - wall) < 0.001, f"MISSED is taken back after {after_wall}, it is {wall}"
            self.books.clock_is_at(after_wall)
            self.counted["taken back"] += sum(book.retract(after_wall) for book in self.books.values())
        if isinstance(step.cause, CLOCK):
            wall = step.at + step.cause.offset_s
            there = (line for book in self.books.values() if book.definition for line in book.lines.values())
            ahead = [key_of(line) for line in there if line.outcome == MISSED and line.slot > wall + 0.001]
            assert not ahead, f"{ahead} were MISSED, and it is {wall}"

    def _count(self, step: Step) -> None:
        for line in step.batch.fires:
            before = self.books[line.schedule].lines.get((line.kind, line.slot))
            if before is None or before.outcome != line.outcome:
                self.counted[line.outcome] += 1
            if line.made_up and not (before and before.made_up):
                by_clock = isinstance(step.cause, CLOCK)
                self.counted["caught up" if by_clock else "backfilled"] += 1

    def _lines(self) -> list[FireRecord]:
        return [line for book in self.books.values() for line in book.lines.values()]

    # ── what people want ──────────────────────────────────────────────────────────────────────────

    def _hear(self, step: Step) -> None:
        """What somebody wanted, and whether that is what is written down."""
        wall = step.at + step.told_s
        match step.cause:
            case ScheduleDefined(definition, _, pause, resume):
                book = self.books[definition.name]
                self.counted["defined"] += book.definition is None
                book.paused = pause or (book.paused and book.definition is not None and not resume)
                book.define(definition, wall)
            case SchedulePaused(name):
                self.books[name].paused = True
            case ScheduleResumed(name):
                self.books[name].paused = False
            case ScheduleRemoved(name):
                self.books[name].definition = None
                self.books[name].end_era(wall)
            case _:
                pass
        self._check_written(step)

    def _check_written(self, step: Step) -> None:
        written = {record.name: record for record in step.batch.schedules}
        asked = _about(step.cause)
        assert not asked or asked in written, f"{asked} was changed, and that is not written down"
        for name, record in written.items():
            book = self.books[name]
            assert record.removed == (book.definition is None), f"{name} is there, or is not: {record}"
            if book.definition is not None:
                assert record.source == book.definition.source, f"{name} is kept as {record.source}"
                self._sources.add(record.source)
                assert record.paused == book.paused, f"{name}: paused is {record.paused}"
                assert record.revision >= book.revision, f"{name}: revision {record.revision} after {book.revision}"
            book.revision = 0 if record.removed else record.revision

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────

    def _take_origin(self, step: Step, origin: OriginRecord) -> None:
        record = next((run for run in step.batch.runs if run.sequence == origin.run), None)
        assert record is not None, f"{origin} started a run that is not there"
        if origin.run in self._origins:  # the run has grown
            assert self._origins[origin.run] == origin, f"{origin} began otherwise: {self._origins[origin.run]}"
            return
        self._origins[origin.run] = origin
        told = dict(origin.variables)
        assert told["TITAN_SCHEDULE"] == origin.schedule
        if not origin.kind:
            assert told["TITAN_ALERT"] in ("missed", "failure"), f"{record.run_id} is told {told}"
            self.counted["alert runs"] += 1
            return
        fire = origin.schedule, origin.kind, origin.slot
        assert fire not in self._runs, f"{fire} was fired twice, by runs {self._runs[fire]} and {origin.run}"
        due = f"{datetime.fromtimestamp(origin.slot, UTC):%Y-%m-%dT%H:%M:%SZ}"
        assert told["TITAN_SCHEDULED_FOR"] == due, f"the run of {fire} is told {told}"
        assert record.name == origin.schedule
        line = next((line for line in step.batch.fires if key_of(line) == fire), None)
        assert line is not None, f"the run of {fire} began, and its line is of another step"
        assert (line.outcome, line.run_id) == (RAN, record.run_id), f"{record.run_id} began, and its line says {line}"
        self._runs[fire], self._fire_of[origin.run] = origin.run, fire
        self._jobs[origin.run] = {}

    def _take_runs(self, step: Step) -> None:
        for record in step.batch.runs:
            if record.sequence in self._fire_of:
                name, *place = self._fire_of[record.sequence]
                self._run_states[record.sequence] = record.state
                if record.state == RunState.RUNNING.value:
                    self.books[name].running[record.sequence] = place[0], place[1]
                else:
                    self.books[name].running.pop(record.sequence, None)
        for state in step.batch.states:
            if state.run in self._jobs:
                self._jobs[state.run][state.job] = state

    def jobs_of_runs(self, last: int) -> list[int]:
        """Jobs of the newest runs of fires, so many runs."""
        return [job for run in list(self._jobs)[-last:] for job in self._jobs[run]]

    def replaced(self, step: Step) -> set[int]:
        """Runs that went on before this step, in the place of which another one is to begin."""
        new = [line for line in step.batch.fires if (line.kind, line.slot) not in self.books[line.schedule].lines]
        replacing = {line.schedule for line in new if not line.made_up and line.kind != SPAN}
        books = [self.books[name] for name in replacing if self.books[name].overlap is Overlap.REPLACE]
        return {run for book in books for run, place in book.running.items() if not book.lines[place].made_up}

    def _check_launch(self, step: Step, origin: OriginRecord, before: _Before) -> None:
        """Under the rules that are, or, in the step that changes them, under those that were `before`."""
        book, place = self.books[origin.schedule], (origin.kind, origin.slot)
        by_hand = origin.kind == TRIGGER
        assert by_hand or not (book.paused and before.paused), f"{origin} began, and it is paused"
        assert book.definition is not None, f"{origin} began, and there is no such schedule"
        others = {run: other for run, other in book.running.items() if run != origin.run}
        if Overlap.ALLOW not in (before.overlap, book.overlap) and origin.run in book.running:
            assert not others, f"{origin} began while {others} went on, and its overlap is {book.overlap}"
        if book.lines[place].made_up:
            self._check_made_up_launch(book, place)
        elif place in before.queue:
            self._check_turn(book, place, before)

    def _check_turn(self, book: Book, place: Place, before: _Before) -> None:
        """Those that began to wait before it have begun, or lost their turn. Where the clock was set back meanwhile,
        their slots may be later; of such a master that was started again does not know which was first."""
        older = before.queue[: before.queue.index(place)]
        able = [one for one in older if one[0] == TRIGGER or not book.paused]
        left = [one for one in able if one in book.queue and one[1] < place[1]]
        assert not left, f"{place} began before {left}"

    def _check_made_up_launch(self, book: Book, place: Place) -> None:
        """Behind all that is due, in order of the slots, and not too many at once."""
        regular = book.waiting(False)
        assert not regular, f"{place} was made up for before {regular} had their turn"
        earlier = [line.slot for line in book.waiting(True) if line.slot < place[1]]
        assert not earlier, f"{place} was made up for before {earlier}"
        going_on = sum(book.lines[other].made_up for other in book.running.values())
        assert going_on <= MADE_UP_AT_ONCE, f"{going_on} runs make up for the past"

    def _check_replaced(self, step: Step) -> None:
        """What is to be replaced is cancelled in the step in which the other one begins to wait."""
        for line in step.batch.fires:
            book = self.books[line.schedule]
            fresh = line.outcome == QUEUED and line.decided_wall == step.at + step.told_s and not line.made_up
            changed = isinstance(step.cause, ScheduleDefined)
            if fresh and book.overlap is Overlap.REPLACE and not changed:
                assert len(book.waiting(False)) == 1, f"{book.waiting(False)} wait, and its overlap is replace"
                regular = [run for run, place in book.running.items() if not book.lines[place].made_up]
                left = [state for run in regular for state in self._jobs[run].values() if not _is_ending(state)]
                assert not left, f"{line} is to replace {regular}, and {left} go on"

    def _check_turns(self, step: Step) -> None:
        """Nothing waits that may begin."""
        names = {line.schedule for line in step.batch.fires} | {record.name for record in step.batch.schedules}
        for book in (self.books[name] for name in names):
            waiting = [line for line in book.waiting(False) if line.kind == TRIGGER or not book.paused]
            if not book.running:
                past = [] if book.paused else book.waiting(True)
                assert not waiting and not past, f"{[*waiting, *past]} could begin"
            elif book.overlap is Overlap.ALLOW:
                assert not waiting, f"{waiting} wait, and may run beside others"

    def _check_runs_fit(self, step: Step) -> None:
        """A line says what its run is."""
        runs = {record.sequence for record in step.batch.runs if record.sequence in self._fire_of}
        runs |= {self._runs[key] for line in step.batch.fires if (key := key_of(line)) in self._runs}
        for run in runs:
            name, kind, slot = self._fire_of[run]
            line = self.books[name].lines[kind, slot]
            assert line.run_state == self._run_states[run], f"run {run} is {self._run_states[run]}, and {line}"
        for line in step.batch.fires:
            assert (line.outcome == RAN) == (key_of(line) in self._runs), f"{line}: there is a run, or is not"

    # ── who is told ───────────────────────────────────────────────────────────────────────────────

    def promise(self, source: ScheduleSpec) -> None:
        """Somebody was told that there is a schedule, or that it was changed."""
        assert source in self._sources, f"{source} was acknowledged, and is not durable"

    def was_told(self, key: FireKey, about: str) -> None:
        """A webhook hears of a fire."""
        name, kind, slot = key
        line = self.books[name].lines.get((kind, slot))
        self.counted["told"] += 1
        if (kind, slot) not in self.books[name].begun_anew:
            assert line is not None and line.alert == "due", f"somebody is told of {key}: {line}"

    # ── the end ───────────────────────────────────────────────────────────────────────────────────

    def check_complete(self, wall: float) -> None:
        """All that was decided is durable, and nothing has been due for a while before `wall`."""
        for name, book in self.books.items():
            wrong = list(book.unaccounted(wall))
            assert not wrong, f"schedule {name}: {wrong}"

    def check_rest(self) -> None:
        """Faults have stopped long ago, and nothing is due any more."""
        for name, book in self.books.items():
            assert not book.running, f"runs {book.running} of {name} go on"
            waiting = [*book.waiting(False), *book.waiting(True)]
            assert not waiting or book.paused, f"for schedule {name} wait {waiting}"
        assert not self.untold(), f"nobody was told of {self.untold()}"

    def untold(self) -> list[FireKey]:
        """Fires of which somebody is still to be told."""
        return [key_of(line) for line in self._lines() if line.alert == "due"]


def _is_ending(state: StateRecord) -> bool:
    return state.state in _FINAL or state.ending_state == JobState.CANCELLED.value


def _about(cause: Event) -> str:
    """The schedule that was to be changed; empty: none."""
    match cause:
        case SchedulePaused(name) | ScheduleResumed(name) | ScheduleRemoved(name):
            return name
    return ""
