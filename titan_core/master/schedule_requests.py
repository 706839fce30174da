"""What people ask of schedules: to be made, changed, paused, fired, removed, made up for, and shown.

Functions behind requests, called by the threads of connections, as in `operations`. What is read from the store
before it is decided on stays true meanwhile: those who change definitions, or make up for the past, take turns.
"""

from __future__ import annotations

import difflib
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from titan_core.errors import InvalidRequest, NotFound, TitanError
from titan_core.master.engine import Engine
from titan_core.master.schedule_changes import changes
from titan_core.master.schedule_views import fire_status, schedule_status
from titan_core.master.submissions import Submissions
from titan_core.protocol import messages
from titan_core.protocol.checks import check_range, shortened, shown
from titan_core.protocol.schedule_checks import check_schedule
from titan_core.scheduler.actions import Action, RecordFire
from titan_core.scheduler.attempts import TOKEN_BYTES
from titan_core.scheduler.events import (
    BackfillCancelled,
    BackfillRequested,
    ScheduleDefined,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleTriggered,
)
from titan_core.scheduler.fires import run_id_of
from titan_core.scheduler.schedule_model import Definition, Schedule
from titan_core.scheduler.schedule_records import FireRecord, fire_record
from titan_core.scheduler.schedules import named
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FireKind, FireOutcome
from titan_core.store.definitions import definition
from titan_core.store.history import History
from titan_core.store.schedule_rows import decided_ahead, last_trigger, read_fires, read_fires_between
from titan_core.timetable import check_timing, instant, timetable

MAX_BACKFILL = 1000
"""Fires of one backfill."""
MAX_LISTED = 10_000
"""Lines of a ledger in one answer."""
LINES_A_SLOT = 3
"""At most: its own, that of a trigger in the same second, and that of a span that begins there."""
SCHEDULES_AT_ONCE = 500
"""Schedules read under one hold of the lock."""
_NO_END = 2.0**60
_DONE = {FireOutcome.RAN.value, FireOutcome.QUEUED.value}
_OUTCOMES = ("", *(outcome.value for outcome in FireOutcome))


