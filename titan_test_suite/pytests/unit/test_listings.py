"""Lists of jobs, whose runs may be history."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.master.engine import Engine
from titan_core.master.listings import Listings
from titan_core.master.views import Views
from titan_core.protocol.messages import ListJobs, ListRuns
from titan_core.scheduler.core import Core
from titan_core.scheduler.records import StoredRun
from titan_core.store.history import History
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job


def test_runs_that_grew_at_the_same_time_are_read_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    read_run = History.run

    def count(history: History, run_id: str) -> StoredRun | None:
        read.append(run_id)
        return read_run(history, run_id)

    monkeypatch.setattr(History, "run", count)
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        for run_id in ("left", "right"):
            cluster.submit(stored_job("waits", requirement="GPU"), run_id=run_id)
        for number in range(5):
            for run_id in ("left", "right"):
                cluster.add(stored_job(f"j{number}"), run_id=run_id)
                cluster.fail(f"{run_id}/j{number}")
        for run_id in ("left", "right"):
            cluster.cancel_run(run_id)
        cluster.flush()
        listings = Listings(Engine(Core(), FakeClock(), store), store.history, Views(FakeClock()))
        listed = listings.jobs(ListJobs(state="DEAD", limit=3))
    assert [(job.run_id, job.job_id) for job in listed.jobs] == [("right", "j4"), ("left", "j4"), ("right", "j3")]
    assert listed.total == 10
    assert sorted(read) == ["left", "right"]


@pytest.mark.parametrize("limit", [1, 3, 4, 6, 7, 9])
def test_runs_of_memory_and_of_the_store_are_one_list(tmp_path: Path, limit: int) -> None:
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store, runs_kept=2)
        for number in range(7):
            cluster.submit(stored_job("a", requirement="GPU"), run_id=f"run-{number}")
            if number not in (1, 5):
                cluster.cancel_run(f"run-{number}")
        cluster.flush()
        assert set(cluster.core.state.runs) == {"run-1", "run-4", "run-5", "run-6"}
        listings = Listings(Engine(cluster.core, FakeClock(), store), store.history, Views(FakeClock()))
        listed = listings.runs(ListRuns(limit))
    newest_first = [f"run-{number}" for number in range(6, -1, -1)]
    assert [run.run_id for run in listed.runs] == newest_first[:limit]


def test_runs_of_a_time_are_found_in_memory_and_in_the_store(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store, runs_kept=2)
        cluster.advance(clock.monotonic() - cluster.now)
        begin_wall = clock.wall()
        for number in range(6):  # each goes on for ten seconds, and the next one begins ten seconds later
            cluster.submit(stored_job("a", requirement="GPU"), run_id=f"run-{number}")
            cluster.advance(10)
            if number != 1:
                cluster.cancel_run(f"run-{number}")
            cluster.advance(10)
        cluster.flush()
        assert "run-2" not in cluster.core.state.runs
        listings = Listings(Engine(cluster.core, clock, store), store.history, Views(clock))

        def found(from_s: float, until_s: float) -> str:
            asked = ListRuns(9, from_wall=begin_wall + from_s, until_wall=begin_wall + until_s)
            return " ".join(run.run_id.removeprefix("run-") for run in listings.runs(asked).runs)

        assert [found(*span) for span in ((0, 1000), (-9, 0), (45, 75), (111, 1000))] == [
            "5 4 3 2 1 0",
            "",
            "3 2 1",
            "1",
        ]
