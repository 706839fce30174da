"""A service that ends by itself: when it runs again, where, and when it is left alone for a while."""

from __future__ import annotations

import pytest

from titan_core.scheduler.model import ServicePolicy
from titan_core.scheduler.states import Outcome, Restart
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, kept, service
from titan_test_suite.pytests.support.kept_cluster import KeptCluster

ON_FAILURE = ServicePolicy(Restart.ON_FAILURE)


def fail_fast(cluster: Cluster, name: str, times: int) -> None:
    """It ends as soon as it begins, so often; each time it has begun again before."""
    for _ in range(times):
        if cluster.state(name) != "RUNNING":
            cluster.advance(cluster.job(name).due_at - cluster.now)
        cluster.fail(name)


def test_the_first_restart_is_immediate(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.ready("web")
    cluster.fail("web")
    assert cluster.state("web") == "RUNNING"
    assert cluster.attempt("web").number == 2
    assert not cluster.job("web").ready
    assert "QUEUED" in cluster.history("web")[-2:]


def test_further_ones_wait_longer_and_longer(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    pauses = []
    for _ in range(6):
        cluster.fail("web")
        if cluster.state("web") == "FAILED":
            pauses.append(cluster.job("web").due_at - cluster.now)
            cluster.advance(pauses[-1])
    for pause_s, nominal_s in zip(pauses, [0.5, 1, 2, 4, 8], strict=True):
        assert 0.75 * nominal_s <= pause_s <= 1.25 * nominal_s


def test_no_pause_is_longer_than_the_settings_say() -> None:
    cluster = KeptCluster(restart_max_s=3.0)
    cluster.join("w")
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 8)
    assert cluster.job("web").due_at - cluster.now <= 3.0 * 1.25


def test_a_good_attempt_makes_the_next_restart_the_first_again(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 4)
    cluster.advance(10)
    assert cluster.state("web") == "RUNNING"
    cluster.advance(10)
    cluster.fail("web")
    assert cluster.state("web") == "RUNNING"


def test_too_many_in_a_row_are_a_crash_loop(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"), job("child", "web"))
    fail_fast(cluster, "web", 10)
    assert cluster.state("web") == "FAILED"
    fail_fast(cluster, "web", 1)
    assert (cluster.state("web"), cluster.service_state("web")) == ("CRASHLOOP", "CRASHLOOP")
    assert cluster.job("web").reason.startswith(
        "crash loop: ended 11 times in a row, at last: exit code 1; tried again"
    )
    assert "due in 3600.0 s" in cluster.explain("web")
    assert cluster.explain("child") == ["waits for web (CRASHLOOP)"]
    assert cluster.run_state() == "RUNNING"


def test_a_crash_loop_is_tried_once_an_hour(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 11)
    attempts = len(cluster.job("web").attempts)
    for _ in range(3):
        cluster.advance(3600)
        assert cluster.state("web") == "RUNNING"
        cluster.fail("web")
        assert cluster.state("web") == "CRASHLOOP"
    assert len(cluster.job("web").attempts) == attempts + 3
    cluster.advance(3600)
    cluster.ready("web")
    cluster.advance(11)
    assert cluster.service_state("web") == "READY"
    cluster.fail("web")
    assert cluster.state("web") == "RUNNING"


def test_more_than_ten_restarts_within_ten_minutes_are_a_crash_loop(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    for _ in range(10):
        cluster.advance(15)
        cluster.fail("web")
        assert cluster.state("web") == "RUNNING"
    cluster.advance(15)
    cluster.fail("web")
    assert cluster.state("web") == "CRASHLOOP"


def test_a_service_that_ends_now_and_then_is_not_in_a_crash_loop(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    for _ in range(50):
        cluster.advance(70)
        cluster.fail("web")
        assert cluster.state("web") == "RUNNING"


def test_start_ends_a_crash_loop_and_forgets_it(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 11)
    cluster.start_service("web")
    assert cluster.state("web") == "RUNNING"
    cluster.fail("web")
    assert cluster.state("web") == "RUNNING"


def test_a_crash_loop_goes_on_after_a_start_of_the_master(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 11)
    cluster.advance(1000)
    cluster.restart_master()
    cluster.register(worker)
    assert cluster.state("web") == "CRASHLOOP"
    cluster.advance(2599)
    assert cluster.state("web") == "CRASHLOOP"
    cluster.advance(2)
    assert cluster.state("web") == "RUNNING"


@pytest.mark.parametrize(
    "restart, outcome, state",
    [
        (Restart.ALWAYS, Outcome.SUCCEEDED, "RUNNING"),
        (Restart.ALWAYS, Outcome.FAILED, "RUNNING"),
        (Restart.ALWAYS, Outcome.TIMED_OUT, "RUNNING"),
        (Restart.ALWAYS, Outcome.NOT_STARTED, "RUNNING"),
        (Restart.ON_FAILURE, Outcome.SUCCEEDED, "COMPLETED"),
        (Restart.ON_FAILURE, Outcome.FAILED, "RUNNING"),
        (Restart.NEVER, Outcome.SUCCEEDED, "COMPLETED"),
        (Restart.NEVER, Outcome.FAILED, "DEAD"),
    ],
)
def test_what_each_policy_does(
    cluster: KeptCluster, worker: FakeWorker, restart: Restart, outcome: Outcome, state: str
) -> None:
    cluster.submit(service("web", policy=ServicePolicy(restart)))
    cluster.ready("web")
    cluster.finish("web", outcome)
    assert cluster.state("web") == state


def test_a_service_that_ended_as_it_may_is_stopped(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("web", policy=ON_FAILURE))
    cluster.finish("web")
    assert cluster.service_state("web") == "STOPPED"


def test_max_attempts_holds_for_services_too(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", max_attempts=2))
    cluster.fail("web")
    cluster.fail("web")
    assert cluster.state("web") == "DEAD"
    assert cluster.job("web").reason == "exit code 1; 2 attempts of 2 used"


def test_the_worker_it_was_on_is_preferred(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.join("idle")
    cluster.submit(*(kept(f"more{number}") for number in range(3)), run_id="next")
    cluster.fail("web")
    assert cluster.place("web") == "w"


def test_three_failures_in_a_row_on_a_worker_move_it(cluster: KeptCluster, worker: FakeWorker) -> None:
    other = cluster.join("other")
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 2)
    cluster.advance(10)
    assert cluster.place("web") == "w"
    cluster.fail("web")
    cluster.advance(10)
    assert cluster.place("web") == "other"
    cluster.crash(other)
    cluster.advance(30)
    assert cluster.place("web") == "w"  # the only one there is


def test_where_there_is_no_other_worker_it_stays(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.join("gpu", "GPU")
    cluster.submit(kept("web"))
    fail_fast(cluster, "web", 4)
    cluster.advance(20)
    assert cluster.place("web") == "w"


def test_good_attempts_do_not_move_it(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.join("other")
    cluster.submit(kept("web"))
    for _ in range(5):
        cluster.advance(100)
        cluster.fail("web")
    assert cluster.place("web") == "w"


def test_a_service_moves_when_its_worker_dies_however_often(cluster: KeptCluster) -> None:
    workers = [cluster.join(name) for name in ("a", "b")]
    cluster.submit(kept("web"))
    for number in range(8):
        died = workers[number % 2]
        cluster.ready("web")
        cluster.crash(died)
        cluster.advance(30)
        assert cluster.place("web") == workers[(number + 1) % 2].worker_id.partition(":")[0]
        cluster.register(died)
    assert cluster.job("web").failures == 0


def test_what_a_worker_in_trouble_could_not_run_waits_a_moment(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.finish("web", Outcome.INTERRUPTED)
    assert cluster.state("web") == "FAILED"
    assert 0.5 <= cluster.job("web").due_at - cluster.now <= 2.0


def test_nor_does_it_wait_for_long_when_that_goes_on(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    for _ in range(20):
        cluster.finish("web", Outcome.INTERRUPTED)
        cluster.advance(60)
    assert cluster.state("web") == "RUNNING"


def test_a_service_that_brings_its_workers_down_rests(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    for _ in range(3):
        cluster.restart(worker)
    assert cluster.state("web") == "CRASHLOOP"
    assert "was there at 3 crashes of workers, and may be their cause" in cluster.job("web").reason


def test_a_parent_that_is_dead_keeps_a_service_from_coming_back(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("db"), kept("web", "db"))
    cluster.ready("db")
    cluster.ready("web")
    cluster.fail("db")
    cluster.fail("web")
    assert cluster.state("web") == "DEAD"
    assert "not tried again, since parent db is DEAD" in cluster.job("web").reason