class ScheduleRequests:
    """Raises NotFound, Conflict, InvalidRequest, AssetMissing, Unavailable."""

    def __init__(
        self, engine: Engine, history: History, submissions: Submissions, check_room: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._history = history
        self._submissions = submissions
        self._check_room = check_room
        self._turn_lock = threading.Lock()

    # ── definitions ───────────────────────────────────────────────────────────────────────────────

    def put(self, request: messages.PutSchedule) -> messages.SchedulePut:
        """Make it, or change it; all that can be refused is refused before anything has changed."""
        check_schedule(request.schedule)
        if request.pause and request.resume:
            raise InvalidRequest("a schedule can not be both paused and resumed", field="paused")
        source = self._pinned(request)
        with self._turn_lock:
            return self._define(request, source)

    def _pinned(self, request: messages.PutSchedule) -> messages.ScheduleSpec:
        """What was asked for, with the content that it has now."""
        spec, contents = request.schedule, request.contents

        def alert(name: str, of: messages.Alert) -> messages.Alert:
            try:
                return replace(of, jobs=self._submissions.pinned(spec.name, of.jobs, contents) if of.jobs else ())
            except TitanError as error:
                raise type(error)(f"{name}: {error}", **{**error.details, "alert": name}) from None

        return replace(
            spec,
            jobs=self._submissions.pinned(spec.name, spec.jobs, contents),
            on_missed=alert("on_missed", spec.on_missed),
            on_failure=alert("on_failure", spec.on_failure),
        )

    def _define(self, request: messages.PutSchedule, source: messages.ScheduleSpec) -> messages.SchedulePut:
        name = source.name
        before = self._engine.read(lambda state: state.schedules.get(name))
        known: messages.ScheduleSpec | None = before.definition.source if before else None
        was_paused = before.paused if before else False
        source = replace(source, timing=self._anchored(source.timing, known.timing if known else None))
        made = self._made(source, is_new=known is None or known.timing != source.timing)
        self._engine.submit(self._defined(made, request, is_new=known is None))
        status = self._status(name)
        if known is None:
            return messages.SchedulePut("created", status)
        told = changes(known, source)
        if (status.state == "PAUSED") != was_paused:
            told = (*told, f"paused: {str(was_paused).lower()} -> {str(not was_paused).lower()}")
        return messages.SchedulePut("updated" if told else "unchanged", status, told)

    def _made(self, source: messages.ScheduleSpec, is_new: bool) -> Definition:
        """With a timing that is new, something must be to come of it."""
        made = definition(source)
        if is_new:
            check_timing(source.timing, self._engine.clock.wall())
        return made

    def _anchored(self, timing: messages.Timing, known: messages.Timing | None) -> messages.Timing:
        """From when the fires of an `every` are counted: from its first definition on."""
        if not timing.every_s:
            return replace(timing, anchor_wall=0.0)
        if known is not None and replace(known, anchor_wall=0.0) == replace(timing, anchor_wall=0.0):
            return replace(timing, anchor_wall=known.anchor_wall)
        return replace(timing, anchor_wall=float(int(self._engine.clock.wall())))

    def _defined(self, made: Definition, request: messages.PutSchedule, is_new: bool) -> ScheduleDefined:
        """A new one may have had a namesake, whose ledger goes on."""
        ahead: tuple[int, ...] = ()
        trigger = 0
        if is_new:
            self._engine.settle()
            wall = min(self._engine.clock.wall(), self._engine.read(lambda state: state.wall))
            ahead = self._history.read(decided_ahead, made.name, wall)
            trigger = self._history.read(last_trigger, made.name)
        secret = secrets.token_bytes(TOKEN_BYTES)
        return ScheduleDefined(made, secret, request.pause, request.resume, request.only_new, ahead, trigger)

    def remove(self, request: messages.RemoveSchedule) -> messages.Ack:
        self._check_there(request.name)
        with self._turn_lock:
            self._engine.submit(ScheduleRemoved(request.name))
        return messages.Ack(f"schedule {request.name} is removed; its runs go on", (request.name,))

    # ── by hand ───────────────────────────────────────────────────────────────────────────────────

    def pause(self, request: messages.PauseSchedule) -> messages.ScheduleStatus:
        self._check_there(request.name)
        event = ScheduleResumed(request.name)
        self._engine.submit(event if request.undo else SchedulePaused(request.name, shortened(request.reason)))
        return self._status(request.name)

    def trigger(self, request: messages.TriggerSchedule) -> messages.Triggered:
        self._check_there(request.name)
        self._check_room()
        fires = _decided(self._engine.submit(ScheduleTriggered(request.name)))
        triggered = [fire for fire in fires if fire.kind == FireKind.TRIGGER.value]
        return messages.Triggered(fire_status(max(triggered, key=lambda fire: fire.slot)))  # it may have replaced one

    def backfill(self, request: messages.BackfillSchedule) -> messages.Backfilled:
        self._check_there(request.name)
        with self._turn_lock:
            if request.cancel:
                dropped = _decided(self._engine.submit(BackfillCancelled(request.name)))
                return messages.Backfilled(f"{_fires(len(dropped))} of {request.name} will not be made up for")
            self._check_room()
            return self._backfill(request)

    def _backfill(self, request: messages.BackfillSchedule) -> messages.Backfilled:
        slots = self._past_slots(request)
        done = self._done(request.name, slots)
        wanted = [slot for slot in slots if slot not in done]
        made_up = _decided(self._engine.submit(BackfillRequested(request.name, tuple(wanted))))
        chosen = sorted({fire.slot for fire in made_up if fire.made_up}.intersection(wanted))
        run_ids = tuple(run_id_of(request.name, FireKind.SCHEDULE.value, slot) for slot in chosen)
        left = f", {_fires(len(done))} ran, or wait, already" if done else ""
        return messages.Backfilled(f"{_fires(len(chosen))} of {request.name} will be made up for{left}", run_ids)

    def _past_slots(self, request: messages.BackfillSchedule) -> list[int]:
        source, cursor = self._engine.read(lambda state: _source_of(named(state, request.name)))
        first = instant(request.first, source.timing.timezone, "from")
        last = instant(request.last, source.timing.timezone, "to")
        if last < first:
            raise InvalidRequest(f"from {shown(request.first)} is later than to {shown(request.last)}", field="from")
        slots = list(islice(timetable(source.timing).between(first - 1, min(last, cursor)), MAX_BACKFILL + 1))
        if not slots:
            raise InvalidRequest(
                f"schedule {request.name} was not due between {shown(request.first)} and {shown(request.last)}, "
                "or not yet",
                field="from",
            )
        if len(slots) > MAX_BACKFILL:
            raise InvalidRequest(f"these are more than {MAX_BACKFILL} fires; take a shorter time", field="to")
        return slots

    def _done(self, name: str, slots: list[int]) -> set[int]:
        """Those of the slots that ran, or are to, by the ledger; or, where that is not so long, by their runs."""
        self._engine.settle()
        lines = self._history.read(read_fires_between, name, slots[0], slots[-1])
        lines += self._engine.read(lambda state: _recent(state, name))
        last = {line.slot: line for line in lines if line.kind == FireKind.SCHEDULE.value}
        done = {slot for slot, line in last.items() if line.outcome in _DONE}
        ids = {slot: run_id_of(name, FireKind.SCHEDULE.value, slot) for slot in slots}
        known = self._engine.read(
            lambda state: {slot for slot, run_id in ids.items() if run_id in state.runs or run_id in state.deleted}
        )
        runs = {slot for slot in ids.keys() - known if self._history.had_run(ids[slot])}
        return (done | known | runs).intersection(slots)

    # ── looking ───────────────────────────────────────────────────────────────────────────────────

    def listing(self, request: messages.ListSchedules) -> messages.ScheduleList:
        names = self._engine.read(lambda state: sorted(state.schedules))
        statuses: list[messages.ScheduleStatus] = []
        for start in range(0, len(names), SCHEDULES_AT_ONCE):
            some = names[start : start + SCHEDULES_AT_ONCE]
            statuses += self._engine.read(lambda state, some=some: _statuses(state, some))  # type: ignore[misc]
        return messages.ScheduleList(tuple(map(self._with_last, statuses)))

    def get(self, request: messages.GetSchedule) -> messages.ScheduleStatus:
        self._check_there(request.name)
        return self._status(request.name, whole=True)

    def fires(self, request: messages.ListFires) -> messages.FireList:
        """Newest first; the last slot whole, so that whoever goes on before it misses none of its lines."""
        check_range(request.limit, 1, MAX_LISTED, "limit")
        if request.outcome not in _OUTCOMES:
            raise InvalidRequest(
                f"{shown(request.outcome)} is not an outcome; there are {', '.join(_OUTCOMES[1:])}", field="outcome"
            )
        lines = self._lines(
            request.name, request.before_wall or _NO_END, request.outcome, request.limit + LINES_A_SLOT
        )
        if not lines:
            self._check_known(request.name)
        shown_lines = [*lines[: request.limit]]
        while len(shown_lines) < len(lines) and lines[len(shown_lines)].slot == shown_lines[-1].slot:
            shown_lines.append(lines[len(shown_lines)])
        return messages.FireList(tuple(map(fire_status, shown_lines)), len(lines) > len(shown_lines))

    def _lines(self, name: str, before_wall: float, outcome: str, limit: int) -> list[FireRecord]:
        """From the disk, and, as they are now, those that are remembered."""
        self._engine.settle()
        found = {(line.slot, line.kind): line for line in self._engine.read(lambda state: _recent(state, name))}
        stored = self._history.read(read_fires, name, before_wall, outcome, limit + len(found))
        lines = {(line.slot, line.kind): line for line in stored} | found
        fits = [line for line in lines.values() if line.slot < before_wall and outcome in ("", line.outcome)]
        return sorted(fits, key=lambda line: (-line.slot, line.kind))[:limit]

    # ── finding ───────────────────────────────────────────────────────────────────────────────────

    def _status(self, name: str, whole: bool = False) -> messages.ScheduleStatus:
        return self._with_last(self._engine.read(lambda state: schedule_status(named(state, name), whole)))

    def _with_last(self, status: messages.ScheduleStatus) -> messages.ScheduleStatus:
        """Of a schedule that has not fired since the master's start, the newest line is on disk only."""
        if status.last:
            return status
        stored = self._history.read(read_fires, status.name, _NO_END, "", 1)
        return replace(status, last=tuple(map(fire_status, stored)))

    def _check_there(self, name: str) -> None:
        names = self._engine.read(lambda state: () if name in state.schedules else tuple(state.schedules))
        if names or not self._engine.read(lambda state: name in state.schedules):
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]}?" if close else "`titan schedule ls` shows those there are"
            raise NotFound(f"there is no schedule {shown(name)}; {hint}")

    def _check_known(self, name: str) -> None:
        """A ledger without lines is that of a schedule which is there, or of none."""
        if not self._history.read(read_fires, name, _NO_END, "", 1):
            self._check_there(name)


def _source_of(schedule: Schedule) -> tuple[messages.ScheduleSpec, int]:
    return schedule.definition.source, schedule.cursor


def _statuses(state: State, names: list[str]) -> list[messages.ScheduleStatus]:
    return [schedule_status(state.schedules[name]) for name in names if name in state.schedules]


def _recent(state: State, name: str) -> list[FireRecord]:
    schedule = state.schedules.get(name)
    return [fire_record(fire) for fire in schedule.recent] if schedule else []


def _decided(actions: list[Action]) -> list[FireRecord]:
    return [fire_record(fire) for fire in dict.fromkeys(a.fire for a in actions if isinstance(a, RecordFire))]


def _fires(count: int) -> str:
    return f"{count} fire{'s' * (count != 1)}"
