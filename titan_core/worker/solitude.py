"""The end of an ephemeral worker whose cluster is gone: nobody else is left to stop it.

Whoever stops a cluster with Ctrl-C reaches the processes of their terminal, not the workers that these have started.
One that has had no session for MOST_ALONE_S, and runs nothing, has nobody to serve. A master that is started again
by then finds it. Knows nothing of sessions and attempts; has one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from titan_core.lifecycle import Component

log = logging.getLogger("titan.worker")

MOST_ALONE_S = 120.0
LOOK_S = 1.0
"""How long a worker that is alone and still runs something is left to that, before it is looked at again."""


class Solitude(Component):
    """`alone_s()` says for how long there has been no session, `is_busy()` whether anything runs; `on_end()` is
    called once, when that is enough."""

    def __init__(
        self, alone_s: Callable[[], float], is_busy: Callable[[], bool], on_end: Callable[[], object]
    ) -> None:
        super().__init__("solitude")
        self._alone_s = alone_s
        self._is_busy = is_busy
        self._on_end = on_end

    def start(self) -> None:
        self.spawn("solitude", self._run)

    def _run(self) -> None:
        while not self.stopping.wait(max(LOOK_S, MOST_ALONE_S - self._alone_s())):
            if self._alone_s() >= MOST_ALONE_S and not self._is_busy():
                log.info(
                    "no master for %.0f s, and nothing runs: this ephemeral worker stops",
                    self._alone_s(),
                    extra={"action": "worker.alone"},
                )
                self._on_end()
                return
