"""What of a snapshot needs a person, the worst first. Pure: a snapshot in, sentences and paths out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from dashboard import links
from dashboard.cluster import Snapshot
from titan_core.protocol.messages import FireStatus, JobStatus, LostWorker, ServiceStatus, WorkerStatus
from titan_sdk.cli import schedule_rows
from titan_sdk.cli.text import plural

SHOWN = 8
"""Items of a concern that are named; the rest is behind its link."""
_TONES = ("bad", "warn", "wait")
"""The worst first."""
_BAD_SERVICES = ("DEAD", "CRASHLOOP", "DEGRADED", "WAITING")
"""WAITING only if it has crashed: else it has just been started."""


@dataclass(frozen=True, slots=True)
class Item:
    name: str
    path: str
    state: str = ""
    why: str = ""
    wall: float = 0.0
    """When it happened; 0.0 = it goes on."""


@dataclass(frozen=True, slots=True)
class Concern:
    kind: str
    """Stable, for programs: `dead`, `services`, `lost`, `workers`, `fires`, `pools`, `waiting`, `master`."""
    title: str
    tone: str
    """`bad`, `warn` or `wait`."""
    path: str = ""
    """Of the list of all of them."""
    items: tuple[Item, ...] = ()
    count: int = 0
    """How many there are, also those that are no items."""
    together: int = 0
    """How many of them the items stand for; 0: one each."""

    @property
    def more(self) -> int:
        return self.count - (self.together or len(self.items)) if self.items else 0


def concerns(snapshot: Snapshot) -> list[Concern]:
    """Empty: nothing needs anybody."""
    found = (_master(snapshot), _dead(snapshot), *_services(snapshot), _lost(snapshot), _workers(snapshot))
    all_of_them = (*found, _fires(snapshot), _pools(snapshot), _waiting(snapshot))
    return sorted((one for one in all_of_them if one is not None), key=lambda one: _TONES.index(one.tone))


def _master(snapshot: Snapshot) -> Concern | None:
    trouble = snapshot.cluster.trouble
    items = (Item("master", "", why=trouble),)
    return Concern("master", "The master takes no submissions", "bad", items=items, count=1) if trouble else None


def _dead(snapshot: Snapshot) -> Concern | None:
    dead = snapshot.dead
    if not dead.jobs:
        return None
    items = tuple(
        Item(key, links.job(key), job.state, job.reason, job.finished_wall) for key, job in _keyed(dead.jobs[:SHOWN])
    )
    return Concern("dead", plural(dead.total, "dead job"), "bad", links.jobs("DEAD"), items, dead.total)


def _services(snapshot: Snapshot) -> Iterator[Concern]:
    """One for each state that is not as it should be."""
    for state in _BAD_SERVICES:
        found = [service for service in snapshot.services if service.state == state and _is_bad(service)]
        if found:
            keys = [f"{service.run_id}/{service.job_id}" for service in found[:SHOWN]]
            items = tuple(
                Item(key, links.service(key), state, service.reason)
                for key, service in zip(keys, found, strict=False)
            )
            words = "waiting to be started again" if state == "WAITING" else state
            title = f"{plural(len(found), 'service')} {words}"
            tone = "warn" if state in ("DEGRADED", "WAITING") else "bad"
            yield Concern("services", title, tone, links.services(state), items, len(found))


def _is_bad(service: ServiceStatus) -> bool:
    return service.state != "WAITING" or any(instance.restarts for instance in service.instances)


def _lost(snapshot: Snapshot) -> Concern | None:
    """Those that are not workers any more, as far as the master remembers."""
    lost = snapshot.cluster.lost
    if not lost:
        return None
    items = tuple(
        Item(one.worker_id, links.worker(one.worker_id), "LOST", _loss(one), one.lost_wall) for one in lost[:SHOWN]
    )
    return Concern(
        "lost", f"{plural(len(lost), 'worker')} lost", "bad", links.workers(state="lost"), items, len(lost)
    )


def _loss(lost: LostWorker) -> str:
    held = plural(lost.attempts, "attempt") if lost.attempts else "no attempt"
    return f"{lost.reason}; {held} lost with it"


def _workers(snapshot: Snapshot) -> Concern | None:
    found = [worker for worker in snapshot.cluster.workers if worker.trouble or worker.state == "DISCONNECTED"]
    if not found:
        return None
    items = tuple(
        Item(worker.worker_id, links.worker(worker.worker_id), worker.state, _worker_trouble(worker))
        for worker in found[:SHOWN]
    )
    title = f"{plural(len(found), 'worker')} in trouble"
    return Concern("workers", title, "bad", links.workers(state="trouble"), items, len(found))


def _worker_trouble(worker: WorkerStatus) -> str:
    if worker.state != "DISCONNECTED":
        return worker.trouble
    held = len(worker.jobs) + len(worker.services)
    return f"not connected; {plural(held, 'job')} may still be running there" if held else "not connected"


def _fires(snapshot: Snapshot) -> Concern | None:
    """By schedule, and by what became of them."""
    found = snapshot.fires
    if not found:
        return None
    by_schedule: dict[tuple[str, str], list[FireStatus]] = defaultdict(list)
    for fire in found:
        by_schedule[fire.schedule, schedule_rows.outcome(fire)].append(fire)
    shown = list(by_schedule.items())[:SHOWN]
    items = tuple(
        Item(name, links.schedule(name), state, _fires_of(fires), fires[0].slot_wall)
        for (name, state), fires in shown
    )
    title = f"{plural(len(found), 'fire')} missed or failed in the last day"
    together = sum(len(fires) for _, fires in shown)
    return Concern("fires", title, "bad", links.missed(), items, len(found), together)


def _fires_of(fires: list[FireStatus]) -> str:
    """Why the newest came to nothing, and how many like it there are."""
    rest = f"{len(fires) - 1} more like it" if len(fires) > 1 else ""
    return "; ".join(filter(None, (fires[0].reason, rest)))


def _pools(snapshot: Snapshot) -> Concern | None:
    found = [pool for pool in snapshot.cluster.pools if pool.trouble]
    items = tuple(
        Item(pool.capability, links.workers(capability=pool.capability), why=pool.trouble) for pool in found[:SHOWN]
    )
    if not found:
        return None
    return Concern("pools", f"{plural(len(found), 'pool')} can not grow", "warn", links.workers(), items, len(found))


def _waiting(snapshot: Snapshot) -> Concern | None:
    """By what they wait for, as the master explains it; each reason is named with the first of its jobs."""
    waiting = snapshot.waiting
    by_reason: dict[str, list[str]] = defaultdict(list)
    for key, job in _keyed(waiting.jobs):
        by_reason[job.reason].append(key)
    if not by_reason:
        return None
    shown = list(by_reason.items())[:SHOWN]
    items = tuple(_waiters(reason, keys) for reason, keys in shown)
    title, together = f"{plural(waiting.total, 'job')} waiting for a slot", sum(len(keys) for _, keys in shown)
    return Concern("waiting", title, "wait", links.jobs("QUEUED"), items, waiting.total, together)


def _waiters(reason: str, keys: list[str]) -> Item:
    rest = f" (and {plural(len(keys) - 1, 'other')})" if len(keys) > 1 else ""
    return Item(keys[0], links.job(keys[0]), "QUEUED", reason + rest)


def _keyed(jobs: tuple[JobStatus, ...]) -> Iterator[tuple[str, JobStatus]]:
    return ((f"{job.run_id}/{job.job_id}", job) for job in jobs)
