"""Which run or job a key names: one in memory, else one that is history, read from the store.

A run from the store is a copy made for this one look: finished, so that it does not change, and unknown to
the core. Whoever wants to change something about it has it recalled into memory first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from titan_core.errors import InvalidRequest, NotFound
from titan_core.master import lookup
from titan_core.master.engine import Engine
from titan_core.protocol.checks import shown
from titan_core.scheduler.events import RunRecalled
from titan_core.scheduler.model import Job, Run
from titan_core.scheduler.records import StoredRun
from titan_core.scheduler.recovery import link_within, parent_runs, restore_run
from titan_core.scheduler.state import State
from titan_core.store.history import History

T = TypeVar("T")

_NAMED = 5


class Finder:
    def __init__(self, engine: Engine, history: History) -> None:
        self._engine = engine
        self._history = history

    def run(self, key: str) -> Run:
        """Raises NotFound, or InvalidRequest for a prefix that fits several."""
        if "/" in key:  # a job's: its run need not be read to say that it is no run
            return self._engine.read(lambda state: lookup.find_run(state, key))
        return self._find(lambda state: lookup.find_run(state, key), key, lambda past: lookup.find_run(past, key))

    def job(self, key: str) -> Job:
        """Raises NotFound, or InvalidRequest for a key that fits several."""
        return self._find(lambda state: lookup.find_job(state, key), key, lambda past: lookup.find_job(past, key))

    def run_or_job(self, key: str) -> tuple[Run, Job | None]:
        """As `lookup.find_run_or_job`."""

        def look(state: State) -> tuple[Run, Job | None]:
            return lookup.find_run_or_job(state, key)

        return self._find(look, key, look)

    def job_in_memory(self, key: str) -> Job:
        """The job, for a change: if its run is history, it is taken back into memory."""
        job = self.job(key)
        self.recall([job.run.run_id])
        return self._engine.read(lambda state: lookup.find_job(state, job.key))

    def run_or_job_in_memory(self, key: str) -> tuple[Run, Job | None]:
        """`run_or_job`, for a change."""
        run, job = self.run_or_job(key)
        self.recall([run.run_id])
        return self._engine.read(lambda state: lookup.find_run_or_job(state, job.key if job else run.run_id))

    def recall(self, run_ids: Iterable[str]) -> None:
        """Take these runs back into memory, and those they depend on; what is there, or nowhere, is no matter."""
        found: dict[str, StoredRun] = {}
        wanted = self._not_in_memory(run_ids)
        if wanted:
            self._engine.settle(changed=True)  # how a run ended may not be on disk yet when it leaves memory
        while wanted:
            read = [stored for run_id in wanted if (stored := self._history.run(run_id)) is not None]
            found.update((stored.run.run_id, stored) for stored in read)
            wanted = self._not_in_memory(set().union(*map(parent_runs, read)).difference(found))
        for stored in sorted(found.values(), key=lambda stored: stored.run.sequence):  # parents before children
            self._engine.submit(RunRecalled(stored))

    def _not_in_memory(self, run_ids: Iterable[str]) -> set[str]:
        return self._engine.read(lambda state: {run_id for run_id in run_ids if run_id not in state.runs})

    def _find(self, in_memory: Callable[[State], T], key: str, in_past: Callable[[State], T]) -> T:
        try:
            return self._engine.read(in_memory)
        except NotFound as error:
            run = self._past_run(key)
            if run is None:
                raise error from None
            return in_past(State(runs={run.run_id: run}))

    def _past_run(self, key: str) -> Run | None:
        """The run in the store that `key` names, or that has the job it names."""
        run_key, separator, _ = key.partition("/")
        run_id = None if separator else self._history.newest_run_with_job(key)
        run_ids = [run_id] if run_id else self._history.find_run_ids(run_key)
        if len(run_ids) > 1:
            some = ", ".join(run_ids[:_NAMED])
            raise InvalidRequest(f"{shown(run_key)} fits several runs: {some}; give more of it")
        if not run_ids or self._engine.read(lambda state: run_ids[0] in state.runs):
            return None  # what memory holds was looked through already
        self._engine.settle()
        stored = self._history.run(run_ids[0])
        if stored is None:
            return None
        run = restore_run(stored)
        link_within(run)
        return run
