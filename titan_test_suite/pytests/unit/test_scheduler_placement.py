"""Which job goes first, and to which worker: priority, age, capability, load; and nobody blocks anybody else."""

from __future__ import annotations

import pytest

from titan_core.scheduler.states import Affinity, Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, job, service, started_jobs


def test_higher_priority_first_then_first_come() -> None:
    cluster = Cluster()
    cluster.submit(job("low", priority=0), job("b"), job("a"), job("high", priority=9))
    cluster.submit(job("late"), job("highest", priority=10), run_id="later")
    cluster.join("w", slots=6)
    assert cluster.starts() == ["highest", "high", "b", "a", "late", "low"]


def test_200_jobs_on_8_slots_all_run_once_in_priority_order() -> None:
    cluster = Cluster()
    cluster.join("w1")
    cluster.join("w2")
    specs = [job(f"j{number}", priority=number * 7919 % 10) for number in range(200)]
    cluster.submit(job("hold"), *specs)
    while names := cluster.running():
        assert len(names) <= 8
        cluster.finish(names[0])
    best_first = sorted(specs, key=lambda spec: (-spec.priority, int(spec.job_id[1:])))
    assert sorted(cluster.starts()) == sorted(["hold", *(spec.job_id for spec in specs)])
    assert [name for name in cluster.starts() if name != "hold"] == [spec.job_id for spec in best_first]
    assert all(len(found.attempts) == 1 for found in cluster.run().jobs.values())


def test_a_retried_job_keeps_its_age() -> None:
    cluster = Cluster()
    cluster.join("w", slots=1)
    cluster.submit(job("old", retries=1, retry_backoff_s=0), job("young"))
    cluster.fail("old")
    assert cluster.running() == ["young"]
    cluster.submit(job("younger"), run_id="later")
    cluster.advance(0)
    cluster.finish("young")
    assert cluster.running() == ["old"]


def test_capabilities_match_strictly() -> None:
    cluster = Cluster()
    gpu, general = cluster.join("gpu", "GPU"), cluster.join("general")
    cluster.submit(job("plain"), job("train", requirement="GPU"), job("odd", requirement="gpu"))
    assert cluster.place("plain") == "general"
    assert cluster.place("train") == "gpu"
    assert cluster.state("odd") == "QUEUED"
    assert len(gpu.running) == len(general.running) == 1


def test_a_worker_may_have_several_capabilities() -> None:
    cluster = Cluster()
    cluster.join("both", "GENERAL", "GPU", slots=2)
    cluster.submit(job("a"), job("b", requirement="GPU"), job("c", requirement="GPU"), job("d", priority=5))
    assert cluster.starts() == ["d", "a"]
    cluster.finish("a")
    cluster.finish("d")
    assert cluster.starts() == ["d", "a", "b", "c"]


def test_the_best_job_of_all_pools_gets_the_slot_of_a_worker_with_several_capabilities() -> None:
    cluster = Cluster()
    cluster.join("both", "GENERAL", "GPU", slots=1)
    cluster.submit(job("first", priority=5), job("general", priority=3), job("gpu", requirement="GPU", priority=4))
    assert cluster.starts() == ["first"]
    cluster.finish("first")
    cluster.finish("gpu")
    assert cluster.starts() == ["first", "gpu", "general"]


def test_a_job_that_can_not_be_placed_blocks_no_other() -> None:
    cluster = Cluster()
    cluster.join("w", slots=2)
    stuck = [job(f"gpu{number}", requirement="GPU", priority=99) for number in range(100)]
    cluster.submit(*stuck, job("a"), job("b"), job("c"))
    assert cluster.running() == ["a", "b"]
    cluster.finish("a")
    assert cluster.running() == ["b", "c"]
    cluster.join("g", "GPU", slots=3)
    assert cluster.running() == ["b", "c", "gpu0", "gpu1", "gpu2"]


