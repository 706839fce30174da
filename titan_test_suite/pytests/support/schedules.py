"""Schedules of a cluster without threads: a timetable that needs no calendar, and what there is of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from titan_core.instants import utc_text
from titan_core.protocol.messages import Alert, ScheduleSpec, Task, Timing
from titan_core.protocol.messages import JobSpec as AskedJob
from titan_core.scheduler.actions import Action, RecordFire, RetractMissed
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import (
    BackfillCancelled,
    BackfillRequested,
    ScheduleDefined,
    SchedulePaused,
    ScheduleRemoved,
    ScheduleResumed,
    ScheduleTriggered,
    WallClockSet,
)
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.schedule_model import Definition, Fire, Schedule
from titan_core.scheduler.schedule_records import FireRecord, fire_record
from titan_core.scheduler.states import CatchUp, FireKind, Overlap
from titan_core.store.definitions import definition as definition_of
from titan_test_suite.pytests.support.cluster_model import Cluster, job
from titan_test_suite.pytests.support.kept_cluster import GRACE_S, KeptCluster

WALL = 1_800_000_000.0
"""Unix seconds at which a cluster with schedules begins."""


@dataclass(frozen=True)
class Every:
    """A slot every `period` seconds, at multiples of it; none later than `last`."""

    period: int
    last: int = 2**40

    def after(self, wall: float) -> int | None:
        slot = (int(wall // self.period) + 1) * self.period
        return slot if slot <= self.last else None

    def between(self, after_wall: float, until_wall: float) -> range:
        first = self.after(after_wall)
        return range(first or 0, int(min(until_wall, self.last)) + 1 if first else 0, self.period)

    def newest(self, after_wall: float, until_wall: float, count: int) -> Sequence[int]:
        last = int(min(until_wall, self.last) // self.period) * self.period
        return [slot for slot in range(last - (count - 1) * self.period, last + 1, self.period) if slot > after_wall]


def definition(name: str = "nightly", every: int = 60, *jobs: JobSpec, **fields: object) -> Definition:
    for key, kind in (("overlap", Overlap), ("catch_up", CatchUp)):
        if isinstance(fields.get(key), str):
            fields[key] = kind(fields[key])
    timetable = fields.pop("timetable", Every(every))
    return Definition(name, timetable, timetable, jobs or (job("work"),), **fields)


class Scheduled:
    """A cluster whose wall clock begins at WALL, with what people ask of schedules, and their ledger."""

    def __init__(self, slots: int = 4, **settings: float) -> None:
        self.cluster = self._new_cluster(**settings)
        self.cluster.handle(WallClockSet(WALL - self.cluster.now))
        self.worker = self.cluster.join("w", slots=slots)

    def _new_cluster(self, **settings: float) -> Cluster:
        return Cluster(**settings)

    def define(self, *given: object, pause: bool = False, resume: bool = False, **fields: object) -> list[Action]:
        made = given[0] if given and isinstance(given[0], Definition) else definition(*given, **fields)
        return self.cluster.handle(ScheduleDefined(made, b"s" * 16, pause, resume))

    def redefine(self, name: str = "nightly", **fields: object) -> list[Action]:
        return self.define(replace(self.schedule(name).definition, **fields))

    def pause(self, name: str = "nightly", reason: str = "") -> list[Action]:
        return self.cluster.handle(SchedulePaused(name, reason))

    def resume(self, name: str = "nightly") -> list[Action]:
        return self.cluster.handle(ScheduleResumed(name))

    def trigger(self, name: str = "nightly") -> list[Action]:
        return self.cluster.handle(ScheduleTriggered(name))

    def remove(self, name: str = "nightly") -> list[Action]:
        return self.cluster.handle(ScheduleRemoved(name))

    def backfill(self, *slots: int, name: str = "nightly") -> list[Action]:
        return self.cluster.handle(BackfillRequested(name, slots))

    def cancel_backfill(self, name: str = "nightly") -> list[Action]:
        return self.cluster.handle(BackfillCancelled(name))

    def set_clock(self, forward_s: float) -> list[Action]:
        """Somebody sets the wall clock; the master looks at what it has stored, and tells the core."""
        state = self.cluster.core.state
        wall = state.wall + forward_s
        ahead: dict[str, tuple[int, ...]] = {}
        for name, kind, slot in self.ledger():
            line = self.ledger()[name, kind, slot]
            if kind == FireKind.SCHEDULE.value and slot > wall and line.outcome != "MISSED":
                ahead[name] = (*ahead.get(name, ()), slot)
        return self.cluster.handle(WallClockSet(state.offset_s + forward_s, ahead))

    # ── what there is to see ──────────────────────────────────────────────────────────────────────

    def schedule(self, name: str = "nightly") -> Schedule:
        return self.cluster.core.state.schedules[name]

    @property
    def wall(self) -> float:
        return self.cluster.core.state.offset_s + self.cluster.now

    def ledger(self) -> dict[tuple[str, str, int], FireRecord]:
        """The lines as they would be on disk, in order of their slots."""
        lines: dict[tuple[str, str, int], Fire] = {}
        for action in self.cluster.actions:
            if isinstance(action, RecordFire):
                lines[action.fire.schedule, action.fire.kind.value, action.fire.slot] = action.fire
            elif isinstance(action, RetractMissed):
                lines = {key: fire for key, fire in lines.items() if not _is_retracted(fire, action.after_wall)}
        return {key: fire_record(lines[key]) for key in sorted(lines, key=lambda key: key[2])}

    def outcomes(self, name: str = "nightly") -> list[str]:
        """What became of the schedule's fires, by slot: `RAN`, `SKIPPED`, …"""
        return [line.outcome for line in self.ledger().values() if line.schedule == name]

    def reasons(self, name: str = "nightly") -> list[str]:
        return [line.reason for line in self.ledger().values() if line.schedule == name]

    def runs(self, name: str = "nightly") -> list[str]:
        """Ids of the runs that go on."""
        return [run.run_id for run in self.cluster.core.state.live_of(name)]


