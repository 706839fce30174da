"""What a line of a ledger may say, and why: the rules by which the timekeeper judges one step.

A line is new, or says something else than before; of both it is known what had happened. RAN stands for good; MISSED,
SKIPPED and FAILED until a person has the slot made up for; QUEUED until it is settled.
"""

from __future__ import annotations

from collections import defaultdict

from titan_core.scheduler.catch_up import MOST
from titan_core.scheduler.events import (
    AlertSettled,
    BackfillCancelled,
    BackfillRequested,
    ScheduleDefined,
    ScheduleRemoved,
    ScheduleTriggered,
    StateRecovered,
    TimePassed,
    WallClockSet,
)
from titan_core.scheduler.fires import MAX_WAITING
from titan_core.scheduler.schedule_model import AlertPolicy, Definition
from titan_core.scheduler.schedule_records import FireRecord
from titan_core.scheduler.states import CatchUp, FireOutcome, Overlap, RunState
from titan_test_suite.pytests.support.simulation.books import Book, Books
from titan_test_suite.pytests.support.simulation.ledgers import SCHEDULE, SPAN, TRIGGER, key_of
from titan_test_suite.pytests.support.simulation.store import Step

QUEUED, RAN, MISSED, FAILED = (FireOutcome[name].value for name in ("QUEUED", "RAN", "MISSED", "FAILED"))
LATE_S = 25.0
"""So long after a slot, and what it is put off by, it may be decided on while there is a master: when its disk is
full, and the clock was set back, it can not know what lies ahead."""
EARLY_S = 0.001


