"""The rows in the tables of the real store, written and read by its own code."""

from __future__ import annotations

from titan_core.scheduler.events import StateRecovered
from titan_core.scheduler.records import Batch, StoredRun
from titan_core.store import check, loading, rows, schedule_rows, schema
from titan_test_suite.pytests.support.simulation.store import Rows


class Tables(Rows):
    """A database in memory. The judge goes on reading the plain rows; masters are told what the tables say."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = schema.connect_to_nothing()
        self._writer = rows.Writer(self._connection, offset_s=0.0)
        self._pending = rows.Pending()

    def write(self, batch: Batch) -> None:
        super().write(batch)
        self._pending.add(batch)

    def commit(self) -> None:
        self._writer.write(self._pending)
        self._pending = rows.Pending()

    def stored_run(self, run_id: str) -> StoredRun | None:
        number = next((number for number, run in self.runs.items() if run.run_id == run_id), None)
        return None if number is None else rows.read_runs(self._connection, [number], 0.0)[0]

    def decided_ahead(self, schedule: str, wall: float) -> tuple[int, ...]:
        return schedule_rows.decided_ahead(self._connection, schedule, wall)

    def last_trigger(self, schedule: str) -> int:
        return schedule_rows.last_trigger(self._connection, schedule)

    def recovered(
        self, term: int, grace_s: float, recent: int, wall: float = 0.0, offset_s: float = 0.0
    ) -> StateRecovered:
        """Of what is over, as many runs as the real store loads, whatever is asked for here."""
        self.check()
        loaded = loading.load(self._connection, 0.0, wall)
        return StateRecovered(
            term,
            grace_s,
            loaded.runs,
            loaded.workers,
            max([0, *self.runs, *self.jobs]),
            offset_s,
            loaded.schedules,
            loaded.alerts,
        )

    def check(self) -> None:
        """Whether `titan check` would be content."""
        problems = check.problems(self._connection)
        assert not problems, problems

    def close(self) -> None:
        self._connection.close()
