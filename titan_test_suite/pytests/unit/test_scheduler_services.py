"""Services: beside the slots, up from the moment their process is there, wanted until a person says otherwise."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict
from titan_core.scheduler.actions import StopAttempt
from titan_core.scheduler.model import USUAL_SERVICES
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, service


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def worker(cluster: Cluster) -> FakeWorker:
    return cluster.join("w", slots=2)


def test_services_take_no_slot(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(*(service(f"s{number}") for number in range(5)), job("a"), job("b"), job("c"))
    assert cluster.running() == ["s0", "s1", "s2", "s3", "s4", "a", "b"]
    assert cluster.worker(worker).free_slots == 0
    assert len(cluster.worker(worker).services) == 5


def test_busy_slots_do_not_keep_a_service_waiting(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("b"), job("c"))
    cluster.submit(service("web"), run_id="next")
    assert cluster.state("web") == "RUNNING"


def test_a_worker_hosts_so_many_services_and_no_more(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(*(service(f"s{number}") for number in range(USUAL_SERVICES + 1)), job("a"))
    assert len(cluster.worker(worker).services) == USUAL_SERVICES
    assert cluster.state(f"s{USUAL_SERVICES}") == "QUEUED"
    assert cluster.state("a") == "RUNNING"
    cluster.finish("s7")
    assert cluster.state(f"s{USUAL_SERVICES}") == "RUNNING"


def test_services_count_as_load(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.join("other", slots=2)
    cluster.submit(job("a"), run_id="next")
    assert cluster.place("a") == "other"


def test_services_need_the_capability_too(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web", requirement="GPU"))
    assert cluster.state("web") == "QUEUED"
    cluster.join("gpu", "GPU")
    assert cluster.place("web") == "gpu"


# ── up ────────────────────────────────────────────────────────────────────────────────────────────


def test_children_wait_for_the_process_and_no_longer(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    assert cluster.states() == {"web": "RUNNING", "child": "BLOCKED"}
    cluster.ready("web")
    assert cluster.states() == {"web": "RUNNING", "child": "RUNNING"}


def test_that_a_service_started_is_taken_in_once(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.ready("web")
    assert cluster.ready("web") == []


def test_that_a_job_started_is_no_matter(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), job("child", "a"))
    assert cluster.ready("a") == []
    assert cluster.state("child") == "BLOCKED"


def test_a_service_that_never_came_up_cancels_its_children(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.finish("web", Outcome.NOT_STARTED)
    assert cluster.states() == {"web": "DEAD", "child": "CANCELLED"}


def test_a_service_that_dies_cancels_what_has_not_begun(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(
        service("web"),
        job("runs", "web"),
        job("after", "runs"),
        job("blocked", "runs", "web"),
        job("delayed", "web", delay_s=5),
        job("queued", "web", requirement="GPU"),
        job("failed", "web", retries=1),
        job("last", "delayed"),
    )
    cluster.ready("web")
    cluster.fail("failed")
    cluster.fail("web")
    assert cluster.states() == {
        "web": "DEAD",
        "runs": "RUNNING",
        "after": "BLOCKED",
        "blocked": "CANCELLED",
        "delayed": "CANCELLED",
        "queued": "CANCELLED",
        "failed": "CANCELLED",
        "last": "CANCELLED",
    }
    assert cluster.job("queued").reason == "parent web is DEAD"
    cluster.advance(60)
    assert cluster.running() == ["runs"]


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.INTERRUPTED])
def test_a_child_is_not_tried_again_after_its_service_died(
    cluster: Cluster, worker: FakeWorker, outcome: Outcome
) -> None:
    cluster.submit(service("web"), job("child", "web", retries=5))
    cluster.ready("web")
    cluster.fail("web")
    cluster.finish("child", outcome, "it broke")
    assert cluster.state("child") == "DEAD"
    assert cluster.job("child").reason == "it broke; not tried again, since parent web is DEAD"


def test_a_child_lost_together_with_its_service_is_not_tried_again(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web", max_attempts=1), service("child", "web"))
    cluster.ready("web")
    cluster.crash(worker)
    cluster.advance(30)
    assert cluster.states() == {"web": "DEAD", "child": "DEAD"}


def test_a_child_that_falls_due_when_its_service_dies_is_cancelled(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web", max_attempts=1), job("child", "web", delay_s=30))
    cluster.ready("web")
    cluster.crash(worker)
    cluster.now += 30
    cluster.advance(0)
    assert cluster.states() == {"web": "DEAD", "child": "CANCELLED"}


def test_a_lost_child_of_a_service_that_died_does_not_return(cluster: Cluster, worker: FakeWorker) -> None:
    other = cluster.join("other", "GPU")
    cluster.submit(service("web", requirement="GPU"), job("child", "web"))
    cluster.ready("web")
    cluster.disconnect(worker)
    cluster.advance(30)
    assert cluster.state("child") == "QUEUED"
    cluster.fail("web")
    assert cluster.state("child") == "CANCELLED"
    cluster.register(worker)
    assert cluster.state("child") == "CANCELLED"
    assert not worker.running
    assert not other.running


def test_a_service_that_restarts_does_not_release_its_children_twice(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web", retries=1), job("a"), job("child", "web", "a"))
    cluster.ready("web")
    cluster.fail("web")
    cluster.advance(10)
    cluster.ready("web")
    assert cluster.state("child") == "BLOCKED"
    cluster.finish("a")
    assert cluster.state("child") == "RUNNING"


def test_a_child_added_to_a_service_that_is_up_starts_at_once(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.ready("web")
    cluster.add(job("child", "web"))
    assert cluster.state("child") == "RUNNING"


def test_a_service_that_ends_by_itself_is_completed(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.finish("web")
    assert cluster.states() == {"web": "COMPLETED", "child": "RUNNING"}


# ── stop ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outcome", [Outcome.STOPPED, Outcome.FAILED, Outcome.SUCCEEDED, Outcome.INTERRUPTED])
def test_a_stopped_service_is_completed_once_its_process_is_gone(
    cluster: Cluster, worker: FakeWorker, outcome: Outcome
) -> None:
    cluster.submit(service("web", retries=5), job("child", "web"))
    cluster.ready("web")
    actions = cluster.stop_service("web")
    assert StopAttempt("w:8080", cluster.attempt("web").token, "enough") in actions
    assert cluster.state("web") == "RUNNING"
    assert cluster.job("web").reason == "stopping: enough"
    cluster.finish("web", outcome)
    assert cluster.states() == {"web": "COMPLETED", "child": "RUNNING"}
    assert cluster.job("web").reason == "enough"


def test_a_service_stopped_before_it_ran_is_cancelled(cluster: Cluster) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.stop_service("web")
    assert cluster.states() == {"web": "CANCELLED", "child": "CANCELLED"}


def test_a_service_in_its_backoff_is_cancelled(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web", retries=1))
    cluster.fail("web")
    cluster.stop_service("web")
    assert cluster.state("web") == "CANCELLED"
    assert cluster.core.next_due_at() is None


def test_what_waits_for_a_service_that_was_never_ready_waits_in_vain_once_it_is_stopped(
    cluster: Cluster, worker: FakeWorker
) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.stop_service("web")
    cluster.stopped("web")
    assert cluster.states() == {"web": "CANCELLED", "child": "CANCELLED"}


def test_what_is_no_service_is_not_stopped(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    with pytest.raises(Conflict, match="job run/a is not a service"):
        cluster.stop_service("a")


def test_a_service_that_is_over_is_not_stopped(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.fail("web")
    with pytest.raises(Conflict, match=r"service run/web is DEAD already \(exit code 1\)"):
        cluster.stop_service("web")


def test_a_service_that_is_being_cancelled_is_not_stopped_instead(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.cancel("web")
    with pytest.raises(Conflict, match="service run/web is being cancelled already"):
        cluster.stop_service("web")
    cluster.stopped("web")
    assert cluster.state("web") == "CANCELLED"


def test_a_service_that_is_being_stopped_can_still_be_cancelled(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.stop_service("web")
    cluster.cancel("web")
    cluster.stopped("web")
    assert cluster.states() == {"web": "CANCELLED", "child": "CANCELLED"}


def test_a_service_that_starts_while_it_is_being_cancelled_releases_nobody(
    cluster: Cluster, worker: FakeWorker
) -> None:
    cluster.submit(service("web"), job("other"))
    cluster.cancel("web")
    cluster.add(job("child", "web"))
    cluster.ready("web")
    assert cluster.state("child") == "BLOCKED"
    cluster.stopped("web")
    assert cluster.states() == {"web": "CANCELLED", "other": "RUNNING", "child": "CANCELLED"}


def test_a_stop_reaches_a_worker_that_was_away(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.disconnect(worker)
    cluster.stop_service("web")
    assert not worker.stopping
    cluster.register(worker)
    cluster.stopped("web")
    assert cluster.state("web") == "COMPLETED"


def test_a_stopped_service_whose_worker_dies_is_completed(cluster: Cluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"))
    cluster.stop_service("web")
    cluster.crash(worker)
    cluster.advance(30)
    assert cluster.state("web") == "COMPLETED"
