"""What is read of the stored state while the store writes: keys, pages, events, and what is dead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.clock import FakeClock
from titan_core.scheduler.states import Outcome
from titan_core.store import loading
from titan_core.store.history import CANDIDATES, History
from titan_test_suite.pytests.support.stored_cluster import StoredCluster, open_store, stored_job


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[StoredCluster]:
    with open_store(tmp_path) as store:
        yield StoredCluster(store)


def history(cluster: StoredCluster) -> History:
    cluster.flush()
    return cluster.store.history


def test_a_run_is_given_back_whole(cluster: StoredCluster) -> None:
    cluster.join("w")
    cluster.submit(stored_job("a"), stored_job("b", "a"), request_id=b"r" * 16)
    cluster.add(stored_job("c"), request_id=b"q" * 16)
    cluster.finish("a")
    stored = history(cluster).run("run")
    assert stored is not None and sorted(stored.requests) == [b"q" * 16, b"r" * 16]
    assert [job.asked.job_id for job in stored.jobs] == ["a", "b", "c"]
    assert [len(job.attempts) for job in stored.jobs] == [1, 1, 1]
    assert stored.jobs[0].attempts[0].counted and not stored.jobs[1].attempts[0].counted
    assert history(cluster).run("ru") is None


def test_a_run_that_grows_meanwhile_is_given_back_as_it_was_after_some_step(cluster: StoredCluster) -> None:
    cluster.submit(stored_job("j0"))
    found: list[tuple[int, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            stored = cluster.store.history.run("run")
            if stored is not None:
                found.append((sum(stored.run.counts), len(stored.jobs)))

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(1, 200):
        cluster.add(stored_job(f"j{number}"))
        cluster.flush()
    over.set()
    thread.join()
    assert found and all(counted == jobs for counted, jobs in found)


def test_keys_are_read_as_ids_names_and_prefixes(cluster: StoredCluster) -> None:
    for run_id in ("name-1", "name-2", "name-2-1", "other"):
        cluster.submit(stored_job("a"), run_id=run_id)
    found = history(cluster).find_run_ids
    assert found("name-2") == ["name-2"]
    assert found("name") == [
        "name-2-1"
    ]  # "name" is what all of them are called; ids that begin otherwise do not count
    assert found("name-") == ["name-2-1", "name-2", "name-1"]
    assert found("oth") == ["other"]
    assert found("nothing") == found("") == []


def test_at_most_some_candidates_are_named(cluster: StoredCluster) -> None:
    for number in range(CANDIDATES + 5):
        cluster.submit(stored_job("a"), run_id=f"x-{number}")
    assert len(history(cluster).find_run_ids("x")) == CANDIDATES


def test_the_newest_run_with_a_job(cluster: StoredCluster) -> None:
    cluster.submit(stored_job("a"), stored_job("b"), run_id="one")
    cluster.submit(stored_job("a"), run_id="two")
    assert history(cluster).newest_run_with_job("a") == "two"
    assert history(cluster).newest_run_with_job("b") == "one"
    assert history(cluster).newest_run_with_job("c") is None


def test_a_request_leads_to_its_run(cluster: StoredCluster) -> None:
    cluster.submit(stored_job("a"), request_id=b"r" * 16)
    assert history(cluster).request(b"r" * 16) == "run"
    assert history(cluster).request(b"x" * 16) is None


def test_runs_come_newest_first(cluster: StoredCluster) -> None:
    for number in range(5):
        cluster.submit(stored_job("a"), run_id=f"run-{number}")
    cluster.cancel_run("run-1")
    cluster.cancel_run("run-3")
    runs = history(cluster).runs
    first = runs(2)
    assert [run.run_id for run in first] == ["run-4", "run-3"]
    assert runs(9, from_sequence=first[-1].sequence) == first
    assert [run.run_id for run in runs(9, "CANCELLED")] == ["run-3", "run-1"]
    assert [run.run_id for run in runs(9, "CANCELLED", from_sequence=first[-1].sequence)] == ["run-3"]
    assert runs(9, name_prefix="nam") == runs(9) and runs(9, name_prefix="x") == []


def test_dead_jobs_and_services_are_found(cluster: StoredCluster) -> None:
    cluster.join("w")
    cluster.submit(stored_job("a"), stored_job("web", service=True), stored_job("b", "a"))
    cluster.submit(stored_job("a"), run_id="two")
    for key in ("run/a", "two/a"):
        cluster.fail(key)
    jobs = history(cluster).jobs
    assert jobs("DEAD", 10) == ([("two", "a"), ("run", "a")], 2)
    assert jobs("DEAD", 1) == ([("two", "a")], 2)
    assert jobs("RUNNING", 10, services_only=True) == ([("run", "web")], 1)
    assert jobs("DEAD", 10, services_only=True) == ([], 0)
    plan = history(cluster).read(
        lambda connection: connection.execute(
            "EXPLAIN QUERY PLAN SELECT count(*) FROM job_states WHERE job_states.state = 'DEAD'"
        ).fetchall()
    )
    assert "dead_jobs" in str(plan)


def test_events_tell_what_happened_where_and_why(cluster: StoredCluster) -> None:
    clock = FakeClock()
    cluster.join("w")
    cluster.submit(stored_job("a", retries=1), stored_job("b"))
    cluster.fail("a")
    cluster.advance(5)
    cluster.finish("a")
    events = history(cluster).events
    of_a = events("run", "a", 0, 100)
    assert [event.after for event in of_a] == ["QUEUED", "RUNNING", "FAILED", "QUEUED", "RUNNING", "COMPLETED"]
    assert [event.attempt for event in of_a] == [0, 1, 1, 1, 2, 2]
    assert [event.worker_id for event in of_a] == ["", *["w:8080"] * 5]
    assert of_a[0].wall == pytest.approx(clock.to_wall(1000.0)) and "exit code 1" in of_a[2].reason
    every = events("run", None, 0, 100)
    assert [event.version for event in every] == sorted(event.version for event in every)
    assert {event.job_id for event in every} == {"a", "b"}
    assert events("run", None, every[2].version, 2) == every[3:5]
    assert events("nothing", None, 0, 10) == []


def test_a_worker_that_was_here_is_known(cluster: StoredCluster) -> None:
    cluster.join("w")
    seen_wall = history(cluster).worker_seen_wall("w:8080")
    assert seen_wall == pytest.approx(FakeClock().to_wall(1000.0))
    assert history(cluster).worker_seen_wall("x:8080") is None


# ── what a start loads ────────────────────────────────────────────────────────────────────────────


def test_a_start_loads_what_is_live_the_newest_of_the_rest_and_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "RECENT_RUNS", 3)
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store)
        cluster.join("w", slots=1)
        for number in range(8):
            cluster.submit(stored_job("a"), run_id=f"run-{number}")
            cluster.finish("a")
        cluster.submit(stored_job("long"), stored_job("child", "run-1/a", "long"), run_id="live")
        cluster.submit(stored_job("late", "run-2/a"), run_id="over")
        cluster.finish("long", Outcome.FAILED)
        cluster.finish("late")
        cluster.submit(stored_job("long"), stored_job("child", "run-1/a", "long"), run_id="live-2")
    with open_store(tmp_path) as store:
        runs, *_ = store.load(0.0)
    assert [stored.run.run_id for stored in runs] == ["run-1", "run-7", "live", "over", "live-2"]


def test_a_start_loads_no_more_finished_jobs_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "RECENT_JOBS", 5)
    with open_store(tmp_path) as store:
        cluster = StoredCluster(store)
        for number, jobs in enumerate((1, 4, 3, 2)):
            cluster.submit(*(stored_job(f"j{job}") for job in range(jobs)), run_id=f"run-{number}")
            cluster.cancel_run(f"run-{number}")
    with open_store(tmp_path) as store:
        assert [stored.run.run_id for stored in store.load(0.0)[0]] == ["run-2", "run-3"]
