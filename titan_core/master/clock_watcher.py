"""The ClockWatcher: sleeps until the earliest timer is due, tells the core, sleeps again.

It waits on the engine's condition, for ever when no timer is set, so an idle master costs nothing. An
event that sets an earlier timer notifies the condition. It never fires early: a wait that ends before
the time is simply continued.
"""

from __future__ import annotations

from titan_core.lifecycle import Component
from titan_core.master.engine import Engine
from titan_core.scheduler.events import TimePassed


class ClockWatcher(Component):
    def __init__(self, engine: Engine) -> None:
        super().__init__("clock-watcher")
        self._engine = engine

    def start(self) -> None:
        self.spawn("clock-watcher", self._run)

    def on_stop(self) -> None:
        with self._engine.condition:
            self._engine.condition.notify_all()

    def _run(self) -> None:
        engine = self._engine
        with engine.condition:
            while not self.stopping.is_set():
                due_at = engine.next_due_at()
                now = engine.clock.monotonic()
                if due_at is None:
                    engine.condition.wait()
                elif due_at > now:
                    engine.condition.wait(due_at - now)
                else:
                    engine.handle_held(TimePassed())
