"""The rows in the tables of the real store, written and read by its own code."""

from __future__ import annotations

from titan_core.scheduler.events import StateRecovered
from titan_core.scheduler.records import Batch, StoredRun
from titan_core.store import check, loading, rows, schema
from titan_test_suite.pytests.support.simulation.store import Rows


class Tables(Rows):
    """A database in memory. The judge goes on reading the plain rows; masters are told what the tables say."""

    def __init__(self) -> None:
        super().__init__()
        self._connection = schema.connect_to_nothing()
        self._writer = rows.Writer(self._connection, offset_s=0.0)

    def write(self, batch: Batch) -> None:
        super().write(batch)
        pending = rows.Pending()
        pending.add(batch)
        self._writer.write(pending)

    def stored_run(self, run_id: str) -> StoredRun | None:
        number = next((number for number, run in self.runs.items() if run.run_id == run_id), None)
        return None if number is None else rows.read_runs(self._connection, [number], 0.0)[0]

    def recovered(self, term: int, grace_s: float, recent: int) -> StateRecovered:
        """Of what is over, as many runs as the real store loads, whatever is asked for here."""
        self.check()
        loaded = loading.load(self._connection, 0.0, 0.0)
        return StateRecovered(term, grace_s, loaded.runs, loaded.workers, max([0, *self.runs, *self.jobs]))

    def check(self) -> None:
        """Whether `titan check` would be content."""
        problems = check.problems(self._connection)
        assert not problems, problems

    def close(self) -> None:
        self._connection.close()