class FireRules:
    """Of one step. `books` are those before it, but for the clock; a step's lines that are not there yet are new."""

    def __init__(self, books: Books, step: Step) -> None:
        self._books, self._step, self._cause = books, step, step.cause
        self._by_clock = isinstance(step.cause, WallClockSet | StateRecovered)

    def check(self) -> None:
        """Raises AssertionError."""
        passed_over: dict[str, list[FireRecord]] = defaultdict(list)
        for line in self._step.batch.fires:
            book = self._books[line.schedule]
            before = book.lines.get((line.kind, line.slot))
            if before is None:
                self._check_new(book, line)
                if self._by_clock:
                    passed_over[line.schedule].append(line)
            else:
                self._check_changed(book, before, line)
            self._check_alert(book, before, line)
        for name, lines in passed_over.items():
            self._check_passed_over(self._books[name], lines)
        if isinstance(self._cause, ScheduleTriggered):
            self._check_triggered(self._cause.name)

    # ── new lines ─────────────────────────────────────────────────────────────────────────────────

    def _check_new(self, book: Book, line: FireRecord) -> None:
        assert book.definition is not None, f"{line}, and there is no such schedule"
        if line.kind == TRIGGER:
            by_hand = isinstance(self._cause, ScheduleTriggered) and self._cause.name == line.schedule
            assert by_hand, f"nobody asked for {line}"
        else:
            self._check_slot(book, book.definition, line)
        match line.outcome:
            case FireOutcome.MISSED.value:
                assert self._by_clock and not book.paused, f"{line}: there was a master, or it is paused"
            case FireOutcome.FAILED.value:
                trouble = isinstance(self._cause, TimePassed) and self._cause.trouble
                assert trouble and not book.paused, f"{line}: a run could be made"
            case FireOutcome.SKIPPED.value:
                removed = isinstance(self._cause, ScheduleRemoved) and self._cause.name == line.schedule
                assert book.paused or removed or self._may_be_skipped(book, line), f"{line}: it had its turn"
            case _ if line.kind == SPAN:
                raise AssertionError(f"{line}: a span of slots comes to nothing")
            case _ if line.made_up:
                assert self._by_clock or self._was_wanted(line), f"{line}: nobody missed it"
            case _:
                self._check_regular(book, line)

    def _check_slot(self, book: Book, definition: Definition, line: FireRecord) -> None:
        wall = self._step.wall
        if not (self._by_clock or isinstance(self._cause, TimePassed)):  # who asks does not wait for the clock
            wall = max(wall, self._step.at + self._step.told_s)
        assert definition.timetable.after(line.slot - 1) == line.slot, f"{line} is no slot of {definition.timing}"
        assert (line.until > 0) == (line.kind == SPAN), f"{line} stands for one, or for many"
        assert max(line.slot, line.until) <= wall + EARLY_S, f"{line} is early: it is {wall}"
        if isinstance(self._cause, TimePassed):
            due_wall = line.slot + definition.jitter_s
            assert wall <= due_wall + LATE_S, f"{line} is late: it is {wall}"
        if not self._was_wanted(line):
            low = book.eras[-1].low
            assert line.slot > low, f"{line} is older than its schedule, which begins after {low}"

    def _check_regular(self, book: Book, line: FireRecord) -> None:
        """RAN or QUEUED, in its time."""
        if line.kind == SCHEDULE:
            assert not book.paused, f"{line}, and it is paused"
            due = isinstance(self._cause, TimePassed) and not self._cause.trouble
            assert due or isinstance(self._cause, ScheduleDefined), f"{line} after {self._cause}"
        if line.outcome == QUEUED:
            assert book.overlap is not Overlap.ALLOW, f"{line} waits, and need not"
            assert self._goes_on(book, line), f"{line} waits for nothing"

    def _may_be_skipped(self, book: Book, line: FireRecord) -> bool:
        """Whether another one went on, or had its turn before."""
        if book.overlap is Overlap.SKIP:
            return line.kind == SCHEDULE and self._goes_on(book, line)
        if book.overlap is Overlap.REPLACE and self._is_replaced(line):
            return True
        return book.overlap is not Overlap.ALLOW and len(book.waiting(False)) >= MAX_WAITING

    def _goes_on(self, book: Book, line: FireRecord) -> bool:
        """Whether a run of its schedule went on, began just before, or another fire waited."""
        began = any(origin.schedule == line.schedule and origin.kind for origin in self._step.batch.origins)
        return bool(book.running or book.waiting(False) or began)

    def _is_replaced(self, line: FireRecord) -> bool:
        """Whether there is a later fire in this step."""
        others = [other for other in self._step.batch.fires if other.schedule == line.schedule and other is not line]
        return any(not other.made_up and other.decided_wall >= line.decided_wall for other in others)

    # ── what was passed over ──────────────────────────────────────────────────────────────────────

    def _check_passed_over(self, book: Book, lines: list[FireRecord]) -> None:
        """Those that are made up for are those that the definition wants; all of them are its slots."""
        lines.sort(key=lambda line: line.slot)
        if isinstance(self._cause, WallClockSet):
            self._check_forward(book, lines)
        assert not any(line.kind == SPAN for line in lines[1:]), f"there is more than one span in {lines}"
        assert len(lines) <= MOST + 1, f"{len(lines)} lines at once"
        if lines[0].kind == SPAN:
            self._check_span(book, lines[0], lines[1:])
        if not book.paused:
            wanted = {line.slot for line in self._wanted(book, lines)}
            made_up = {line.slot for line in lines if line.made_up}
            assert made_up == wanted, f"made up for are {sorted(made_up)}, wanted {sorted(wanted)} of {lines}"
            self._check_told_of_missed(book, [line for line in lines if line.outcome == MISSED])

    def _check_span(self, book: Book, span: FireRecord, lines: list[FireRecord]) -> None:
        """It stands for the oldest, where there are too many for a line each."""
        assert book.definition is not None
        others = book.definition.timetable.newest(span.until, self._step.at + self._offset_s(), 2 * MOST)
        assert len(others) in (MOST, MOST + 1), f"{span} leaves out {others}"  # one more may be put off
        assert all(line.slot > span.until for line in lines), f"{span} stands for some of {lines}"

    def _check_told_of_missed(self, book: Book, missed: list[FireRecord]) -> None:
        """One word for all, with the newest."""
        assert book.definition is not None
        wanted = book.definition.on_missed != AlertPolicy()
        told = [bool(line.alert) for line in missed]
        assert told == [wanted and line is missed[-1] for line in missed], f"who is told of {missed}?"

    def _check_forward(self, book: Book, lines: list[FireRecord]) -> None:
        """The clock jumped over them; what had been due before was decided on before."""
        assert isinstance(self._cause, WallClockSet) and book.definition is not None
        assert self._cause.offset_s > self._step.told_s, (
            f"{lines} were passed over, and the clock was not set forward"
        )
        before = self._step.at + self._step.told_s
        first = book.undecided(lines[0].slot, lines[-1].slot)[0]
        late = first + book.definition.jitter_s < before - LATE_S
        assert not late, f"{first} should have been decided on before the clock was set, at {before}"

    def _wanted(self, book: Book, lines: list[FireRecord]) -> list[FireRecord]:
        assert book.definition is not None
        policy = book.definition.catch_up
        oldest = self._step.at + self._offset_s() - book.definition.catch_up_window_s
        if policy is CatchUp.NONE:
            return []
        most = MOST if policy is CatchUp.ALL and isinstance(self._cause, StateRecovered) else 1
        return [line for line in lines if line.slot >= oldest and line.kind == SCHEDULE][-most:]

    def _offset_s(self) -> float:
        assert isinstance(self._cause, WallClockSet | StateRecovered)
        return self._cause.offset_s

    # ── lines that say something else now ─────────────────────────────────────────────────────────

    def _check_changed(self, book: Book, before: FireRecord, line: FireRecord) -> None:
        if line.outcome == before.outcome:
            self._check_same(before, line)
            return
        match before.outcome, line.outcome:
            case FireOutcome.QUEUED.value, FireOutcome.RAN.value:
                pass
            case FireOutcome.QUEUED.value, FireOutcome.SKIPPED.value:
                assert self._lost_its_turn(book, line), f"{line} waited, and had its turn"
            case _, FireOutcome.QUEUED.value | FireOutcome.RAN.value:
                assert before.outcome != RAN, f"{before} became {line}"
                assert self._was_wanted(line) and line.made_up, f"{before} became {line}, and nobody wanted it"
            case _:
                raise AssertionError(f"{before} became {line}")

    def _check_same(self, before: FireRecord, line: FireRecord) -> None:
        """Who is told may have changed, and what its run is."""
        assert line.decided_wall == before.decided_wall, f"{before} was decided on again: {line}"
        assert line.run_id == before.run_id, f"{before} has another run: {line}"
        assert line.until == before.until and line.made_up == before.made_up, f"{before} became {line}"

    def _lost_its_turn(self, book: Book, line: FireRecord) -> bool:
        match self._cause:
            case ScheduleRemoved(name):
                return name == line.schedule
            case BackfillCancelled(name):
                return name == line.schedule and line.made_up
        return book.overlap is Overlap.REPLACE and not line.made_up and self._is_replaced(line)

    def _was_wanted(self, line: FireRecord) -> bool:
        """Whether a person has just asked for this slot."""
        backfill = isinstance(self._cause, BackfillRequested) and self._cause.name == line.schedule
        return backfill and line.kind == SCHEDULE and line.slot in self._cause.slots

    def _check_triggered(self, name: str) -> None:
        new = [line for line in self._step.batch.fires if key_of(line)[:2] == (name, TRIGGER)]
        new = [line for line in new if (line.kind, line.slot) not in self._books[name].lines]
        assert len(new) == 1, f"{name} was fired by hand, and new in its ledger is {new}"

    # ── who is told ───────────────────────────────────────────────────────────────────────────────

    def _check_alert(self, book: Book, before: FireRecord | None, line: FireRecord) -> None:
        was = before.alert if before and not self._was_wanted(line) else ""
        if line.alert != was:
            settled = isinstance(self._cause, AlertSettled | StateRecovered)
            assert was in ("", "due"), f"{before} was told of, and is again: {line}"
            assert settled if was else self._is_bad(before, line), f"{line}: why is somebody to be told?"
        elif not was and book.definition is not None and self._failed(before, line):
            assert book.definition.on_failure == AlertPolicy(), f"{line}: nobody is told"

    def _is_bad(self, before: FireRecord | None, line: FireRecord) -> bool:
        return self._failed(before, line) or (before is None and line.outcome == MISSED)

    def _failed(self, before: FireRecord | None, line: FireRecord) -> bool:
        """Whether it has failed in this step."""
        ran_before = before is not None and before.run_state == RunState.FAILED.value
        outcome_before = before is not None and before.outcome == FAILED
        run_failed = line.run_state == RunState.FAILED.value and not ran_before
        return run_failed or (line.outcome == FAILED and not outcome_before)
