"""Pictures that are made on the server, so that they are there without JavaScript: bars of states, lanes of attempts.

Pure: values in, SVG out. Colours are classes, places are attributes: the pages allow no style of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

from markupsafe import Markup

from dashboard.executions import Execution
from dashboard.present import counted, tone
from titan_core.protocol.messages import StateCount

_BAR = 120
_NICE_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Steps between the lines of a time axis."""


def stacked(counts: Iterable[StateCount]) -> Markup:
    """A bar of 120 with a part for each state; the numbers belong beside it."""
    shown = counted(counts)
    total = sum(one.count for one in shown)
    edges = [0.0, *accumulate(_BAR * one.count / total for one in shown)]
    parts = Markup("").join(
        Markup('<rect x="{:.1f}" width="{:.1f}" height="10" class="fill-{}"><title>{} {}</title></rect>').format(
            left, right - left, tone(one.state), one.count, one.state
        )
        for one, (left, right) in zip(shown, pairwise(edges), strict=True)
    )
    return Markup(
        '<svg class="bar" viewBox="0 0 {0} 10" width="{0}" height="10" aria-hidden="true">{1}</svg>'
    ).format(_BAR, parts)


@dataclass(frozen=True, slots=True)
class Placed:
    """An execution in a picture of lanes; `left` and `width` are per cent of it."""

    execution: Execution
    row: int
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Lane:
    worker: str
    rows: int
    placed: tuple[Placed, ...]


def lane(worker: str, executions: Iterable[Execution], from_wall: float, until_wall: float) -> Lane:
    """Those of one worker between two instants; what overlaps is put below each other."""
    ends: list[float] = []
    placed = []
    for one in sorted(executions, key=lambda one: one.started_wall):
        end_wall = one.finished_wall or until_wall
        row = next((row for row, taken in enumerate(ends) if taken <= one.started_wall), len(ends))
        ends[row : row + 1] = [end_wall]
        left, right = (_percent(wall, from_wall, until_wall) for wall in (one.started_wall, end_wall))
        placed.append(Placed(one, row, left, max(right - left, 0.2)))
    return Lane(worker, max(len(ends), 1), tuple(placed))


def ticks(from_wall: float, until_wall: float, about: int = 8) -> list[tuple[float, float]]:
    """Round instants between two others: (wall, per cent of the way)."""
    step = next((step for step in _NICE_S if step * about >= until_wall - from_wall), _NICE_S[-1])
    first = math.ceil(from_wall / step) * step
    walls = [first + step * number for number in range(2 * about) if first + step * number <= until_wall]
    return [(wall, _percent(wall, from_wall, until_wall)) for wall in walls]


def _percent(wall: float, from_wall: float, until_wall: float) -> float:
    return 100.0 * min(1.0, max(0.0, (wall - from_wall) / (until_wall - from_wall)))
