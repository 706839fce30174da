"""What is known of each schedule from what became durable: its definitions, its ledger, its runs that go on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import floor, inf

from titan_core.scheduler.schedule_model import Definition, Timetable
from titan_core.scheduler.schedule_records import FireRecord
from titan_core.scheduler.states import Overlap
from titan_test_suite.pytests.support.simulation.ledgers import MISSED, QUEUED, SCHEDULE, SPAN

Place = tuple[str, int]
"""Kind and slot: a line of one ledger."""
MOST_SLOTS = 100_000
"""More than there are in a history."""


@dataclass(eq=False)
class Era:
    """A time in which a schedule had one timetable."""

    timetable: Timetable
    jitter_s: float
    low: int
    """Slots later than this are its own: the earliest that the wall clock was since …"""
    high: float = inf
    """… and up to here; inf: it goes on."""

    def clock_is_at(self, wall: float) -> None:
        """The clock was set. What an era that is over had decided of the future was taken back."""
        if self.high == inf:
            self.low = min(self.low, floor(wall))
        else:
            self.high = min(self.high, wall)

    def slots(self, wall: float) -> Sequence[int]:
        """What has to be in the ledger; the last one may be put off while the era goes on."""
        until = min(self.high, wall)
        slots = self.timetable.newest(self.low, until, MOST_SLOTS) if until > self.low else ()
        put_off = self.high == inf and slots and slots[-1] + self.jitter_s > wall
        return slots[:-1] if put_off else slots


@dataclass(eq=False)
class Book:
    """Of one name; `definition` is None while there is no schedule of this name."""

    definition: Definition | None = None
    paused: bool = False
    eras: list[Era] = field(default_factory=list)
    lines: dict[Place, FireRecord] = field(default_factory=dict)
    queue: dict[Place, None] = field(default_factory=dict)
    """Fires that wait, but for those that make up for the past, in the order in which they began to."""
    running: dict[int, Place] = field(default_factory=dict)
    """Runs that are not over, by number."""
    begun_anew: set[Place] = field(default_factory=set)
    """Lines that were taken back, or made up for: somebody may still be told of what they said before."""
    revision: int = 0

    @property
    def overlap(self) -> Overlap | None:
        return None if self.definition is None else self.definition.overlap

    def waiting(self, made_up: bool) -> list[FireRecord]:
        return [line for line in self.lines.values() if line.outcome == QUEUED and line.made_up == made_up]

    def write(self, line: FireRecord) -> None:
        place = line.kind, line.slot
        self.lines[place] = line
        if line.outcome == QUEUED and not line.made_up:
            self.queue.setdefault(place)
        else:
            self.queue.pop(place, None)

    def define(self, definition: Definition, wall: float) -> None:
        """With another timing, slots are others from now on."""
        if self.definition is None or self.definition.timing != definition.timing:
            self.end_era(wall)
            self.eras.append(Era(definition.timetable, definition.jitter_s, floor(wall)))
        self.definition = definition

    def end_era(self, wall: float) -> None:
        if self.eras and self.eras[-1].high == inf:
            self.eras[-1].high = wall

    def retract(self, after_wall: float) -> int:
        """Nothing later was MISSED, and no span is of the future; how many lines are gone."""
        later = [line for line in self.lines.values() if line.slot > after_wall]
        gone = [(line.kind, line.slot) for line in later if line.outcome == MISSED or line.kind == SPAN]
        for place in gone:
            del self.lines[place]
        for place, line in self.lines.items():
            if line.until > after_wall:
                self.lines[place] = line._replace(until=floor(after_wall))
        self.begun_anew.update(gone)
        return len(gone)

    def undecided(self, first: int, last: int) -> list[int]:
        """Slots of its timetable, from the first to the last, that have no line of their own."""
        assert self.definition is not None
        slots = self.definition.timetable.newest(first - 1, last, MOST_SLOTS)
        return [slot for slot in slots if (SCHEDULE, slot) not in self.lines]

    # ── every slot once ───────────────────────────────────────────────────────────────────────────

    def unaccounted(self, wall: float) -> Iterator[str]:
        """Slots up to now that have no line of their own, and are not in one span."""
        spans = [line for line in self.lines.values() if line.kind == SPAN]
        for era in self.eras:
            for slot in era.slots(wall):
                if (SCHEDULE, slot) not in self.lines:
                    count = sum(line.slot <= slot <= line.until for line in spans)
                    if count != 1:
                        yield f"slot {slot} is in {count} spans, and has no line"


class Books(defaultdict[str, Book]):
    """By name, be there a schedule of it or not."""

    def __init__(self) -> None:
        super().__init__(Book)

    def clock_is_at(self, wall: float) -> None:
        for book in self.values():
            for era in book.eras:
                era.clock_is_at(wall)
