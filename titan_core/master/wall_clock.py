"""Following the wall clock: when somebody has set it, the core is told where it is, and what lies ahead now.

Called by the threads `clock-set` and `clock-watcher`, without the engine's lock.
"""

from __future__ import annotations

import logging
import threading

from titan_core.errors import Unavailable
from titan_core.master.engine import CLOCK_STEP_S, Engine
from titan_core.scheduler.events import WallClockSet
from titan_core.store.history import History
from titan_core.store.schedule_rows import decided_ahead

log = logging.getLogger("titan.master")


class WallClock:
    """Without a `history`, ledgers are not kept."""

    def __init__(self, engine: Engine, history: History | None) -> None:
        self._engine = engine
        self._history = history
        self._turn_lock = threading.Lock()

    def follow(self) -> None:
        """Tell the core where the clock is. Slots that lie ahead again may have been decided on: that is on disk.

        While the disk can not be asked nothing is told; whoever is about to fire asks for it again.
        """
        with self._turn_lock:  # or an older look at the clock could be told after a newer one
            self._follow()

    def _follow(self) -> None:
        offset_s = self._engine.clock.offset_s()
        names, before_s = self._engine.read(lambda state: (tuple(state.schedules), state.offset_s))
        if abs(offset_s - before_s) <= CLOCK_STEP_S:
            return
        try:
            ahead = self._ahead(names, offset_s) if offset_s < before_s else {}
        except Unavailable as error:
            why = "the wall clock was set, and schedules can not follow it yet: %s"
            log.warning(why, error, extra={"action": "clock.unfollowed"})
            return
        self._engine.submit(WallClockSet(offset_s, ahead))
        told = (abs(offset_s - before_s), "back" if offset_s < before_s else "forward")
        log.warning("the wall clock was set %.3f s %s; schedules follow it", *told, extra={"action": "clock.set"})

    def _ahead(self, names: tuple[str, ...], offset_s: float) -> dict[str, tuple[int, ...]] | None:
        if self._history is None:
            return None
        wall = self._engine.clock.monotonic() + offset_s
        self._engine.settle(changed=True)
        found = {name: self._history.read(decided_ahead, name, wall) for name in names}
        return {name: slots for name, slots in found.items() if slots}
