"""Runs that are over are remembered for a while, then forgotten, the oldest first, and leave nothing behind."""

from __future__ import annotations

import gc

import pytest

from titan_core.errors import InvalidGraph, NotFound
from titan_core.scheduler import runs
from titan_core.scheduler.actions import ForgetRun
from titan_core.scheduler.model import Attempt, Run, Service
from titan_core.scheduler.states import Affinity
from titan_test_suite.pytests.support.cluster_model import Cluster, job, kept, service


def run_one(cluster: Cluster, run_id: str, size: int = 1, request_id: bytes = b"") -> None:
    """A run of `size` jobs, from submission to completion."""
    cluster.submit(*(job(f"j{number}") for number in range(size)), run_id=run_id, request_id=request_id)
    for number in range(size):
        cluster.finish(f"{run_id}/j{number}")


def remembered(cluster: Cluster) -> list[str]:
    return list(cluster.core.state.runs)


def test_so_many_runs_are_kept() -> None:
    cluster = Cluster(runs_kept=2)
    cluster.join("w")
    for run_id in ("r1", "r2", "r3", "r4"):
        run_one(cluster, run_id)
    assert remembered(cluster) == ["r3", "r4"]
    assert [a.run_id for a in cluster.actions if isinstance(a, ForgetRun)] == ["r1", "r2"]


def test_so_many_jobs_of_runs_are_kept() -> None:
    cluster = Cluster(jobs_kept=10)
    cluster.join("w")
    run_one(cluster, "r1", size=4)
    run_one(cluster, "r2", size=4)
    run_one(cluster, "r3", size=4)
    assert remembered(cluster) == ["r2", "r3"]
    assert cluster.core.state.jobs_over == 8


def test_the_newest_is_kept_however_large() -> None:
    cluster = Cluster(jobs_kept=1)
    cluster.join("w")
    run_one(cluster, "r1", size=5)
    assert remembered(cluster) == ["r1"]


def test_a_run_that_is_not_over_is_not_forgotten() -> None:
    cluster = Cluster(runs_kept=1)
    cluster.join("w")
    cluster.submit(service("web"), run_id="up")
    cluster.ready("web")
    cluster.submit(job("waits", requirement="GPU"), run_id="open")
    for run_id in ("r1", "r2", "r3"):
        run_one(cluster, run_id)
    assert remembered(cluster) == ["up", "open", "r3"]


def test_the_order_is_that_of_their_ends() -> None:
    cluster = Cluster(runs_kept=1)
    cluster.join("w")
    cluster.submit(job("a"), run_id="first")
    run_one(cluster, "second")
    cluster.finish("a")
    assert remembered(cluster) == ["first"]


def test_a_run_that_was_retried_is_over_only_when_it_ends_again() -> None:
    cluster = Cluster(runs_kept=1)
    cluster.join("w")
    cluster.submit(job("a"))
    cluster.fail("a")
    cluster.retry("a")
    assert (len(cluster.core.state.over), cluster.core.state.jobs_over) == (0, 0)
    run_one(cluster, "other")
    assert remembered(cluster) == ["run", "other"]
    cluster.finish("a")
    assert remembered(cluster) == ["run"]


def test_with_a_run_its_request_ids_are_forgotten() -> None:
    cluster = Cluster(runs_kept=1)
    cluster.join("w")
    run_one(cluster, "r1", request_id=b"1")
    run_one(cluster, "r2", request_id=b"2")
    assert cluster.core.state.requests == {b"2": "r2"}


def test_what_is_forgotten_is_not_there() -> None:
    cluster = Cluster(runs_kept=0)
    cluster.join("w")
    run_one(cluster, "r1")
    with pytest.raises(NotFound, match="there is no run r1"):
        cluster.cancel_run("r1")
    with pytest.raises(InvalidGraph):
        cluster.submit(job("b", "r1/j0"))


def test_a_child_outlives_the_memory_of_its_parent() -> None:
    cluster = Cluster(runs_kept=0)
    cluster.join("w")
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), run_id="second")
    cluster.finish("a")
    assert remembered(cluster) == ["second"]
    cluster.finish("b")
    assert remembered(cluster) == []


def test_a_parent_is_retried_without_the_children_that_were_forgotten() -> None:
    cluster = Cluster(runs_kept=1)
    cluster.join("w")
    cluster.submit(job("a"), service("web"), run_id="first")
    cluster.submit(job("b", "first/a"), run_id="second")
    cluster.fail("a")
    run_one(cluster, "third")
    assert remembered(cluster) == ["first", "third"]
    cluster.retry("a")
    assert cluster.states("first") == {"a": "RUNNING", "web": "RUNNING"}


def test_runs_that_follow_each_other_do_not_keep_each_other_in_memory() -> None:
    cluster = Cluster(runs_kept=1)
    cluster.join("w")
    cluster.submit(service("web"), run_id="up")
    cluster.ready("web")
    cluster.submit(job("a", "up/web"), run_id="r0")
    for number in range(1, 20):
        cluster.submit(job("a", f"r{number - 1}/a", "up/web"), run_id=f"r{number}")
        cluster.finish(f"r{number - 1}/a")
    assert len(cluster.job("web").children) <= 2
    cluster.actions.clear()
    gc.collect()
    alive = {found.run_id for found in gc.get_objects() if isinstance(found, Run)}
    assert "r19" in alive
    assert not alive & {"r0", "r1", "r2", "r3", "r4"}, "the last attempts of the worker lead to newer ones"


def test_memory_is_free_at_once_and_does_not_wait_for_the_collector() -> None:
    cluster = Cluster(runs_kept=2)
    cluster.join("w")
    cluster.submit(kept("web", instances=2), run_id="service")
    cluster.cancel_run("service")
    cluster.stopped("web")
    cluster.stopped("web.2")
    gc.collect()
    gc.disable()
    try:
        for number in range(30):
            run_one(cluster, f"r{number}", size=20)
        cluster.actions.clear()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Attempt | Run | Service)]
    finally:
        gc.enable()
    assert sum(isinstance(thing, Run) for thing in left) < 10, (
        "those that are remembered, and those of the worker's last attempts"
    )
    assert len(left) < 100


def test_affinity_binds_to_where_a_forgotten_parent_ran() -> None:
    cluster = Cluster(runs_kept=0)
    cluster.join("w1")
    cluster.submit(job("a"), run_id="first")
    waits = job("b", "first/a", "gate", affinity=Affinity.STRICT)
    cluster.submit(waits, job("gate", requirement="GPU"), run_id="second")
    cluster.finish("a")
    assert remembered(cluster) == ["second"]
    cluster.submit(*(job(f"pin{number}") for number in range(2)), run_id="pins")
    cluster.join("w2")
    cluster.join("gpu", "GPU")
    cluster.finish("gate")
    assert cluster.place("b") == "w1"


def test_a_run_stays_whole_for_those_who_found_it_before_it_was_forgotten() -> None:
    cluster = Cluster(runs_kept=0)
    state = cluster.core.state
    cluster.join("w")
    first = runs.begin_reading(state)
    cluster.submit(job("a"), run_id="found")
    found = cluster.run("found")
    cluster.finish("a")
    second = runs.begin_reading(state)
    run_one(cluster, "later")
    assert found.jobs["a"].attempts[-1].worker_id == "w:8080"
    runs.end_reading(state, first)
    run_one(cluster, "last")
    assert not found.jobs, "who reads now has begun when it was forgotten already"
    assert [run.run_id for _, run in state.forgotten] == ["later", "last"]
    runs.end_reading(state, second)
    cluster.join("other")
    assert not state.forgotten and not state.reading
