"""How long the cluster took to work again after each kill, read from the ledger and the clients' books. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from titan_test_suite.torture.faults import Kill
from titan_test_suite.torture.ledger import Ledger
from titan_test_suite.torture.promises import Promise


class Times(NamedTuple):
    """Seconds from a kill to what ends the recovery from it."""

    master: list[float]
    """The first start of a job that was submitted since. Kills that another one of the master followed before
    that are left out: the later one's time is what counts."""
    worker: list[float]
    """For each job that the worker had running: its next start. Where the attempt for it is hit as well before it
    starts, that is the start of a later one. Services that somebody scaled, and so perhaps stopped, are left out."""


def measure(kills: Sequence[Kill], ledger: Ledger, promises: Iterable[Promise], workers: Mapping[str, str]) -> Times:
    """`workers`: names of the workers' programs by `host:port`."""
    of_master = [kill.wall for kill in kills if kill.member == "master"]
    promises = list(promises)
    scaled = {promise.run_id for promise in promises if promise.disturbed}
    return Times(_of_master(of_master, ledger, promises), _of_workers(kills, ledger, workers, scaled))


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
    kills: Sequence[Kill], ledger: Ledger, workers: Mapping[str, str], left_out: Container[str]
) -> list[float]:
    by_member: dict[str, list[float]] = {}
    for kill in kills:
        by_member.setdefault(kill.member, []).append(kill.wall)
    times = []
    for key, starts in ledger.starts.items():
        if key.partition("/")[0] in left_out:
            continue
        for start, following in itertools.pairwise(starts):
            end = ledger.end_of(key, start.number)
            hit = _first_after(start.wall, by_member.get(workers.get(start.worker, ""), []))
            if hit is not None and hit < following.wall and (end is None or end.wall > hit):
                times.append(following.wall - hit)
    return times


def _first_after(wall: float, walls: list[float]) -> float | None:
    place = bisect.bisect(walls, wall)
    return walls[place] if place < len(walls) else None
