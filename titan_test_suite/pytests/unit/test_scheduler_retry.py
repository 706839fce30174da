"""Retries: whose budget an ended attempt is charged to, when the next one comes, and when there is none."""

from __future__ import annotations

import pytest

from titan_core.scheduler import retry
from titan_core.scheduler.model import Attempt, Job, Run
from titan_core.scheduler.states import INFRASTRUCTURE_BUDGET, JobState, Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, job


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    cluster.join("w")
    return cluster


OWN_FAULT = [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NOT_STARTED]
NOT_ITS_FAULT = [Outcome.INTERRUPTED, Outcome.STOPPED]


@pytest.mark.parametrize("outcome", OWN_FAULT)
def test_a_failure_without_retries_is_the_end(cluster: Cluster, outcome: Outcome) -> None:
    cluster.submit(job("a"))
    cluster.finish("a", outcome, "it broke")
    assert cluster.state("a") == "DEAD"
    assert cluster.job("a").reason == "it broke"
    assert cluster.attempt("a").outcome is outcome


@pytest.mark.parametrize("outcome", OWN_FAULT)
def test_a_failure_is_charged_to_the_retries(cluster: Cluster, outcome: Outcome) -> None:
    cluster.submit(job("a", retries=2))
    for number in (1, 2):
        cluster.finish("a", outcome, "it broke")
        assert cluster.state("a") == "FAILED"
        assert cluster.job("a").reason.startswith(f"it broke; retry {number} of 2 in ")
        cluster.advance(60)
    cluster.finish("a", outcome, "it broke")
    assert cluster.state("a") == "DEAD"
    assert cluster.job("a").reason == "it broke; all 2 retries used"
    assert len(cluster.job("a").attempts) == 3


def test_a_retry_may_succeed(cluster: Cluster) -> None:
    cluster.submit(job("a", retries=2), job("b", "a"))
    cluster.fail("a")
    assert cluster.state("b") == "BLOCKED"
    cluster.advance(10)
    cluster.finish("a")
    assert cluster.states() == {"a": "COMPLETED", "b": "RUNNING"}
    assert [attempt.outcome for attempt in cluster.job("a").attempts] == [Outcome.FAILED, Outcome.SUCCEEDED]


def test_the_retry_comes_when_the_backoff_is_over_and_not_before(cluster: Cluster) -> None:
    cluster.submit(job("a", retries=1, retry_backoff_s=8))
    cluster.fail("a")
    due_at = cluster.job("a").due_at
    assert due_at is not None
    assert 6 <= due_at - cluster.now <= 10
    cluster.advance(due_at - cluster.now - 0.001)
    assert cluster.state("a") == "FAILED"
    cluster.advance(0.002)
    assert cluster.state("a") == "RUNNING"


def test_no_backoff_is_no_pause(cluster: Cluster) -> None:
    cluster.submit(job("a", retries=1, retry_backoff_s=0))
    cluster.fail("a")
    cluster.advance(0)
    assert cluster.state("a") == "RUNNING"


# ── backoff ───────────────────────────────────────────────────────────────────────────────────────


def backoff_s(failures: int, token: bytes, nominal_s: float = 1.0) -> float:
    run = Run("run", "run", b"s" * 16, 0.0, 1)
    failed = Job(run, job("a", retry_backoff_s=nominal_s), JobState.RUNNING, "", 0.0, 1, failures=failures)
    return retry.backoff_s(Attempt(failed, failures, token, "w:1", 0.0))


MIDDLE = b"\x80" + bytes(15)
"""The token whose jitter is none."""


def test_a_backoff_doubles_with_each_failure() -> None:
    assert [backoff_s(failures, MIDDLE, 0.5) for failures in range(1, 6)] == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_backoff_grows_to_an_hour_and_no_further() -> None:
    assert backoff_s(12, MIDDLE) == 2048.0
    assert backoff_s(13, MIDDLE) == backoff_s(1000, MIDDLE) == retry.MAX_BACKOFF_S == 3600.0


def test_jitter_is_a_quarter_either_way() -> None:
    assert backoff_s(3, bytes(16)) == 3.0
    assert backoff_s(3, b"\xff" * 16) == pytest.approx(5.0)


def test_jobs_that_failed_together_do_not_return_together(cluster: Cluster) -> None:
    cluster.submit(*(job(f"j{number}", retries=1) for number in range(4)))
    for number in range(4):
        cluster.fail(f"j{number}")
    assert len({found.due_at for found in cluster.run().jobs.values()}) == 4


# ── the infrastructure budget ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outcome", NOT_ITS_FAULT)
def test_what_is_not_the_fault_of_the_job_costs_no_retry(cluster: Cluster, outcome: Outcome) -> None:
    cluster.submit(job("a"))
    cluster.finish("a", outcome)
    cluster.advance(2)
    assert cluster.state("a") == "RUNNING"
    assert cluster.attempt("a").number == 2
    assert (cluster.job("a").failures, cluster.job("a").losses) == (0, 1)


