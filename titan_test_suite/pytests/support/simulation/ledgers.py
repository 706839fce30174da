"""Rows of schedules, of the lines of their ledgers, and of what started runs, as the real store keeps them."""

from __future__ import annotations

from math import floor

from titan_core.scheduler.records import Batch
from titan_core.scheduler.schedule_records import FireRecord, OriginRecord, ScheduleRecord, StoredSchedule
from titan_core.scheduler.states import FireKind, FireOutcome
from titan_core.store.definitions import definition

FireKey = tuple[str, str, int]
"""The schedule, the kind of the fire, its slot: what names a line."""
MISSED, QUEUED = FireOutcome.MISSED.value, FireOutcome.QUEUED.value
SCHEDULE, TRIGGER, SPAN = (kind.value for kind in (FireKind.SCHEDULE, FireKind.TRIGGER, FireKind.SPAN))


def key_of(line: FireRecord) -> FireKey:
    return line.schedule, line.kind, line.slot


class Ledgers:
    def __init__(self) -> None:
        self.schedules: dict[str, ScheduleRecord] = {}
        self.fires: dict[FireKey, FireRecord] = {}
        self.origins: dict[int, OriginRecord] = {}
        self._early: set[FireKey] = set()
        """Lines that lay ahead when the clock was set back."""

    # ── writing ───────────────────────────────────────────────────────────────────────────────────

    def write(self, batch: Batch) -> None:
        if batch.retracted_after is not None:
            self._retract(batch.retracted_after)
        for record in batch.schedules:
            if record.removed:
                del self.schedules[record.name]
            else:
                self.schedules[record.name] = record
        self.origins.update((origin.run, origin) for origin in batch.origins)
        self.fires.update((key_of(line), line) for line in batch.fires)

    def _retract(self, after_wall: float) -> None:
        for key, line in list(self.fires.items()):
            if line.slot > after_wall and (line.outcome == MISSED or line.kind == SPAN):
                del self.fires[key]
            elif line.slot > after_wall and line.kind == SCHEDULE:
                self._early.add(key)
            elif line.until > after_wall:
                self.fires[key] = line._replace(until=floor(after_wall))

    # ── reading ───────────────────────────────────────────────────────────────────────────────────

    def schedules_at(self, wall: float) -> tuple[StoredSchedule, ...]:
        """Every schedule, by name, for a master that starts now."""
        return tuple(self._stored(self.schedules[name], wall) for name in sorted(self.schedules))

    def _stored(self, record: ScheduleRecord, wall: float) -> StoredSchedule:
        name, lines = record.name, [line for kind in (SCHEDULE, SPAN) for line in self._lines(record.name, kind)]
        past = [line for line in lines if line.slot <= wall and key_of(line) not in self._early]
        last = max(past, key=lambda line: (line.slot, line.kind), default=None)
        cursor = max(floor(record.since_wall), max(last.slot, last.until) if last else 0)
        waiting = [line for line in self.fires.values() if line.schedule == name and line.outcome == QUEUED]
        waiting.sort(key=lambda line: (line.slot, line.kind))
        ahead, trigger = self.decided_ahead(name, min(cursor, wall)), self.last_trigger(name)
        return StoredSchedule(record, definition(record.source), cursor, ahead, tuple(waiting), trigger)

    def decided_ahead(self, schedule: str, wall: float) -> tuple[int, ...]:
        lines = self._lines(schedule, SCHEDULE)
        return tuple(sorted(line.slot for line in lines if line.slot > wall and line.outcome != MISSED))

    def last_trigger(self, schedule: str) -> int:
        return max((line.slot for line in self._lines(schedule, TRIGGER)), default=0)

    def due_alerts(self) -> tuple[FireRecord, ...]:
        return tuple(
            sorted((line for line in self.fires.values() if line.alert == "due"), key=lambda line: line.slot)
        )

    def variables_of(self, run: int) -> tuple[tuple[str, str], ...]:
        return self.origins[run].variables if run in self.origins else ()

    def line_of(self, run: int) -> FireRecord | None:
        """The line for the fire that started a run, if it was one."""
        origin = self.origins.get(run)
        return None if origin is None else self.fires.get((origin.schedule, origin.kind, origin.slot))

    def done_between(self, schedule: str, first: int, last: int) -> set[int]:
        """Slots that ran, or are to; those who make up for the past leave them out."""
        lines = (line for line in self._lines(schedule, SCHEDULE) if first <= line.slot <= last)
        return {line.slot for line in lines if line.outcome in (QUEUED, FireOutcome.RAN.value)}

    def _lines(self, schedule: str, kind: str) -> list[FireRecord]:
        return [line for line in self.fires.values() if line.schedule == schedule and line.kind == kind]
