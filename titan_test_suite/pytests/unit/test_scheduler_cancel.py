"""Cancel: in every state, with what waits for it; final only when the worker says that nothing runs any more."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler.actions import StartAttempt, StopAttempt
from titan_core.scheduler.events import JobCancelRequested
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def worker(cluster: Cluster) -> FakeWorker:
    return cluster.join("w")


def test_a_blocked_job(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b", "a"), job("c", "b"))
    cluster.cancel("b")
    assert cluster.states() == {"a": "RUNNING", "b": "CANCELLED", "c": "CANCELLED"}
    assert cluster.job("b").reason == "not wanted"
    assert cluster.job("c").reason == "parent b is CANCELLED"
    cluster.finish("a")
    assert cluster.states() == {"a": "COMPLETED", "b": "CANCELLED", "c": "CANCELLED"}


def test_a_delayed_job(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", delay_s=5), job("b", "a"))
    cluster.cancel("a")
    assert cluster.states() == {"a": "CANCELLED", "b": "CANCELLED"}
    assert cluster.core.next_due_at() is None
    cluster.advance(10)
    assert cluster.starts() == []


def test_a_queued_job(cluster: Cluster) -> None:
    cluster.submit(job("a"), job("b"))
    cluster.cancel("a")
    cluster.join("w")
    assert cluster.starts() == ["b"]


def test_a_job_in_its_backoff(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a", retries=1), job("b", "a"))
    cluster.fail("a")
    cluster.cancel("a")
    assert cluster.states() == {"a": "CANCELLED", "b": "CANCELLED"}
    cluster.advance(60)
    assert cluster.starts() == ["a"]


def test_a_running_job_keeps_its_slot_until_the_worker_says_that_it_ended(cluster: Cluster) -> None:
    cluster.join("w", slots=1)
    cluster.submit(job("a"), job("b", "a"), job("next"))
    actions = cluster.cancel("a")
    assert StopAttempt("w:8080", cluster.attempt("a").token, "not wanted") in actions
    assert cluster.states() == {"a": "RUNNING", "b": "CANCELLED", "next": "QUEUED"}
    assert cluster.job("a").reason == "stopping: not wanted"
    cluster.stopped("a")
    assert cluster.states() == {"a": "CANCELLED", "b": "CANCELLED", "next": "RUNNING"}
    assert cluster.job("a").reason == "not wanted"


@pytest.mark.parametrize("outcome", [o for o in Outcome if o is not Outcome.LOST])
def test_whatever_the_outcome_a_cancelled_job_ends_cancelled(
    cluster: Cluster, worker: FakeWorker, outcome: Outcome
) -> None:
    cluster.submit(job("a", retries=5), job("b", "a"))
    cluster.cancel("a")
    cluster.finish("a", outcome)
    assert cluster.states() == {"a": "CANCELLED", "b": "CANCELLED"}
    assert cluster.attempt("a").outcome is outcome, "the attempt keeps what it was"
    cluster.advance(100)
    assert cluster.starts() == ["a"]


def test_a_job_whose_worker_dies_while_it_is_cancelled_ends_cancelled(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.cancel("a")
    cluster.crash(worker)
    cluster.advance(30)
    assert cluster.state("a") == "CANCELLED"
    assert cluster.attempt("a").outcome is Outcome.LOST


def test_a_cancel_reaches_a_worker_that_was_away(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker)
    cluster.cancel("a")
    assert not worker.stopping
    cluster.register(worker)
    cluster.stopped("a")
    assert cluster.state("a") == "CANCELLED"


def test_an_order_that_never_arrived_is_sent_again_with_its_cancel(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    worker.running.clear()
    cluster.disconnect(worker)
    cluster.cancel("a")
    sent = [type(a) for a in cluster.register(worker) if isinstance(a, StartAttempt | StopAttempt)]
    assert sent == [StartAttempt, StopAttempt]
    cluster.stopped("a")
    assert cluster.state("a") == "CANCELLED"


def test_a_lost_attempt_of_a_job_cancelled_since_does_not_return(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.disconnect(worker)
    cluster.advance(30)
    cluster.cancel("a")
    cluster.finish("a")
    cluster.register(worker)
    assert cluster.state("a") == "CANCELLED"
    assert not worker.unacknowledged


@pytest.mark.parametrize("end", ["COMPLETED", "DEAD", "CANCELLED"])
def test_a_job_that_is_over_is_not_cancelled(cluster: Cluster, worker: FakeWorker, end: str) -> None:
    cluster.submit(job("COMPLETED"), job("DEAD"), job("CANCELLED", delay_s=9), job("open"))
    cluster.finish("COMPLETED")
    cluster.fail("DEAD")
    cluster.cancel("CANCELLED")
    with pytest.raises(Conflict, match=rf"job run/{end} is {end} already \(.+\)"):
        cluster.cancel(end)
    assert cluster.state(end) == end


def test_a_cancel_asked_for_twice_is_told_twice(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.cancel("a")
    assert any(isinstance(action, StopAttempt) for action in cluster.cancel("a"))
    cluster.stopped("a")
    assert cluster.state("a") == "CANCELLED"


def test_a_cascade_takes_what_waits_and_leaves_what_does_not(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b"), job("c", "a", "b"), job("d", "c"), job("e", "b"), job("f", "d", "e"))
    cluster.cancel("a")
    assert cluster.states() == {
        "a": "RUNNING",
        "b": "RUNNING",
        "c": "CANCELLED",
        "d": "CANCELLED",
        "e": "BLOCKED",
        "f": "CANCELLED",
    }


def test_a_cascade_crosses_runs(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), run_id="second")
    cluster.submit(job("c", "second/b"), run_id="third")
    cluster.cancel("a")
    assert cluster.run_state("second") == cluster.run_state("third") == "CANCELLED"


def test_a_child_that_joins_a_job_being_cancelled_goes_with_it(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("other"))
    cluster.cancel("a")
    cluster.add(job("late", "a"))
    assert cluster.state("late") == "BLOCKED"
    cluster.finish("a")
    assert cluster.state("late") == "CANCELLED"


# ── a whole run ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_cancelled_whole(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(
        job("done"),
        job("running"),
        job("queued", requirement="GPU"),
        job("blocked", "running"),
        job("delayed", delay_s=9),
        job("failed", retries=1),
    )
    cluster.finish("done")
    cluster.fail("failed")
    cluster.cancel_run()
    assert cluster.states() == {
        "done": "COMPLETED",
        "running": "RUNNING",
        "queued": "CANCELLED",
        "blocked": "CANCELLED",
        "delayed": "CANCELLED",
        "failed": "CANCELLED",
    }
    cluster.stopped("running")
    assert cluster.run_state() == "CANCELLED"
    assert cluster.core.next_due_at() is None


def test_a_run_that_is_over_is_not_cancelled(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    cluster.finish("a")
    with pytest.raises(Conflict, match="run run is COMPLETED already"):
        cluster.cancel_run()


def test_a_run_whose_service_is_up_can_be_cancelled(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("web", service=True))
    cluster.ready("web")
    assert cluster.run_state() == "COMPLETED"
    cluster.cancel_run()
    cluster.stopped("web")
    assert cluster.run_state() == "CANCELLED"


def test_what_is_not_there_is_not_cancelled(cluster: Cluster) -> None:
    with pytest.raises(NotFound, match="there is no run run"):
        cluster.cancel_run()
    with pytest.raises(NotFound, match="there is no run run"):
        cluster.handle(JobCancelRequested("run", "a", "not wanted"))
