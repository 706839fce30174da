"""A cluster without threads or sockets whose every step goes into a real store.

with closing_store(tmp_path) as store:
    cluster = StoredCluster(store)
    cluster.submit(stored_job("extract"), stored_job("load", "extract"))
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from titan_core.clock import Clock, FakeClock
from titan_core.protocol import messages
from titan_core.scheduler.actions import Action
from titan_core.scheduler.events import Event
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.records import batch
from titan_core.store.sqlite import Store
from titan_core.store.volatile import Volatile
from titan_test_suite.pytests.support.cluster_model import Cluster, job


class StoredCluster(Cluster):
    def __init__(self, store: Store, **settings: float) -> None:
        super().__init__(**settings)
        self.store = store

    def handle(self, event: Event) -> list[Action]:
        actions = super().handle(event)
        rows = batch(actions, self.now)
        if rows is not None:
            self.store.append(rows)
        return actions

    def flush(self) -> None:
        """Everything that was decided is on disk."""
        assert self.store.wait(self.store.last, 10)


@contextmanager
def open_store(home: Path, clock: Clock | None = None) -> Iterator[Store]:
    """The store of this home, loaded and started; stopped at the end."""
    store = Store(home / ".titan", clock or FakeClock())
    store.load(0.0)
    store.start()
    try:
        yield store
    finally:
        store.stop()
        assert store.join(10)


@contextmanager
def volatile_store(clock: Clock) -> Iterator[Volatile]:
    """One that keeps nothing, stopped at the end."""
    store = Volatile(clock)
    try:
        yield store
    finally:
        store.stop()


def stored_job(job_id: str, *parents: str, args: tuple[str, ...] = (), **fields: object) -> JobSpec:
    return with_task(job(job_id, *parents, **fields), args)


def with_task(spec: JobSpec, args: tuple[str, ...] = ()) -> JobSpec:
    return replace(spec, task=messages.Task("etl.py", "ab" * 32, args=args))
