"""Virtual time: what happens when, the dice that decides it, and the story of what happened."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable

TOLD_MOST = 400
"""Lines of the story that are kept; the last ones are shown when something is wrong."""
WALL = 1_800_000_000.0
"""Unix seconds at which a history begins."""


class Agenda:
    """One seed makes one history. Nobody in the simulation knows another clock, or another dice."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.now = 1000.0
        """Seconds; the monotonic clock of everybody."""
        self.wall_offset_s = WALL - self.now
        """Wall time minus monotonic time, on the master's machine; changes when somebody sets its clock."""
        self.calm = False
        """Faults have stopped: what can do well does."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._story: deque[tuple[float, str, tuple[object, ...]]] = deque(maxlen=TOLD_MOST)

    @property
    def wall(self) -> float:
        return self.now + self.wall_offset_s

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        """Have `what` happen in so many seconds; things of the same instant in the order they were planned."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._count, what))

    def run_until(self, at: float) -> None:
        """Let everything up to this instant happen."""
        while self._heap and self._heap[0][0] <= at:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        self.now = at

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def spread(self, low_s: float, high_s: float) -> float:
        """A duration; short ones are as likely as long ones, whatever the scale."""
        return float(low_s * (high_s / low_s) ** self.dice.random())

    # ── the story ─────────────────────────────────────────────────────────────────────────────────

    def tell(self, what: str, *facts: object) -> None:
        self._story.append((self.now, what, facts))

    def story(self, last: int) -> str:
        lines = list(self._story)[-last:]
        return "\n".join(f"{at:9.3f}  {what} {' '.join(map(_shown, facts))}" for at, what, facts in lines)


def _shown(fact: object) -> str:
    return fact.hex()[:8] if isinstance(fact, bytes) else str(fact)
