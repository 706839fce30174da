"""A cluster without threads whose master can be killed, and started again with what every step has left."""

from __future__ import annotations

from titan_core.scheduler.actions import Action
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import Event
from titan_core.scheduler.records import batch
from titan_core.scheduler.settings import ScalingSettings
from titan_test_suite.pytests.support.cluster_model import Cluster
from titan_test_suite.pytests.support.simulation.store import Rows

GRACE_S = 60.0


class KeptCluster(Cluster):
    """See above."""

    def __init__(self, scaling: ScalingSettings | None = None, **settings: float) -> None:
        super().__init__(scaling, **settings)
        self.rows = Rows()
        self.term = 0

    def handle(self, event: Event) -> list[Action]:
        actions = super().handle(event)
        rows = batch(actions, self.now)
        if rows is not None:
            self.rows.write(rows)
        return actions

    def restart_master(self) -> list[Action]:
        """The workers and what they run go on; they have no session."""
        for worker in self.workers.values():
            worker.connected = False
        self.core, self.term = Core(self.core.state.settings), self.term + 1
        return self.handle(self.rows.recovered(self.term, GRACE_S, recent=100))
