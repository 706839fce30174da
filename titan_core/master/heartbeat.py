"""The heartbeat: at a fixed rate, greet every worker, and end the sessions of those that fell silent.

Any frame counts as a sign of life. The core decides what the end of a session means.
"""

from __future__ import annotations

import time

from titan_core.lifecycle import Component
from titan_core.master.engine import Engine
from titan_core.master.sessions import Timing


class HeartbeatExecutor(Component):
    def __init__(self, engine: Engine, timing: Timing) -> None:
        super().__init__("heartbeat")
        self._engine = engine
        self._timing = timing

    def start(self) -> None:
        self.spawn("heartbeat", self._run)

    def _run(self) -> None:
        while not self.stopping.wait(self._timing.heartbeat_s):
            for session in self._engine.sessions():
                silent_s = time.monotonic() - session.stream.last_received_at
                if silent_s > self._timing.death_s:
                    session.end(f"not heard for {silent_s:.0f} s")
                else:
                    session.greet()
