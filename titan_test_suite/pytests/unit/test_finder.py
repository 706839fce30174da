"""Runs that left memory are found, and come back as what they were, with what they depend on."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.errors import Conflict
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import JobRetryRequested, StateRecovered
from titan_core.store import loading
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job


def keep_three_runs(home: Path) -> None:
    """`third/c` depends on `second/b`, which depends on `first/a`, which is DEAD."""
    with open_store(home) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        cluster.submit(stored_job("a"), run_id="first")
        cluster.submit(stored_job("b", "first/a"), run_id="second")
        cluster.submit(stored_job("c", "second/b"), run_id="third")
        cluster.fail("first/a")
        cluster.flush()


def retry(engine: Engine, finder: Finder, key: str) -> None:
    run, job = finder.run_or_job_in_memory(key)
    assert job is not None
    engine.submit(JobRetryRequested(run.run_id, job.job_id))


@pytest.mark.parametrize("loaded", [0, 1], ids=["none is in memory", "the last is in memory"])
def test_a_job_is_not_retried_without_the_parents_that_left_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: int
) -> None:
    keep_three_runs(tmp_path)
    monkeypatch.setattr(loading, "RECENT_RUNS", loaded)
    store = Store(tmp_path / ".titan", FakeClock())
    try:
        runs, workers, *_ = store.load(0.0)
        store.start()
        engine = Engine(Core(), FakeClock(), store)
        engine.submit(StateRecovered(store.term, 60.0, runs, workers, store.last_sequence))
        finder = Finder(engine, store.history)
        with pytest.raises(Conflict, match="depends on b, which is CANCELLED"):
            retry(engine, finder, "third/c")
        with pytest.raises(Conflict, match="depends on a, which is DEAD"):
            retry(engine, finder, "second/b")
        retry(engine, finder, "first/a")
        jobs = engine.read(lambda state: [job for run in state.runs.values() for job in run.jobs.values()])
        assert [job.state.value for job in jobs] == ["QUEUED", "BLOCKED", "BLOCKED"]
    finally:
        store.stop()
        assert store.join(10)
