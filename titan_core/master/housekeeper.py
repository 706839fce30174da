"""The housekeeper: deletes finished runs that are older, or more, than are to be kept, now and then, and lines of
ledgers of schedules.

What is expired is asked of the store; the core, which knows what a person has just retried, decides; the
store, the logs and the workers are then told to delete. A worker that is not there is told when it is back.
"""

from __future__ import annotations

import logging

from titan_core.lifecycle import Component
from titan_core.master.engine import Engine
from titan_core.master.logs import LogStore
from titan_core.protocol.messages import ForgetRuns
from titan_core.scheduler.actions import DeleteRun
from titan_core.scheduler.events import RunsExpired
from titan_core.store.durability import Durability

log = logging.getLogger("titan.master")

EVERY_S = 3600.0
AT_ONCE = 500
"""Runs that are deleted in one step."""


class Housekeeper(Component):
    """`keep_days` and `keep_runs` as in the settings of the master; 0 = no limit."""

    def __init__(self, engine: Engine, store: Durability, logs: LogStore, keep_days: float, keep_runs: int) -> None:
        super().__init__("housekeeper")
        self._engine = engine
        self._store = store
        self._logs = logs
        self._keep_days = keep_days
        self._keep_runs = keep_runs

    def start(self) -> None:
        self.spawn("housekeeper", self._run)

    def missed(self, worker_id: str) -> list[ForgetRuns]:
        """What to tell a worker that comes back: what was deleted since it came the last time."""
        since_wall = self._store.history.worker_seen_wall(worker_id)
        run_ids = [] if since_wall is None else self._store.forgotten_since(since_wall)
        return [ForgetRuns(tuple(run_ids[start : start + AT_ONCE])) for start in range(0, len(run_ids), AT_ONCE)]

    def _run(self) -> None:
        self._finish()
        while True:
            self._clean_up()
            if self.stopping.wait(EVERY_S):
                return

    def _finish(self) -> None:
        """A master that was killed may have deleted runs, and not yet their logs."""
        for run_id in self._logs.run_ids().intersection(self._store.forgotten_since(0.0)):
            self._logs.forget(run_id)

    def _clean_up(self) -> None:
        clock = self._engine.clock
        now_wall = clock.to_wall(clock.monotonic())  # the age of a run does not grow when somebody sets the clock
        expired = self._store.expired(now_wall, self._keep_days, self._keep_runs)
        for start in range(0, len(expired), AT_ONCE):
            if self.stopping.is_set():
                return
            self._delete(tuple(expired[start : start + AT_ONCE]))
        self._store.shorten_ledgers(now_wall - self._keep_days * 86400 if self._keep_days else 0.0)
        if expired:
            log.info("deleted %d finished runs", len(expired), extra={"action": "runs.expired"})

    def _delete(self, run_ids: tuple[str, ...]) -> None:
        actions = self._engine.submit(RunsExpired(run_ids))
        deleted = tuple(action.run_id for action in actions if isinstance(action, DeleteRun))
        for run_id in deleted:
            self._logs.forget(run_id)
        for session in self._engine.sessions():
            session.put(ForgetRuns(deleted), 0)
