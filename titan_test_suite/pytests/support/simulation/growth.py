"""What one master does to the size of its cluster, and whether it may: the part of the judge that watches the scaler.

It sees the events and what followed from them, and keeps books of its own: who is there, what was asked for, what
runs where, what waits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

from titan_core.scheduler.actions import (
    AcceptWorker,
    Action,
    Provision,
    RecordChange,
    RecordWorker,
    Release,
    ShutDownWorker,
    SpawnWorker,
    StartAttempt,
)
from titan_core.scheduler.events import (
    AttemptsFinished,
    Event,
    ProvisionFailed,
    SpawnFailed,
    StateRecovered,
    WorkerRegistered,
    WorkerShutdownRequested,
)
from titan_core.scheduler.model import JobSpec, WorkerInfo, host_of
from titan_core.scheduler.records import WorkerRecord
from titan_core.scheduler.scaling import INCEPTION_S
from titan_core.scheduler.settings import ScalingSettings
from titan_core.scheduler.states import JobState
from titan_test_suite.pytests.support.simulation.agenda import Agenda

USUAL_SLOTS = 4


class Asked(NamedTuple):
    """A worker that is to come."""

    capabilities: frozenset[str]
    slots: int
    due_at: float
    worker_id: str = ""


class GrowthWitness:
    """Raises AssertionError when the cluster grows without need or beyond its limits, or a worker is let go that is
    not to be. Of one life of a master. `on_let_go(worker_id)`: the scaler stops a worker."""

    def __init__(self, settings: ScalingSettings, agenda: Agenda, on_let_go: Callable[[str], None]) -> None:
        self._settings, self._agenda, self._on_let_go = settings, agenda, on_let_go
        self._workers: dict[str, WorkerInfo] = {}
        self._asked: list[Asked] = []
        self._waiting: dict[int, str] = {}
        """What jobs that are no services and have no worker require, by their numbers."""
        self._running: dict[str, set[bytes]] = defaultdict(set)
        self._used_at: dict[str, float] = {}
        """When a worker began to be there, or something began or ended on it."""
        self._may_go: set[str] = set()
        """Whom a person wants gone, or whom the scaler has let go with good reason."""
        self._not_before = 0.0

    def take(self, event: Event, actions: Iterable[Action]) -> None:
        """An event, and what followed from it."""
        match event:
            case StateRecovered():
                self._recall(event)
            case WorkerRegistered(info):
                self._registers(info)
            case SpawnFailed(worker_id, port):
                child = f"{host_of(worker_id)}:{port}"
                self._asked = [one for one in self._asked if one.worker_id != child]
            case ProvisionFailed(capability, _, count):
                in_vain = [one for one in self._asked if not one.worker_id and capability in one.capabilities]
                for one in in_vain[-count:]:
                    self._asked.remove(one)
            case WorkerShutdownRequested(worker_id):
                self._may_go.add(worker_id)
            case AttemptsFinished(worker_id, reports):
                self._running[worker_id].difference_update(report.token for report in reports)
                self._used_at[worker_id] = self._agenda.now
        for action in actions:
            self._decided(action)

    def _recall(self, event: StateRecovered) -> None:
        self._not_before = self._agenda.now + event.grace_s if event.workers else 0.0
        self._may_go = {one.worker_id for one in event.workers if one.shutting_down}
        for one in event.workers:
            self._workers[one.worker_id] = _info(one)
        for job in [job for run in event.runs for job in run.jobs]:
            self._changed(job.asked.sequence, job.asked.spec, JobState(job.became.state))

    def _registers(self, info: WorkerInfo) -> None:
        known = self._workers.get(info.worker_id)
        if known is None or known.instance != info.instance:
            self._may_go.discard(info.worker_id)
            self._used_at.pop(info.worker_id, None)
        self._used_at.setdefault(info.worker_id, self._agenda.now)
        if known is None:
            self._asked = self._to_come()
            by_name = [one for one in self._asked if one.worker_id == info.worker_id]
            others = [one for one in self._asked if not one.worker_id and one.capabilities <= info.capabilities]
            for one in (by_name + others)[:1]:
                self._asked.remove(one)
        self._workers[info.worker_id] = info

    def _decided(self, action: Action) -> None:
        match action:
            case RecordChange(job, _, after):
                self._changed(job.sequence, job.spec, after)
            case RecordWorker(worker, gone) if gone:
                del self._workers[worker.worker_id]
            case AcceptWorker(worker_id, _, adopted):
                self._running[worker_id] = {attempt.token for attempt in adopted}
            case StartAttempt(attempt):
                self._running[attempt.worker_id].add(attempt.token)
                self._used_at[attempt.worker_id] = self._agenda.now
            case SpawnWorker():
                self._spawned(action)
            case Provision(capability, count):
                self._provisioned(capability, count)
            case ShutDownWorker(worker_id):
                self._told_to_stop(worker_id)
            case Release(worker_id):
                assert worker_id in self._may_go, f"{worker_id} is released, and was not told to stop"

    def _changed(self, job: int, spec: JobSpec, after: JobState) -> None:
        self._waiting.pop(job, None)
        if after is JobState.QUEUED and not spec.service:
            self._waiting[job] = spec.requirement

    # ── growing ───────────────────────────────────────────────────────────────────────────────────

    def _spawned(self, action: SpawnWorker) -> None:
        parent, offers = self._workers[action.worker_id], frozenset(action.capabilities)
        if action.ephemeral:
            assert offers == parent.capabilities, f"{action} is not like its parent"
            assert any(self._is_needed(one, 1, parent.slots) for one in offers), f"{action}, and nobody needs it"
            self._check_limits(1)
        child = f"{host_of(action.worker_id)}:{action.port}"
        assert child not in self._workers, f"{action}: it is there"
        self._asked.append(Asked(offers, parent.slots, self._agenda.now + INCEPTION_S, child))

    def _provisioned(self, capability: str, count: int) -> None:
        slots = min([USUAL_SLOTS, *(i.slots for i in self._workers.values() if capability in i.capabilities)])
        assert self._is_needed(capability, count, slots), f"{count} more with {capability}, and nobody needs them"
        self._check_limits(count)
        due_at = self._agenda.now + self._settings.provision_s
        self._asked += [Asked(frozenset({capability}), slots, due_at)] * count

    def _is_needed(self, capability: str, count: int, slots: int) -> bool:
        """Whether even the last of so many more would have something to do, as far as one can say."""
        to_come = sum(one.slots for one in self._to_come() if capability in one.capabilities)
        waiting = sum(required == capability for required in self._waiting.values())
        return to_come + (count - 1) * slots < waiting

    def _check_limits(self, count: int) -> None:
        assert self._agenda.now >= self._not_before, "it grows, and those of before may still come back"
        there = len(self._workers) + len(self._to_come()) + count
        assert there <= self._settings.max_workers, f"it grows to {there} workers"

    def _to_come(self) -> list[Asked]:
        return [one for one in self._asked if one.due_at > self._agenda.now]

    # ── shrinking ─────────────────────────────────────────────────────────────────────────────────

    def _told_to_stop(self, worker_id: str) -> None:
        if worker_id in self._may_go:
            return
        assert self._workers[worker_id].ephemeral, f"{worker_id} is told to stop, and nobody wanted it"
        assert self._settings.provisioner != "none", f"{worker_id} is told to stop, and nothing is to be scaled"
        assert not self._running[worker_id], f"{worker_id} is told to stop, and it runs {self._running[worker_id]}"
        idle_s = self._agenda.now - self._used_at[worker_id]
        assert idle_s >= self._settings.down_s - 0.001, f"{worker_id} is told to stop after {idle_s} s"
        self._may_go.add(worker_id)
        self._on_let_go(worker_id)


def _info(record: WorkerRecord) -> WorkerInfo:
    offers = frozenset(record.capabilities)
    return WorkerInfo(record.worker_id, record.instance, offers, record.slots, ephemeral=record.ephemeral)
