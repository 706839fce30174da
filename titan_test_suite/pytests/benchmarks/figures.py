"""A figure: samples taken one per round, what they were measured beside, and what is wanted of them.

The value of a figure is the median of its samples. A ratio to a peer is the median of the ratios within
each round, because two measurements that follow each other share the noise of the machine. Pure values.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

TITAN = "titan"


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure."""

    rounds: int
    quick: bool
    """Fewer jobs and shorter windows: to see that everything works, not to compare."""
    say: Callable[[str], None]
    """Takes a sentence about what goes on."""

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Wanted:
    """A bound for a figure; with a `peer`, in multiples of what the peer reached."""

    at_least: bool
    limit: float
    peer: str = ""

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}" + (f" × {self.peer}" if self.peer else "")

    def holds(self, figure: Figure) -> bool | None:
        """None: the peer was not measured."""
        if self.peer and self.peer not in figure.beside:
            return None
        value = figure.ratio(self.peer) if self.peer else figure.value
        return value >= self.limit if self.at_least else value <= self.limit


def at_least(limit: float, peer: str = "") -> Wanted:
    return Wanted(True, limit, peer)


def at_most(limit: float, peer: str = "") -> Wanted:
    return Wanted(False, limit, peer)


@dataclass(frozen=True)
class Figure:
    name: str
    unit: str
    samples: Sequence[float]
    """One per round."""
    wanted: Sequence[Wanted] = ()
    beside: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Samples of the peers, in the same unit and the same rounds."""
    absent: Sequence[str] = ()
    """Peers that belong beside it, and could not be measured."""

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    def peer_value(self, peer: str) -> float:
        return statistics.median(self.beside[peer])

    def ratio(self, peer: str) -> float:
        """How many times what the peer reached."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.samples, self.beside[peer], strict=True))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` of all samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def p50_and_p99(
    name: str, rounds: Sequence[Sequence[float]], p50: Sequence[Wanted], p99: Sequence[Wanted] = ()
) -> list[Figure]:
    """Two figures in ms from rounds of samples in seconds: their medians, and their 99th percentiles."""
    in_ms = [[1000 * sample for sample in samples] for samples in rounds]
    return [
        Figure(f"{name}, p50", "ms", [percentile(samples, 50) for samples in in_ms], p50),
        Figure(f"{name}, p99", "ms", [percentile(samples, 99) for samples in in_ms], p99),
    ]
