"""Affinity: to the worker of a parent, or of the job that submitted; preferred, or strict."""

from __future__ import annotations

import pytest

from titan_core.scheduler.states import Affinity, Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, service

PREFER, STRICT = Affinity.PREFER, Affinity.STRICT


@pytest.fixture
def cluster() -> Cluster:
    """Workers w1 and w2, two slots each. `parent` ran on w1, `pin` runs there now, so that w2 is less loaded."""
    cluster = Cluster()
    cluster.join("w1", slots=2)
    cluster.submit(job("parent"))
    cluster.finish("parent")
    cluster.submit(job("pin"), run_id="pins")
    cluster.join("w2", slots=2)
    return cluster


def fill(cluster: Cluster, worker: str) -> None:
    """Take the free slots of a worker, with jobs that are bound to it."""
    for number in range(2):
        cluster.submit(job("fill", "run/parent", affinity=STRICT), run_id=f"fill-{worker}-{number}")


def test_without_affinity_the_parent_does_not_matter(cluster: Cluster) -> None:
    cluster.submit(job("child", "run/parent"), run_id="next")
    assert cluster.place("child") == "w2"


@pytest.mark.parametrize("affinity", [PREFER, STRICT])
def test_the_worker_of_the_parent_is_taken_though_it_is_busier(cluster: Cluster, affinity: Affinity) -> None:
    cluster.submit(job("child", "run/parent", affinity=affinity), run_id="next")
    assert cluster.place("child") == "w1"


def test_preferring_takes_another_when_that_one_is_full(cluster: Cluster) -> None:
    fill(cluster, "w1")
    cluster.submit(job("child", "run/parent", affinity=PREFER), run_id="next")
    assert cluster.place("child") == "w2"


def test_strict_waits_for_a_slot_there(cluster: Cluster) -> None:
    fill(cluster, "w1")
    cluster.submit(job("child", "run/parent", affinity=STRICT, priority=5), run_id="next")
    assert cluster.state("child") == "QUEUED"
    cluster.finish("pin")
    assert cluster.place("child") == "w1"


def test_strict_waits_for_a_worker_that_is_gone(cluster: Cluster) -> None:
    w1 = cluster.workers["w1:8080"]
    cluster.crash(w1)
    cluster.advance(30)
    cluster.submit(job("child", "run/parent", affinity=STRICT), run_id="next")
    assert cluster.state("child") == "QUEUED"
    cluster.restart(w1)
    assert cluster.place("child") == "w1"


def test_strict_does_not_override_the_capability() -> None:
    cluster = Cluster()
    cluster.join("general")
    cluster.join("gpu", "GPU")
    cluster.submit(job("parent"), job("child", "parent", affinity=STRICT, requirement="GPU"))
    cluster.finish("parent")
    assert cluster.state("child") == "QUEUED"


def test_prefer_does_not_override_the_capability() -> None:
    cluster = Cluster()
    cluster.join("general")
    cluster.join("gpu", "GPU")
    cluster.submit(job("parent"), job("child", "parent", affinity=PREFER, requirement="GPU"))
    cluster.finish("parent")
    assert cluster.place("child") == "gpu"


def test_of_several_parents_the_first_counts() -> None:
    cluster = Cluster()
    cluster.join("w1")
    cluster.join("w2")
    cluster.submit(job("a"), job("b"), job("child", "b", "a", affinity=STRICT))
    assert (cluster.place("a"), cluster.place("b")) == ("w1", "w2")
    cluster.finish("b")
    cluster.finish("a")
    assert cluster.place("child") == "w2"


def test_strict_without_parent_or_spawner_may_go_anywhere() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a", affinity=STRICT))
    assert cluster.place("a") == "w"


def test_the_retry_of_a_strict_job_is_bound_too(cluster: Cluster) -> None:
    cluster.submit(job("child", "run/parent", affinity=STRICT, retries=1), run_id="next")
    cluster.fail("child")
    cluster.advance(10)
    assert [attempt.worker_id for attempt in cluster.job("child").attempts] == ["w1:8080", "w1:8080"]


def test_a_job_lands_where_the_job_that_submitted_it_runs(cluster: Cluster) -> None:
    cluster.add(job("spawned"), run_id="pins", spawner="pin")
    assert cluster.place("spawned") == "w1"


def test_and_so_does_a_new_run(cluster: Cluster) -> None:
    cluster.submit(job("spawned"), run_id="next", spawner="pin")
    assert cluster.place("spawned") == "w1"


def test_and_elsewhere_when_no_slot_is_free_there(cluster: Cluster) -> None:
    fill(cluster, "w1")
    cluster.submit(job("spawned"), run_id="next", spawner="pin")
    assert cluster.place("spawned") == "w2"


def test_a_spawner_that_is_over_attracts_nobody(cluster: Cluster) -> None:
    cluster.submit(job("spawned"), run_id="next", spawner="parent")
    assert cluster.place("spawned") == "w2" or cluster.job("spawned").spawner_worker_id == ""


def test_affinity_to_the_parent_comes_before_that_to_the_spawner(cluster: Cluster) -> None:
    cluster.submit(job("other"), run_id="others")
    assert cluster.place("other") == "w2"
    cluster.submit(job("child", "run/parent", affinity=PREFER), run_id="next", spawner="other")
    assert cluster.place("child") == "w1"


# ── a parent that moves ───────────────────────────────────────────────────────────────────────────


def moved_service() -> tuple[Cluster, FakeWorker]:
    """`web` ran on w1, its strict child waits for a slot there; then w1 died, and `web` runs on w2."""
    cluster = Cluster()
    w1 = cluster.join("w1", slots=1)
    cluster.submit(service("web"), job("pin"), job("child", "web", affinity=STRICT, requirement="GENERAL"))
    cluster.ready("web")
    assert cluster.state("child") == "QUEUED"
    cluster.join("w2", slots=1)
    cluster.submit(job("pin2"), run_id="pins")
    cluster.crash(w1)
    cluster.advance(30)
    assert cluster.place("web") == "w2"
    return cluster, w1


def test_a_strict_child_follows_a_service_that_moved_while_it_waited() -> None:
    cluster, _ = moved_service()
    cluster.cancel("pin")
    cluster.finish("pin2")
    assert cluster.place("child") == "w2"


def test_it_does_not_start_where_the_service_was() -> None:
    cluster, w1 = moved_service()
    cluster.cancel("pin")
    cluster.restart(w1)
    assert cluster.state("child") == "QUEUED"
    assert "w2" in cluster.explain("child")[0]
    cluster.finish("pin2", Outcome.FAILED)
    assert cluster.place("child") == "w2"
