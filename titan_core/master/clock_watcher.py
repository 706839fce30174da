"""The ClockWatcher: sleeps until the earliest timer is due, tells the core, sleeps again.

It waits on the engine's condition, for ever when no timer is set, so an idle master costs nothing. An
event that sets an earlier timer notifies the condition. It never fires early: a wait that ends before
the time is simply continued.

Timers are monotonic, slots of schedules are wall time: before anything fires it is seen to that the core
knows the wall clock as it is. Whoever sets the clock while nothing is due is noticed by `clock_set`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from titan_core.errors import Unavailable
from titan_core.lifecycle import Component
from titan_core.master.engine import Engine
from titan_core.scheduler.events import TimePassed


class ClockWatcher(Component):
    """`follow_clock` tells the core where the wall clock is; `check_room` raises Unavailable if no run can begin."""

    def __init__(self, engine: Engine, follow_clock: Callable[[], None], check_room: Callable[[], None]) -> None:
        super().__init__("clock-watcher")
        self._engine = engine
        self._follow_clock = follow_clock
        self._check_room = check_room

    def start(self) -> None:
        self.spawn("clock-watcher", self._run)

    def on_stop(self) -> None:
        with self._engine.condition:
            self._engine.condition.notify_all()

    def _run(self) -> None:
        """What takes the disk is done without the lock."""
        while self._wait_until_due():
            if self._engine.clock_was_set():
                self._follow_clock()
            else:
                self._engine.submit(TimePassed(self._trouble()))

    def _wait_until_due(self) -> bool:
        """Until some timer is due; False: it is time to stop."""
        engine = self._engine
        with engine.condition:
            while not self.stopping.is_set():
                due_at = engine.next_due_at()
                now = engine.clock.monotonic()
                if due_at is None:
                    engine.condition.wait()
                elif due_at > now:
                    engine.condition.wait(min(due_at - now, threading.TIMEOUT_MAX))
                else:
                    return True
        return False

    def _trouble(self) -> str:
        try:
            self._engine.check_writable()
            self._check_room()
        except Unavailable as error:
            return error.message
        return ""