def test_a_job_bound_to_a_busy_worker_blocks_no_other() -> None:
    cluster = Cluster()
    cluster.join("w1", slots=1)
    cluster.submit(job("parent"))
    cluster.finish("parent")
    cluster.submit(job("hold"), run_id="next")
    cluster.join("w2", slots=1)
    bound = [
        job(f"bound{number}", "run/parent", affinity=Affinity.STRICT, priority=9, requirement="GENERAL")
        for number in range(3)
    ]
    cluster.submit(*bound, job("free", priority=0), run_id="last")
    assert cluster.states("last") == {"bound0": "QUEUED", "bound1": "QUEUED", "bound2": "QUEUED", "free": "RUNNING"}
    assert cluster.place("free") == "w2"
    cluster.finish("hold")
    assert cluster.place("bound0") == "w1"


def test_the_least_loaded_worker_is_taken() -> None:
    cluster = Cluster()
    cluster.join("small", slots=2)
    cluster.join("large", slots=8)
    cluster.submit(*(job(f"j{number}") for number in range(5)))
    places = [cluster.place(f"j{number}") for number in range(5)]
    assert places == ["small", "large", "large", "large", "large"]
    cluster.submit(job("sixth"), run_id="next")
    assert cluster.place("sixth") == "small"


def test_among_equals_the_worker_that_came_first_is_taken() -> None:
    cluster = Cluster()
    for name in ("z", "m", "a"):
        cluster.join(name)
    cluster.submit(*(job(f"j{number}") for number in range(6)))
    assert [cluster.place(f"j{number}") for number in range(6)] == ["z", "m", "a", "z", "m", "a"]


def test_a_freed_slot_a_new_worker_and_a_ready_job_each_drive_placement() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), job("b"), job("c", "b"))
    assert started_jobs(cluster.actions) == []
    cluster.join("w", slots=1)
    assert cluster.starts() == ["a"]
    assert started_jobs(cluster.finish("a")) == ["b"]
    assert started_jobs(cluster.finish("b")) == ["c"]


def test_used_slots_are_running_attempts_and_end_at_zero() -> None:
    cluster = Cluster()
    worker = cluster.join("w")
    cluster.submit(*(job(f"j{number}", retries=1) for number in range(9)))
    outcomes = [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NOT_STARTED, Outcome.INTERRUPTED]
    for number in range(200):
        assert cluster.worker(worker).free_slots == 4 - len(worker.running)
        if not cluster.running():
            cluster.advance(10)
        if cluster.running():
            cluster.finish(cluster.running()[0], outcomes[number % len(outcomes)])
    assert cluster.run().live_jobs == 0
    assert cluster.worker(worker).free_slots == 4


@pytest.mark.parametrize("count", [1, 70, 200])
def test_any_number_of_workers_is_kept_equally_busy(count: int) -> None:
    cluster = Cluster()
    workers = [cluster.join(f"w{number}") for number in range(count)]
    cluster.submit(*(job(f"j{number}") for number in range(2 * count)))
    assert {len(worker.running) for worker in workers} == {2}
    for number in range(0, 2 * count, 3):
        cluster.finish(f"j{number}")
    cluster.submit(*(job(f"k{number}") for number in range(count)), run_id="next")
    assert {len(worker.running) for worker in workers} <= {2, 3}


def test_what_was_withdrawn_does_not_pile_up_where_nothing_is_ever_placed() -> None:
    cluster = Cluster(runs_kept=5)
    for number in range(1000):
        cluster.submit(job("a", requirement="NOBODY_HAS_IT"), run_id=f"r{number}")
        cluster.cancel(f"r{number}/a")
    ready = cluster.core.state.placement._pools["NOBODY_HAS_IT"].ready
    assert len(ready._heap) < 200


def test_jobs_ahead_are_those_of_the_same_queue() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), job("b"), job("c", priority=5), job("g", requirement="GPU", priority=9), service("s"))
    cluster.cancel("a")
    assert cluster.core.state.placement.ahead_of(cluster.job("b")) == 1
    assert cluster.core.state.placement.ahead_of(cluster.job("g")) == 0
    assert cluster.core.state.placement.ahead_of(cluster.job("s")) == 0
