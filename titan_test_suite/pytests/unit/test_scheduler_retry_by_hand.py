"""A person has DEAD and CANCELLED jobs run again: what returns with them, and what is refused."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler.events import JobRetryRequested
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, job, service


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.join("w")
    return cluster


def test_a_dead_job_runs_again_and_its_descendants_wait_again(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b", "a"), job("c", "b"))
    cluster.fail("a")
    cluster.retry("a")
    assert cluster.states() == {"a": "RUNNING", "b": "BLOCKED", "c": "BLOCKED"}
    assert cluster.run_state() == "RUNNING"
    assert cluster.attempt("a").number == 2
    for name in "abc":
        cluster.finish(name)
    assert cluster.run_state() == "COMPLETED"


def test_a_cancelled_job_runs_again(cluster: Cluster) -> None:
    cluster.submit(job("a", delay_s=60))
    cluster.cancel("a")
    cluster.retry("a")
    assert cluster.state("a") == "RUNNING"
    assert cluster.job("a").finished_at is None


def test_a_cancelled_child_goes_on_waiting_for_its_parents(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b"), job("c", "a", "b"))
    cluster.cancel("c")
    cluster.finish("a")
    cluster.retry("c")
    assert cluster.state("c") == "BLOCKED"
    assert cluster.job("c").reason == "waits for 1 of 2 parents"
    cluster.finish("b")
    assert cluster.state("c") == "RUNNING"


def test_budgets_are_fresh(cluster: Cluster) -> None:
    cluster.submit(job("a", retries=1, retry_backoff_s=0, max_attempts=2))
    for _ in range(2):
        cluster.fail("a")
        cluster.advance(0)
    assert cluster.state("a") == "DEAD"
    cluster.retry("a")
    cluster.fail("a")
    assert cluster.state("a") == "FAILED"
    cluster.advance(0)
    cluster.fail("a")
    assert cluster.state("a") == "DEAD"
    assert [attempt.number for attempt in cluster.job("a").attempts] == [1, 2, 3, 4]


def test_a_run_is_retried_as_a_whole(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b"), job("c", "a", "b"), job("ok"))
    for name in "ab":
        cluster.fail(name)
    cluster.finish("ok")
    assert cluster.run_state() == "FAILED"
    cluster.retry_run()
    assert cluster.states() == {"a": "RUNNING", "b": "RUNNING", "c": "BLOCKED", "ok": "COMPLETED"}


def test_children_in_other_runs_return_too(cluster: Cluster) -> None:
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), run_id="second")
    cluster.fail("a")
    assert cluster.run_state("second") == "CANCELLED"
    cluster.retry("a")
    assert cluster.run_state("second") == "RUNNING"
    cluster.finish("a")
    assert cluster.state("b") == "RUNNING"


def test_a_descendant_with_another_dead_parent_stays_until_that_is_retried_too(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b"), job("c", "a", "b"), job("d", "c"))
    cluster.fail("a")
    cluster.fail("b")
    cluster.retry("a")
    assert cluster.states() == {"a": "RUNNING", "b": "DEAD", "c": "CANCELLED", "d": "CANCELLED"}
    cluster.retry("b")
    assert cluster.states() == {"a": "RUNNING", "b": "RUNNING", "c": "BLOCKED", "d": "BLOCKED"}


def test_a_diamond_returns_whole(cluster: Cluster) -> None:
    cluster.submit(job("top"), job("left", "top"), job("right", "top"), job("bottom", "left", "right"))
    cluster.fail("top")
    cluster.retry("top")
    for name in ("top", "left", "right", "bottom"):
        cluster.finish(name)
    assert cluster.run_state() == "COMPLETED"


def test_a_service_that_was_up_and_died_takes_its_children_along_again(cluster: Cluster) -> None:
    cluster.submit(service("web"), job("other"), job("child", "web", "other"))
    cluster.ready("web")
    cluster.fail("web")
    assert cluster.states() == {"web": "DEAD", "other": "RUNNING", "child": "CANCELLED"}
    cluster.retry("web")
    assert cluster.state("child") == "BLOCKED"
    cluster.finish("other")
    assert cluster.state("child") == "RUNNING"


@pytest.mark.parametrize("state", ["QUEUED", "RUNNING", "FAILED", "COMPLETED", "DELAYED", "BLOCKED"])
def test_only_lost_causes_can_be_retried(cluster: Cluster, state: str) -> None:
    cluster.submit(
        job("RUNNING"),
        job("COMPLETED"),
        job("QUEUED", requirement="GPU"),
        job("FAILED", retries=1),
        job("DELAYED", delay_s=9),
        job("BLOCKED", "RUNNING"),
    )
    cluster.fail("FAILED")
    cluster.finish("COMPLETED")
    with pytest.raises(Conflict, match=f"job run/{state} is {state}; only a DEAD or CANCELLED job can be retried"):
        cluster.retry(state)


def test_a_child_is_not_retried_without_its_dead_parent(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b", "a"))
    cluster.fail("a")
    with pytest.raises(Conflict, match="job run/b depends on a, which is DEAD; retry that one"):
        cluster.retry("b")
    assert cluster.states() == {"a": "DEAD", "b": "CANCELLED"}


def test_nor_without_its_dead_service_though_that_was_up(cluster: Cluster) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.ready("web")
    cluster.fail("web")
    cluster.fail("child")
    with pytest.raises(Conflict, match="job run/child depends on web, which is DEAD; retry that one"):
        cluster.retry("child")
    cluster.retry_run()
    assert cluster.states() == {"web": "RUNNING", "child": "RUNNING"}


def test_a_run_is_not_retried_while_it_depends_on_a_dead_job_elsewhere(cluster: Cluster) -> None:
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), job("c"), run_id="second")
    cluster.fail("a")
    cluster.fail("c")
    with pytest.raises(Conflict, match="depends on a"):
        cluster.retry_run("second")
    assert cluster.states("second") == {"b": "CANCELLED", "c": "DEAD"}


def test_a_run_without_lost_causes_is_not_retried(cluster: Cluster) -> None:
    cluster.submit(job("a"))
    with pytest.raises(Conflict, match="run run is RUNNING; it has no DEAD or CANCELLED job"):
        cluster.retry_run()


def test_what_is_not_there_is_not_retried(cluster: Cluster) -> None:
    cluster.submit(job("a"))
    with pytest.raises(NotFound, match="there is no run other"):
        cluster.handle(JobRetryRequested("other", "a"))
    with pytest.raises(NotFound, match="run run has no job b"):
        cluster.handle(JobRetryRequested("run", "b"))


def test_an_at_most_once_job_gets_one_more_attempt_when_a_person_wants_it(cluster: Cluster) -> None:
    cluster.submit(job("a", max_attempts=1))
    cluster.fail("a")
    cluster.retry("a")
    cluster.finish("a", Outcome.FAILED)
    assert cluster.state("a") == "DEAD"
    assert len(cluster.job("a").attempts) == 2
