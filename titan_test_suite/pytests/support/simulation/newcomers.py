"""Where more workers come from: some come soon, some late, some never; some do not live until they could register."""

from __future__ import annotations

from collections.abc import Callable

from titan_core.scheduler.model import WorkerInfo
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.frames import Spawn
from titan_test_suite.pytests.support.simulation.worker import Worker


class Newcomers:
    """Adds to `workers`; `make(info)` makes one that is not started."""

    def __init__(self, agenda: Agenda, workers: list[Worker], make: Callable[[WorkerInfo], Worker]) -> None:
        self._agenda, self._workers, self._make = agenda, workers, make
        self._clouds = 0
        self.born = 0

    def spawn(self, parent: Worker, order: Spawn) -> None:
        """`parent` was told to start another worker on its host."""
        worker_id = f"{parent.host}:{order.port}"
        info = WorkerInfo(
            worker_id,
            b"",
            frozenset(order.capabilities),
            parent.info.slots,
            ephemeral=order.ephemeral,
            parent=parent.worker_id,
            cpu_count=parent.info.cpu_count,
        )
        match "soon" if self._agenda.calm else self._agenda.dice.choice(_OF_A_CHILD):
            case "soon":
                self._agenda.after(self._agenda.spread(0.3, 15), lambda: self._bear(parent, info))
            case "late":
                self._agenda.after(self._agenda.spread(28, 50), lambda: self._bear(parent, info))
            case "refused":
                self._refuse(parent, order.port)
            case "dies before it registers, and its parent does not see it":
                pass

    def provision(self, capability: str, count: int, fail: Callable[[str, int], None]) -> None:
        """Somebody outside was asked for workers; `fail(capability, count)` says that there will be none."""
        match "soon" if self._agenda.calm else self._agenda.dice.choice(_OF_A_CLOUD):
            case "soon":
                for _ in range(count):
                    self._agenda.after(self._agenda.spread(1, 60), lambda: self._provide(capability))
            case "refused":
                self._agenda.after(self._agenda.spread(0.1, 10), lambda: fail(capability, count))
            case "nothing":
                pass

    def _provide(self, capability: str) -> None:
        self._clouds += 1
        slots = self._agenda.dice.randint(1, 4)
        info = WorkerInfo(f"cloud{self._clouds}:8080", b"", frozenset({capability}), slots, ephemeral=True)
        self._begin(info)

    def _bear(self, parent: Worker, info: WorkerInfo) -> None:
        """The parent may be gone by now. A port that somebody has can not be had."""
        if any(worker.alive and worker.worker_id == info.worker_id for worker in self._workers):
            self._refuse(parent, int(info.worker_id.rpartition(":")[2]))
        else:
            self._begin(info)

    def _refuse(self, parent: Worker, port: int) -> None:
        self._agenda.after(self._agenda.spread(0.05, 5), lambda: parent.say_not_spawned(port, "it is taken"))

    def _begin(self, info: WorkerInfo) -> None:
        """A new process; where one of its name was before, with the journal of that one."""
        self.born += 1
        before = next((worker for worker in self._workers if worker.worker_id == info.worker_id), None)
        worker = before or self._make(info)
        if before is None:
            self._workers.append(worker)
        worker.start(info)


_OF_A_CHILD = ["soon"] * 6 + [
    "late",
    "refused",
    "dies before it registers, and its parent does not see it",
]
_OF_A_CLOUD = ["soon", "soon", "soon", "refused", "nothing"]
