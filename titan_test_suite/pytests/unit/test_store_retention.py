"""Runs that are over and old are deleted, in pieces, with all that belongs to them; what is live is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.master.engine import Engine
from titan_core.master.housekeeper import Housekeeper
from titan_core.master.logs import LogName, LogStore
from titan_core.store import check, retention
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job
from titan_test_suite.pytests.support.waiting import wait_until

TABLES = ("runs", "requests", "jobs", "job_states", "attempts", "events", "leftovers")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[StoredCluster]:
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store)
        cluster.join("w", slots=2)
        yield cluster


def rows(store: Store) -> dict[str, int]:
    return store.history.read(
        lambda connection: {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES
        }
    )


def finish_run(cluster: StoredCluster, run_id: str, jobs: int = 3) -> None:
    cluster.submit(*(stored_job(f"j{n}") for n in range(jobs)), run_id=run_id, request_id=run_id.encode())
    for number in range(jobs):
        cluster.finish(f"{run_id}/j{number}")


def wait_swept(store: Store) -> None:
    def is_swept() -> bool:
        found = rows(store)
        return not found["leftovers"] and found["runs"] <= 1

    wait_until(is_swept, explain=lambda: rows(store))


def test_what_is_expired_by_age_and_by_number(cluster: StoredCluster) -> None:
    for number in range(4):
        finish_run(cluster, f"run-{number}")
        cluster.advance(86400.0)
    cluster.submit(stored_job("live"), run_id="live")
    cluster.flush()
    wall, expired = FakeClock().to_wall(cluster.now), cluster.store.expired
    assert expired(wall, 0, 0) == []
    assert expired(wall, 2.5, 0) == ["run-0", "run-1"]
    assert sorted(expired(wall, 0, 3)) == ["run-0"]
    assert sorted(expired(wall, 2.5, 1)) == ["run-0", "run-1", "run-2"]
    assert expired(wall, 30, 100) == []


def test_a_forgotten_run_leaves_nothing_but_its_name(cluster: StoredCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PIECE_RUNS", 1)
    monkeypatch.setattr(retention, "PIECE_JOBS", 2)
    monkeypatch.setattr(retention, "PIECE_EVENTS", 4)
    finish_run(cluster, "gone", 7)
    finish_run(cluster, "kept", 2)
    cluster.flush()
    store = cluster.store
    since_wall = FakeClock().wall()
    store.forget(["never was", "gone"])
    wait_swept(store)
    assert rows(store) == {
        "runs": 1, "requests": 1, "jobs": 2, "job_states": 2, "attempts": 2, "events": 6, "leftovers": 0
    }  # fmt: skip
    assert store.forgotten_since(since_wall) == ["gone"] and store.forgotten_since(since_wall + 1) == []
    assert store.history.run("gone") is None and store.history.request(b"gone") is None
    assert store.history.read(check.problems) == []


def test_what_is_live_is_not_deleted(cluster: StoredCluster) -> None:
    cluster.submit(stored_job("a"), run_id="live")
    finish_run(cluster, "over")
    cluster.flush()
    cluster.store.forget(["live", "over"])
    wait_swept(cluster.store)
    assert [run.run_id for run in cluster.store.history.runs(9)] == ["live"]
    assert cluster.store.forgotten_since(0.0) == ["over"]


def test_deleting_goes_on_after_a_restart(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        finish_run(cluster, "gone", 20)
        cluster.flush()
    store = Store(tmp_path / ".titan", FakeClock())
    connection = store._connection
    connection.execute("BEGIN")
    retention.sweep(connection, ["gone"], 1.0)
    connection.execute("COMMIT")
    store.stop()
    with open_store(tmp_path) as store:
        assert store.load(0.0)[0] == ()
        wait_until(lambda: not any(rows(store).values()), explain=lambda: rows(store))
        assert store.history.read(check.problems) == []


def test_that_a_run_was_deleted_is_known_for_a_month(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_store(tmp_path, clock) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        for run_id in ("first", "second"):
            finish_run(cluster, run_id)
            cluster.flush()
            store.forget([run_id])
            wait_until(lambda: not rows(store)["runs"])
            clock.advance(retention.KNOWN_S + 1)
        assert store.forgotten_since(0.0) == ["second"]


class SetClock(FakeClock):
    """The machine's clock was set ahead by `ahead_s` while the master ran."""

    ahead_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead_s


def test_a_clock_that_is_set_ahead_deletes_nothing(tmp_path: Path) -> None:
    clock = SetClock()
    with open_store(tmp_path, clock) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        finish_run(cluster, "over")
        cluster.flush()
        engine = Engine(cluster.core, clock, store)
        housekeeper = Housekeeper(engine, store, LogStore(tmp_path / "logs", engine.topics), 30.0, 0)
        clock.ahead_s = 40 * 86400.0
        housekeeper._clean_up()
        assert list(cluster.core.state.runs) == ["over"]
        clock.advance(31 * 86400.0)
        housekeeper._clean_up()
        assert list(cluster.core.state.runs) == []


def test_logs_of_deleted_runs_that_a_killed_master_left_are_deleted(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_store(tmp_path, clock) as store:
        cluster = StoredCluster(store)
        cluster.join("w")
        engine = Engine(cluster.core, clock, store)
        logs = LogStore(tmp_path / "logs", engine.topics)
        for run_id in ("gone", "kept"):
            finish_run(cluster, run_id)
            logs.append(LogName(run_id, "j0", 1), 0, b"printed\n")
        cluster.flush()
        store.forget(["gone"])
        wait_swept(store)
        housekeeper = Housekeeper(engine, store, logs, 30.0, 0)
        housekeeper.start()
        wait_until(lambda: logs.run_ids() == {"kept"}, explain=logs.run_ids)
        housekeeper.stop()
        assert housekeeper.join(5.0)
