"""How long the cluster took to work again after each kill, read from the ledger and the clients' books. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from titan_test_suite.torture.faults import Kill
from titan_test_suite.torture.ledger import Ledger
from titan_test_suite.torture.promises import Promise


class Times(NamedTuple):
    """Seconds from a kill to what ends the recovery from it."""

    master: list[float]
    """The first start of a job that was submitted since; where nobody started another master at once, from when that
    was done. Kills that another one of the master followed before that are left out: the later one's time is what
    counts."""
    worker: list[float]
    """For each job that the worker had running: its next start. Where the attempt for it is hit as well before it
    starts, that is the start of a later one. Left out are those of workers that were cut off meanwhile, which nobody
    can see die, and services that somebody scaled, and so perhaps stopped."""


Partition = tuple[str, float, float]
"""Whose way to the master was cut off, from when, until when."""


def measure(
    kills: Sequence[Kill],
    partitions: Sequence[Partition],
    ledger: Ledger,
    promises: Sequence[Promise],
    workers: Mapping[str, str],
) -> Times:
    """`workers`: names of the workers' programs by `host:port`."""
    of_master = [kill.again_wall or kill.wall for kill in kills if kill.member == "master"]
    scaled = {promise.run_id for promise in promises if promise.disturbed}
    of_workers = _of_workers(kills, partitions, ledger, workers, scaled)
    return Times(_of_master(of_master, ledger, promises), of_workers)


def percentile(values: Sequence[float], fraction: float) -> float:
    """The value that `fraction` of them do not exceed; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)]


def _of_master(kills: list[float], ledger: Ledger, promises: Iterable[Promise]) -> list[float]:
    fresh = sorted(_first_starts(ledger, promises))
    times = []
    for kill, following in itertools.pairwise([*kills, math.inf]):
        place = bisect.bisect(fresh, (kill, math.inf))
        started = min((start for _, start in fresh[place : place + 50]), default=math.inf)
        if started < following:
            times.append(started - kill)
    return times


def _first_starts(ledger: Ledger, promises: Iterable[Promise]) -> Iterable[tuple[float, float]]:
    """(when it was first submitted, when its first job started), for each run."""
    for promise in promises:
        keys = [f"{promise.run_id}/{job.job_id}" for job in promise.plan.jobs]
        walls = [ledger.starts[key][0].wall for key in keys if key in ledger.starts]
        if walls:
            yield promise.sent_wall, min(walls)


def _of_workers(
    kills: Sequence[Kill],
    partitions: Sequence[Partition],
    ledger: Ledger,
    workers: Mapping[str, str],
    left_out: set[str],
) -> list[float]:
    """`left_out`: ids of runs."""
    by_member: dict[str, list[float]] = {}
    for kill in kills:
        by_member.setdefault(kill.member, []).append(kill.wall)
    times = []
    for key, starts in ledger.starts.items():
        for start, following in itertools.pairwise(starts if key.partition("/")[0] not in left_out else ()):
            member, end = workers.get(start.worker, ""), ledger.end_of(key, start.number)
            hit = _first_after(start.wall, by_member.get(member, []))
            was_hit = hit is not None and hit < following.wall and (end is None or end.wall > hit)
            if hit is not None and was_hit and not _cut_off(member, hit, following.wall, partitions):
                times.append(following.wall - hit)
    return times


def _cut_off(member: str, from_wall: float, until_wall: float, partitions: Sequence[Partition]) -> bool:
    return any(name == member and begun <= until_wall and ended >= from_wall for name, begun, ended in partitions)


def _first_after(wall: float, walls: list[float]) -> float | None:
    place = bisect.bisect(walls, wall)
    return walls[place] if place < len(walls) else None
