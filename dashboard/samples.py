"""The cluster's load over the last hours: a bounded store of samples, in memory, of what the snapshots said.

The thread `snapshots` adds to it; any thread reads. Knows neither HTTP nor how charts are drawn.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

from dashboard.cluster import Snapshot

_GAP = 2.5
"""Samples that are further apart than this many steps have nothing between them: the master was away."""

_EARLY_S = 0.6
"""A snapshot that comes so much before its step is over ends it: the next one would be late by more."""


class Sample(NamedTuple):
    """What the cluster was like from the sample before until `wall`."""

    wall: float
    used: int
    slots: int
    queued: int
    finished_per_minute: float


class Resolution(NamedTuple):
    step_s: float
    kept_s: float


RESOLUTIONS = (Resolution(10.0, 3600.0), Resolution(60.0, 24 * 3600.0))
"""The finest first."""


@dataclass(frozen=True, slots=True)
class _Seen:
    wall: float
    finished: int


class _Series:
    """Samples at one resolution."""

    def __init__(self, resolution: Resolution) -> None:
        self.resolution = resolution
        self.samples: deque[Sample] = deque(maxlen=int(resolution.kept_s / resolution.step_s))
        self._since: _Seen | None = None
        """Where the sample that is being made begins; `finished` counts from there."""

    def add(self, snapshot: Snapshot, finished: int) -> None:
        """`finished`: jobs that have ended since the last call."""
        since = self._since
        if (
            since is None
            or snapshot.as_of - since.wall > _GAP * self.resolution.step_s
            or snapshot.as_of < since.wall
        ):
            self._since = _Seen(snapshot.as_of, 0)
            return
        since = self._since = replace(since, finished=since.finished + finished)
        took_s = snapshot.as_of - since.wall
        if took_s >= self.resolution.step_s - _EARLY_S:
            self.samples.append(_sample(snapshot, since.finished * 60.0 / took_s))
            self._since = _Seen(snapshot.as_of, 0)


class Samples:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series = tuple(map(_Series, RESOLUTIONS))
        self._finished: int | None = None

    def add(self, snapshot: Snapshot) -> None:
        """Each snapshot, however often they come; one that was made without the master is none."""
        if snapshot.trouble or not snapshot.known:
            return
        total = snapshot.cluster.finished
        with self._lock:
            # fewer than before: another master has begun to count
            more = max(0, total - self._finished) if self._finished is not None else 0
            self._finished = total
            for series in self._series:
                series.add(snapshot, more)

    def last(self, span_s: float, now_wall: float) -> tuple[Resolution, list[Sample | None]]:
        """The samples of the last `span_s` seconds at the finest resolution that reaches so far, oldest first.

        None stands where the master was away.
        """
        with self._lock:
            fitting = (series for series in self._series if series.resolution.kept_s >= span_s)
            series = next(fitting, self._series[-1])
            found = [sample for sample in series.samples if now_wall - span_s <= sample.wall]
        return series.resolution, _with_gaps(found, series.resolution.step_s * _GAP)


def _sample(snapshot: Snapshot, finished_per_minute: float) -> Sample:
    workers = snapshot.cluster.workers
    used, slots = sum(worker.used for worker in workers), sum(worker.slots for worker in workers)
    return Sample(snapshot.as_of, used, slots, snapshot.waiting.total, round(finished_per_minute, 2))


def _with_gaps(samples: list[Sample], most_s: float) -> list[Sample | None]:
    spaced: list[Sample | None] = []
    for sample in samples:
        before = spaced[-1] if spaced else None
        if before is not None and sample.wall - before.wall > most_s:
            spaced.append(None)
        spaced.append(sample)
    return spaced