def _is_retracted(fire: Fire, after_wall: float) -> bool:
    # Whether it was MISSED then can not be told from what it is now: the core forgets such lines, so it still is.
    return fire.outcome.value == "MISSED" and fire.slot > after_wall


class KeptSchedules(Scheduled):
    """The same with a master that may be killed. What it keeps is read again, so definitions are as people ask for
    them: see `asked`."""

    cluster: KeptCluster

    def _new_cluster(self, **settings: float) -> KeptCluster:
        return KeptCluster(**settings)

    def restart_master(self, away_s: float = 0.0, forward_s: float = 0.0) -> list[Action]:
        """Another one begins so much later, by a clock that was set meanwhile; the worker is back at once."""
        cluster, offset_s = self.cluster, self.cluster.core.state.offset_s + forward_s
        cluster.now += away_s
        cluster.core, cluster.term = Core(cluster.core.state.settings), cluster.term + 1
        wall = cluster.now + offset_s
        actions = cluster.handle(cluster.rows.recovered(cluster.term, GRACE_S, 100, wall, offset_s))
        cluster.register(self.worker)
        return actions

    def ledger(self) -> dict[tuple[str, str, int], FireRecord]:
        fires = self.cluster.rows.ledgers.fires
        return {key: fires[key] for key in sorted(fires, key=lambda key: key[2])}


def asked(name: str = "nightly", every_s: float = 60.0, webhook: str = "", **fields: object) -> Definition:
    """With slots at multiples of `every_s`; `webhook` is told of what was missed."""
    timing = Timing(every_s=every_s, start=utc_text(WALL - 3600))
    jobs = (AskedJob("work", Task("x.sh")),)
    return definition_of(ScheduleSpec(name, timing, jobs, on_missed=Alert(webhook), **fields))
