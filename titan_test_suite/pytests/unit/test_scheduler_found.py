"""What the simulation has found in services and placement; each failed before it was mended."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict
from titan_core.scheduler.model import ServicePolicy
from titan_core.scheduler.states import Affinity
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, kept, service
from titan_test_suite.pytests.support.kept_cluster import KeptCluster


def live(cluster: Cluster) -> list[str]:
    return [one.job_id for one in cluster.service("web").live]


def revisions(cluster: Cluster) -> set[int]:
    return {one.revision for one in cluster.service("web").live}


# ── over a start of the master ────────────────────────────────────────────────────────────────────


def test_that_any_instance_was_ready_is_written_down(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2), job("child", "web"))
    cluster.ready("web.2")
    assert cluster.state("child") == "RUNNING"
    cluster.restart_master()
    assert cluster.job("web").satisfied


def test_an_instance_that_waits_says_so_though_it_was_renewed(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a"))
    cluster.restart_service("web")
    assert cluster.job("web").reason == "waits for 1 of 1 parents"


# ── ports ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_renewal_does_not_wait_for_an_instance_that_waits_for_its_siblings_port(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web", instances=2, port=7001))
    cluster.ready("web")
    cluster.update("web", kept("web", priority=7, port=7001))
    cluster.stopped("web")
    cluster.ready("web")
    assert (cluster.job("web").spec.priority, cluster.service("web").rolling) == (7, False)


def test_it_goes_on_when_workers_are_back(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2, port=7001))
    cluster.ready("web")
    cluster.disconnect(worker)
    cluster.update("web", kept("web", priority=7, port=7001))
    assert cluster.job("web").ending is None
    cluster.register(worker)
    cluster.stopped("web")
    assert cluster.job("web").spec.priority == 7


def test_the_ports_of_a_worker_that_is_given_up_are_free(cluster: KeptCluster, worker: FakeWorker) -> None:
    """Those of a service that is bound to it, say, and so does not try to get its port elsewhere."""
    cluster.submit(kept("first", port=7001, requirement="GPU"))
    gpu = cluster.join("w", "GPU", port=8081)
    cluster.submit(kept("web", port=7001), run_id="general")
    assert cluster.state("web") == "QUEUED"
    cluster.disconnect(gpu)
    cluster.advance(30)
    assert cluster.place("web") == "w"


def test_a_service_that_is_back_has_lost_its_port_to_another(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", port=7001, requirement="GPU"), run_id="gpu")
    gpu = cluster.join("w", "GPU", port=8081)
    cluster.ready("web")
    cluster.disconnect(gpu)
    cluster.submit(kept("other", port=7001), run_id="general")
    cluster.advance(30)
    assert cluster.running() == ["other"]
    cluster.register(gpu)
    assert (cluster.running(), list(gpu.running)) == (["other"], [])


def test_it_is_said_that_the_port_is_taken_on_the_worker_it_is_bound_to(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(job("a"), kept("one", "a", port=7001, affinity=Affinity.STRICT), kept("two", port=7001))
    cluster.finish("a")
    assert "port 7001 is taken" in cluster.explain("one")[0]


# ── how many there are ────────────────────────────────────────────────────────────────────────────


def test_a_retry_brings_back_no_more_instances_than_are_wanted(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a", instances=2))
    cluster.scale("web", 1)
    assert cluster.states() == {"a": "RUNNING", "web": "BLOCKED", "web.2": "CANCELLED"}
    with pytest.raises(Conflict, match=r"service run/web has as many instances as are wanted"):
        cluster.retry("web.2")
    cluster.fail("a")
    cluster.retry("a")
    assert cluster.states() == {"a": "RUNNING", "web": "BLOCKED", "web.2": "CANCELLED"}


def test_a_start_brings_back_no_more_instances_than_are_wanted(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2))
    cluster.cancel("web")
    cluster.stopped("web")
    cluster.scale("web", 1)
    with pytest.raises(Conflict, match="runs already"):
        cluster.start_service("web")
    assert live(cluster) == ["web.2"]


def test_what_is_being_stopped_starts_again_when_that_is_wanted(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2))
    cluster.stop_service("web")
    cluster.start_service("web")
    for name in ("web", "web.2"):
        cluster.stopped(name)
        assert cluster.state(name) == "RUNNING"


def test_the_instance_that_served_meanwhile_goes_though_it_is_being_renewed(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web", instances=2))
    cluster.ready("web")
    cluster.restart_service("web")
    cluster.restart_service("web")
    cluster.stopped("web.2")
    cluster.ready("web.2")
    assert cluster.job("web.3").ending is not None
    cluster.fail("web.2")
    cluster.stopped("web.3")
    assert live(cluster) == ["web", "web.2"]


def test_the_instance_that_served_meanwhile_stays_where_another_is_missing(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web", instances=2))
    cluster.cancel("web.2")
    cluster.stopped("web.2")
    cluster.ready("web")
    cluster.restart_service("web")
    assert cluster.state("web.2") == "RUNNING"
    cluster.ready("web.2")
    cluster.stopped("web")
    cluster.ready("web")
    assert (cluster.service("web").rolling, live(cluster)) == (False, ["web", "web.2"])


def test_what_comes_back_by_a_retry_runs_the_newest_definition(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a", instances=2))
    cluster.update("web", kept("web", priority=7))
    cluster.fail("a")
    cluster.retry("a")
    assert {cluster.job(name).spec.priority for name in ("web", "web.2")} == {7}
    assert len(revisions(cluster)) == 1


# ── parents ───────────────────────────────────────────────────────────────────────────────────────


def lose_the_parent(cluster: Cluster) -> None:
    """`web` runs, and what it waited for is CANCELLED."""
    cluster.submit(kept("db"), kept("web", "db", instances=2))
    cluster.ready("db")
    cluster.ready("web", "web.2")
    cluster.cancel("db")
    cluster.stopped("db")


@pytest.mark.parametrize("what", ["restart", "update", "scale"])
def test_what_has_lost_a_parent_is_not_begun_anew(cluster: KeptCluster, worker: FakeWorker, what: str) -> None:
    lose_the_parent(cluster)
    with pytest.raises(Conflict, match="depends on db, which is CANCELLED; retry that one"):
        match what:
            case "restart":
                cluster.restart_service("web")
            case "update":
                cluster.update("web", kept("web"))
            case _:
                cluster.scale("web", 3)


def test_a_renewal_ends_when_a_parent_is_lost(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("db"), kept("web", "db", port=7001))
    cluster.ready("db")
    cluster.ready("web")
    cluster.restart_service("web")
    cluster.cancel("db")
    cluster.stopped("db")
    assert cluster.service("web").note == "not renewed, since parent db is CANCELLED"
    cluster.stopped("web")
    assert cluster.state("web") == "CANCELLED"


# ── the run ───────────────────────────────────────────────────────────────────────────────────────


def test_what_is_there_for_its_run_ends_with_it_though_it_is_being_renewed(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(job("a"), service("web", policy=ServicePolicy(run_scoped=True, port=7001)))
    cluster.ready("web")
    cluster.restart_service("web")
    assert cluster.job("web").ending is not None
    cluster.finish("a")
    cluster.stopped("web")
    assert cluster.state("web") == "COMPLETED"