@pytest.mark.parametrize("outcome", NOT_ITS_FAULT)
def test_but_it_has_a_budget_of_its_own(cluster: Cluster, outcome: Outcome) -> None:
    cluster.submit(job("a", retries=9))
    for _ in range(INFRASTRUCTURE_BUDGET):
        cluster.finish("a", outcome, "the disk is full")
        cluster.advance(10)
        assert cluster.state("a") == "RUNNING"
    cluster.finish("a", outcome, "the disk is full")
    assert cluster.state("a") == "DEAD"
    assert cluster.job("a").reason == "the disk is full; lost with its worker 4 times, 3 is the most"


def test_a_worker_that_can_not_run_a_job_gets_a_moment_to_recover(cluster: Cluster) -> None:
    cluster.submit(job("a"))
    cluster.finish("a", Outcome.INTERRUPTED, "the disk is full")
    assert cluster.state("a") == "FAILED"
    assert cluster.job("a").reason.startswith("the disk is full; runs again in ")
    assert 0.75 <= cluster.job("a").due_at - cluster.now <= 1.25


def test_a_worker_that_stops_politely_costs_the_job_nothing(cluster: Cluster) -> None:
    cluster.submit(job("a"))
    for number in range(INFRASTRUCTURE_BUDGET + 3):
        cluster.join(f"next-{number}")
        cluster.drain(cluster.workers[cluster.attempt("a").worker_id])
        cluster.finish("a", Outcome.INTERRUPTED, "the worker is stopping")
        assert cluster.state("a") == "RUNNING"
    assert cluster.job("a").losses == 0


def test_an_attempt_lost_with_its_worker_runs_again_at_once(cluster: Cluster) -> None:
    cluster.submit(job("a"))
    cluster.join("other")
    cluster.crash(cluster.workers["w:8080"])
    cluster.advance(30)
    assert cluster.place("a") == "other"
    assert [attempt.outcome for attempt in cluster.job("a").attempts] == [Outcome.LOST, None]


def test_the_two_budgets_are_apart(cluster: Cluster) -> None:
    cluster.submit(job("a", retries=1, retry_backoff_s=0))
    for _ in range(INFRASTRUCTURE_BUDGET):
        cluster.finish("a", Outcome.INTERRUPTED)
        cluster.advance(10)
    cluster.fail("a")
    assert cluster.state("a") == "FAILED"
    cluster.advance(0)
    cluster.fail("a")
    assert cluster.state("a") == "DEAD"


# ── max_attempts ──────────────────────────────────────────────────────────────────────────────────


def test_max_attempts_bounds_both_budgets_together(cluster: Cluster) -> None:
    cluster.submit(job("a", retries=9, retry_backoff_s=0, max_attempts=3))
    cluster.fail("a")
    cluster.advance(0)
    cluster.finish("a", Outcome.INTERRUPTED)
    cluster.advance(2)
    cluster.fail("a")
    assert cluster.state("a") == "DEAD"
    assert cluster.job("a").reason == "exit code 1; 3 attempts of 3 used"


def test_an_at_most_once_job_lost_with_its_worker_ends_with_its_outcome_unknown(cluster: Cluster) -> None:
    cluster.submit(job("a", max_attempts=1), job("b", "a"))
    cluster.crash(cluster.workers["w:8080"])
    cluster.advance(30)
    assert cluster.states() == {"a": "DEAD", "b": "CANCELLED"}
    assert cluster.job("a").reason == ("outcome unknown: worker w:8080 was not heard for 30 s; 1 attempt of 1 used")


def test_an_at_most_once_job_is_not_started_twice_by_a_worker_that_returns(cluster: Cluster) -> None:
    worker = cluster.workers["w:8080"]
    cluster.submit(job("a", max_attempts=1))
    cluster.disconnect(worker)
    cluster.advance(30)
    cluster.register(worker)
    assert cluster.state("a") == "DEAD"
    assert not worker.running, "what the master gave up is killed"


@pytest.mark.parametrize("outcome", OWN_FAULT + NOT_ITS_FAULT)
def test_an_at_most_once_job_is_not_started_twice_whatever_its_outcome(cluster: Cluster, outcome: Outcome) -> None:
    cluster.submit(job("a", max_attempts=1, retries=5))
    cluster.finish("a", outcome, "it ended")
    assert cluster.state("a") == "DEAD"
    assert cluster.job("a").reason == "it ended; 1 attempt of 1 used"
    assert cluster.starts() == ["a"]


def test_an_at_most_once_job_is_not_started_twice_though_its_worker_stopped_politely(cluster: Cluster) -> None:
    cluster.submit(job("a", max_attempts=1))
    cluster.join("other")
    cluster.drain(cluster.workers["w:8080"])
    cluster.finish("a", Outcome.INTERRUPTED)
    assert cluster.state("a") == "DEAD"
    assert cluster.starts() == ["a"]
