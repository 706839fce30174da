"""When the cluster grows, by how much and where; when it shrinks; and what is said when it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler.actions import Action, Provision, Release, ShutDownWorker, SpawnWorker
from titan_core.scheduler.events import ProvisionFailed, SpawnFailed, WorkerStartRequested
from titan_core.scheduler.settings import ScalingSettings
from titan_core.scheduler.states import Affinity
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, kept
from titan_test_suite.pytests.support.kept_cluster import GRACE_S, KeptCluster

INCEPTION = ScalingSettings("inception")
EXTERNAL = ScalingSettings("external")


def asked(cluster: Cluster) -> list[Action]:
    """All that was ever asked of a provisioner."""
    return [action for action in cluster.actions if isinstance(action, SpawnWorker | Provision)]


def gone(cluster: Cluster) -> list[str]:
    return [action.worker_id for action in cluster.actions if isinstance(action, ShutDownWorker)]


def burst(cluster: Cluster, count: int, run_id: str = "burst", **fields: object) -> None:
    cluster.submit(*(job(f"j{number}", **fields) for number in range(count)), run_id=run_id)


def arrive(cluster: Cluster) -> list[FakeWorker]:
    """Those that were asked for by inception and are not there register."""
    spawned = [action for action in asked(cluster) if isinstance(action, SpawnWorker)]
    return [
        cluster.join(
            action.worker_id.partition(":")[0],
            *action.capabilities,
            port=action.port,
            ephemeral=action.ephemeral,
            parent=action.worker_id,
        )
        for action in spawned
        if f"{action.worker_id.partition(':')[0]}:{action.port}" not in cluster.workers
    ]


def finish_all(cluster: Cluster) -> None:
    while cluster.running():
        cluster.finish(next(iter(cluster.core.state.attempts.values())).job.key)


@pytest.fixture
def cluster() -> KeptCluster:
    return KeptCluster(INCEPTION)


# ── growing ───────────────────────────────────────────────────────────────────────────────────────


def test_a_pool_that_is_exhausted_for_a_moment_grows(cluster: KeptCluster) -> None:
    cluster.join("a", permanent=True)
    burst(cluster, 5)
    cluster.advance(0.9)
    assert not asked(cluster)
    cluster.advance(0.2)
    assert asked(cluster) == [SpawnWorker("a:8080", 8090, ("GENERAL",), True)]


def test_one_that_is_not_is_left_alone(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 5)
    cluster.advance(0.5)
    cluster.finish("j0")
    cluster.advance(100)
    assert not asked(cluster)


def test_several_at_once_when_the_backlog_asks_for_it(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 4 + 9)
    cluster.advance(1.1)
    assert [action.port for action in asked(cluster)] == [8090, 8091, 8092]


def test_no_more_than_the_limit_however_long_it_takes(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 100)
    cluster.advance(1.1)
    assert len(asked(cluster)) == 4
    cluster.look()
    arrive(cluster)
    for _ in range(5):
        cluster.advance(15)
        cluster.look()
    assert len(asked(cluster)) == 4
    assert len(cluster.workers) == 5
    assert "the cluster does not grow: the cluster has 5 workers, max_workers is 5" in cluster.explain("j99")


def test_what_was_asked_for_counts_as_there(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 8)
    cluster.advance(1.1)
    assert len(asked(cluster)) == 1
    cluster.advance(10)
    cluster.look()
    assert len(asked(cluster)) == 1
    assert "1 more worker is being started" in cluster.explain("j7")


def test_limits_of_a_pool_and_a_host() -> None:
    cluster = KeptCluster(replace(INCEPTION, max_workers=50, max_per_pool=2))
    cluster.join("a")
    burst(cluster, 100)
    cluster.advance(1.1)
    assert len(asked(cluster)) == 1
    cluster = KeptCluster(replace(INCEPTION, max_workers=50))
    cluster.join("a", cpu_count=2)
    cluster.join("b", cpu_count=1)
    burst(cluster, 100)
    cluster.advance(1.1)
    assert sorted(action.worker_id for action in asked(cluster)) == ["a:8080"] * 7 + ["b:8080"] * 3
    arrive(cluster)
    cluster.look()
    assert "the cluster does not grow: each host with GENERAL has as many workers as it may" in cluster.explain("j99")


def test_load_of_one_kind_starts_workers_of_that_kind(cluster: KeptCluster) -> None:
    cluster.join("general")
    cluster.join("gpu", "GPU")
    cluster.join("both", "GENERAL", "GPU", slots=1)
    burst(cluster, 9)
    cluster.advance(1.1)
    assert [action.capabilities for action in asked(cluster)] == [("GENERAL",)]
    burst(cluster, 9, "more", requirement="GPU")
    cluster.advance(1.1)
    assert [action.capabilities for action in asked(cluster)] == [("GENERAL",), ("GPU",)]


def test_jobs_that_nobody_can_serve_start_nothing(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 9, requirement="GPU")
    cluster.advance(100)
    cluster.look()
    assert not asked(cluster)
    assert cluster.explain("j0")[0] == "no worker has GPU; the known ones have GENERAL"
    assert any("can start another one" in sentence for sentence in cluster.explain("j0"))


def test_services_and_bound_jobs_do_not_grow_a_pool(cluster: KeptCluster) -> None:
    cluster.join("a", max_services=1)
    cluster.submit(kept("one"), kept("two"))
    cluster.advance(100)
    assert not asked(cluster)


def test_delayed_jobs_are_not_waiting(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 50, delay_s=500)
    cluster.advance(100)
    assert not asked(cluster)


def test_it_is_off_where_it_is_not_wanted() -> None:
    cluster = KeptCluster()
    cluster.join("a", ephemeral=True)
    burst(cluster, 50)
    cluster.advance(100)
    cluster.look()
    finish_all(cluster)
    cluster.advance(1000)
    assert not asked(cluster)
    assert not gone(cluster)
    assert cluster.core.next_due_at() is None


def test_nothing_grows_while_workers_may_still_come_back(cluster: KeptCluster) -> None:
    worker = cluster.join("a")
    burst(cluster, 50)
    cluster.restart_master()
    cluster.register(worker)
    cluster.advance(GRACE_S - 1)
    assert not asked(cluster)
    cluster.advance(2)
    assert len(asked(cluster)) == 4


# ── what fails ────────────────────────────────────────────────────────────────────────────────────


def test_a_port_that_could_not_be_had_is_left_alone(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 5)
    cluster.advance(1.1)
    cluster.handle(SpawnFailed("a:8080", 8090, "port 8090 is in use by nginx (pid 7)"))
    why = "worker a:8090 could not be started: port 8090 is in use by nginx (pid 7); tried again in 2 s"
    assert f"the cluster does not grow: {why}" in cluster.explain("j4")
    cluster.advance(1.9)
    assert len(asked(cluster)) == 1
    cluster.advance(0.2)
    assert [action.port for action in asked(cluster)] == [8090, 8091]


def test_failures_in_a_row_are_tried_less_and_less_often(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 5)
    cluster.advance(1.1)
    times = []
    for number in range(6):
        cluster.handle(SpawnFailed("a:8080", asked(cluster)[-1].port, "no"))
        failed_at = cluster.now
        while len(asked(cluster)) == number + 1:
            cluster.advance(1)
        times.append(cluster.now - failed_at)
    assert times == pytest.approx([2, 4, 8, 16, 32, 64], abs=1.01)
    arrive(cluster)
    assert cluster.core.state.growth.pool("GENERAL").failures == 0


def test_one_that_does_not_come_is_given_up(cluster: KeptCluster) -> None:
    cluster.join("a")
    burst(cluster, 5)
    cluster.advance(1.1)
    cluster.advance(30)
    assert "worker a:8090 has not registered within 30 s" in " ".join(cluster.explain("j4"))
    cluster.advance(2.1)
    assert [action.port for action in asked(cluster)] == [8090, 8091]


def test_no_port_is_left() -> None:
    cluster = KeptCluster(replace(INCEPTION, ports=(8090, 8090)))
    cluster.join("a")
    cluster.join("a", port=8090)
    burst(cluster, 9)
    cluster.advance(1.1)
    assert not asked(cluster)
    assert "the cluster does not grow: no port from 8090 to 8090 is free on a" in cluster.explain("j8")


def test_word_of_what_was_never_asked_for_is_no_matter(cluster: KeptCluster) -> None:
    cluster.join("a")
    assert cluster.handle(SpawnFailed("a:8080", 9999, "no")) == []


# ── shrinking ─────────────────────────────────────────────────────────────────────────────────────


def grown(cluster: KeptCluster) -> None:
    """One permanent worker, four that were started, and nothing to do any more."""
    cluster.join("a", permanent=True)
    burst(cluster, 60)
    cluster.advance(1.1)
    arrive(cluster)
    assert len(cluster.workers) == 5
    finish_all(cluster)


def test_idle_ephemeral_workers_are_stopped_the_newest_first(cluster: KeptCluster) -> None:
    grown(cluster)
    cluster.advance(44)
    assert not gone(cluster)
    cluster.advance(2)
    assert gone(cluster) == ["a:8093", "a:8092", "a:8091", "a:8090"]


def test_what_is_busy_or_hosts_a_service_stays(cluster: KeptCluster) -> None:
    grown(cluster)
    cluster.submit(kept("web"), job("long"), run_id="last")
    busy = {cluster.attempt("web").worker_id, cluster.attempt("long").worker_id}
    cluster.advance(500)
    assert set(gone(cluster)) == {f"a:{port}" for port in range(8090, 8094)} - busy


def test_a_pool_that_has_just_grown_does_not_shrink(cluster: KeptCluster) -> None:
    cluster.join("a", permanent=True)
    burst(cluster, 5)
    cluster.advance(1.1)
    arrive(cluster)
    finish_all(cluster)
    cluster.advance(30)
    burst(cluster, 9, "second")
    cluster.advance(1.1)
    arrive(cluster)
    finish_all(cluster)
    cluster.advance(44)
    assert not gone(cluster)
    cluster.advance(2)
    assert len(gone(cluster)) == 2


def test_only_ephemeral_workers_are_stopped(cluster: KeptCluster) -> None:
    cluster.join("permanent", permanent=True)
    cluster.join("plain")
    cluster.advance(10_000)
    cluster.look()
    assert not gone(cluster)


def test_the_last_of_a_pool_stays_so_that_it_can_grow_again(cluster: KeptCluster) -> None:
    worker = cluster.join("a")
    burst(cluster, 5)
    cluster.advance(1.1)
    (child,) = arrive(cluster)
    finish_all(cluster)
    cluster.drain(worker)
    cluster.disconnect(worker)
    cluster.advance(1000)
    assert not gone(cluster)
    assert child.connected


def test_a_worker_to_which_jobs_are_bound_stays_for_them(cluster: KeptCluster) -> None:
    cluster.join("a", permanent=True)
    burst(cluster, 5)
    cluster.advance(1.1)
    (child,) = arrive(cluster)
    on_child = next(name for name in cluster.running() if cluster.attempt(name).worker_id == child.worker_id)
    cluster.submit(job("later", f"burst/{on_child}", affinity=Affinity.STRICT, delay_s=200), run_id="next")
    finish_all(cluster)
    cluster.advance(199)
    assert not gone(cluster)
    cluster.advance(2)
    assert cluster.attempt("later").worker_id == child.worker_id
    cluster.finish("later")
    cluster.advance(46)
    assert gone(cluster) == [child.worker_id]


def test_a_whole_cycle_and_another_one(cluster: KeptCluster) -> None:
    grown(cluster)
    cluster.advance(46)
    for worker_id in gone(cluster):
        worker = cluster.workers.pop(worker_id)
        cluster.drain(worker)
        cluster.disconnect(worker)
    assert list(cluster.core.state.workers) == ["a:8080"]
    burst(cluster, 9, "again")
    cluster.advance(1.1)
    assert [action.port for action in asked(cluster)[4:]] == [8090, 8091]


# ── other provisioners ────────────────────────────────────────────────────────────────────────────


def test_others_are_asked_for_a_number() -> None:
    cluster = KeptCluster(EXTERNAL)
    burst(cluster, 9, requirement="GPU")
    cluster.advance(1.1)
    assert asked(cluster) == [Provision("GPU", 3)]
    cluster.look()
    cluster.join("cloud-1", "GPU", ephemeral=True)
    cluster.advance(60)
    cluster.look()
    assert asked(cluster) == [Provision("GPU", 3)]
    cluster.advance(240.5)
    assert "a worker has not registered within 300 s" in " ".join(cluster.explain("j8"))


def test_a_provisioner_that_fails_is_asked_again_later() -> None:
    cluster = KeptCluster(EXTERNAL)
    burst(cluster, 4)
    cluster.advance(1.1)
    cluster.handle(ProvisionFailed("GENERAL", "webhook http://x can not be reached: connection refused", 1))
    assert "can not be reached: connection refused; tried again in 2 s" in cluster.explain("j0")[-1]
    cluster.advance(2.1)
    assert asked(cluster) == [Provision("GENERAL", 1)] * 2


def test_what_was_asked_for_before_still_comes() -> None:
    cluster = KeptCluster(EXTERNAL)
    burst(cluster, 4)
    cluster.advance(1.1)
    burst(cluster, 4, "more")
    cluster.look()
    assert asked(cluster) == [Provision("GENERAL", 1)] * 2
    cluster.handle(ProvisionFailed("GENERAL", "the quota is used up", 1))
    assert len(cluster.core.state.growth.expected) == 1
    assert "1 more worker is being started" in cluster.explain("more/j0")
    assert "the cluster does not grow: the quota is used up; tried again in 2 s" in cluster.explain("more/j0")


def test_why_it_failed_is_said_while_it_is_tried_again() -> None:
    cluster = KeptCluster(EXTERNAL)
    burst(cluster, 4)
    cluster.advance(1.1)
    cluster.handle(ProvisionFailed("GENERAL", "no", 1))
    cluster.advance(2.1)
    assert "the cluster does not grow: no; tried again now" in cluster.explain("j0")
    cluster.join("cloud", ephemeral=True)
    assert cluster.core.state.growth.pool("GENERAL").trouble == ""


def test_they_are_told_whom_the_master_has_stopped() -> None:
    cluster = KeptCluster(EXTERNAL)
    cluster.join("cloud", "GPU", "GENERAL", ephemeral=True)
    cluster.advance(46)
    assert gone(cluster) == ["cloud:8080"]
    assert [action for action in cluster.actions if isinstance(action, Release)] == [Release("cloud:8080", "GENERAL")]


def test_one_that_was_asked_for_by_its_name_is_none_of_the_others() -> None:
    cluster = KeptCluster(EXTERNAL)
    cluster.join("a")
    burst(cluster, 9)
    cluster.advance(1.1)
    assert asked(cluster) == [Provision("GENERAL", 2)]
    cluster.handle(WorkerStartRequested(8085))
    cluster.join("a", port=8085)
    assert [one.worker_id for one in cluster.core.state.growth.expected] == ["", ""]


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_started_by_hand_stays() -> None:
    cluster = KeptCluster()
    cluster.join("a")
    cluster.handle(WorkerStartRequested(8085))
    cluster.handle(WorkerStartRequested(8086, "GPU"))
    assert [(action.port, action.capabilities, action.ephemeral) for action in asked(cluster)] == [
        (8085, ("GENERAL",), False),
        (8086, ("GPU",), False),
    ]


def test_it_is_started_by_one_of_its_kind_or_the_one_that_is_named(cluster: KeptCluster) -> None:
    cluster.join("a")
    cluster.join("b", "GPU")
    cluster.handle(WorkerStartRequested(8085, "GPU"))
    cluster.handle(WorkerStartRequested(8086, "GPU", "a:8080"))
    assert [action.worker_id for action in asked(cluster)] == ["b:8080", "a:8080"]


def test_what_can_not_be_started(cluster: KeptCluster) -> None:
    with pytest.raises(Conflict, match="no worker is connected that could start another one"):
        cluster.handle(WorkerStartRequested(8085))
    worker = cluster.join("a")
    with pytest.raises(Conflict, match="there is a worker a:8080 already"):
        cluster.handle(WorkerStartRequested(8080))
    cluster.handle(WorkerStartRequested(8085))
    with pytest.raises(Conflict, match="there is a worker a:8085 already, or about to be"):
        cluster.handle(WorkerStartRequested(8085))
    with pytest.raises(NotFound, match="there is no worker b:1"):
        cluster.handle(WorkerStartRequested(8086, "", "b:1"))
    cluster.hold(worker)
    with pytest.raises(Conflict, match="worker a:8080 is DRAINING; it starts no other one"):
        cluster.handle(WorkerStartRequested(8086, "", "a:8080"))
