"""Services by hand, and their instances: where they go, how many there are, what others are told of them."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.scheduler.actions import StartAttempt
from titan_core.scheduler.events import ServiceStopRequested
from titan_core.scheduler.model import ServicePolicy
from titan_core.scheduler.states import Affinity
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, kept, service
from titan_test_suite.pytests.support.kept_cluster import KeptCluster

OF_THE_RUN = ServicePolicy(run_scoped=True)


def places(cluster: Cluster, name: str) -> list[str]:
    return [cluster.place(job.key) for job in cluster.service(name).live]


# ── how many, and where ───────────────────────────────────────────────────────────────────────────


def test_instances_are_jobs_of_the_run_spread_over_workers(cluster: KeptCluster) -> None:
    for name in "abc":
        cluster.join(name)
    cluster.submit(kept("web", instances=3), job("child", "web"))
    assert list(cluster.run().jobs) == ["web", "child", "web.2", "web.3"]
    assert sorted(places(cluster, "web")) == ["a", "b", "c"]
    assert cluster.service_state("web") == "STARTING"


def test_children_wait_for_one_instance(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2), job("child", "web"))
    cluster.ready("web.2")
    assert cluster.state("child") == "RUNNING"
    assert cluster.service_state("web") == "DEGRADED"
    cluster.ready("web")
    assert cluster.service_state("web") == "READY"


def test_instances_wait_for_the_parents_of_the_service(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a", instances=2))
    assert (cluster.state("web"), cluster.state("web.2")) == ("BLOCKED", "BLOCKED")
    assert cluster.service_state("web") == "WAITING"
    cluster.finish("a")
    assert (cluster.state("web"), cluster.state("web.2")) == ("RUNNING", "RUNNING")


def test_ids_that_are_taken_are_passed_over(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=3), job("web.2"))
    assert list(cluster.run().jobs) == ["web", "web.2", "web.3", "web.4"]
    assert [instance.job_id for instance in cluster.service("web").instances] == ["web", "web.3", "web.4"]


def test_a_port_is_there_once_on_a_host(cluster: KeptCluster) -> None:
    cluster.join("a", port=8080)
    cluster.join("a", port=8081)
    cluster.submit(kept("web", port=9100, instances=2))
    assert cluster.state("web") == "RUNNING"
    assert cluster.state("web.2") == "QUEUED"
    assert cluster.explain("web.2")[0] == "port 9100 is taken: on a by service run/web"
    cluster.submit(kept("other", port=9101), run_id="next")
    assert cluster.state("other") == "RUNNING"
    cluster.join("b")
    assert cluster.place("web.2") == "b"


def test_a_service_that_finds_no_place_is_in_nobodys_way(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", port=9100, instances=2), kept("later"), job("a"))
    assert cluster.states() == {"web": "RUNNING", "later": "RUNNING", "a": "RUNNING", "web.2": "QUEUED"}


def test_strict_affinity_binds_services(cluster: KeptCluster) -> None:
    cluster.join("a")
    cluster.join("b")
    cluster.submit(job("first"), kept("web", "first", affinity=Affinity.STRICT, instances=2))
    where = cluster.place("first")
    cluster.finish("first")
    assert places(cluster, "web") == [where, where]


# ── scale ─────────────────────────────────────────────────────────────────────────────────────────


def test_scale_up_and_down_and_up_again(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.scale("web", 3)
    assert cluster.running() == ["web", "web.2", "web.3"]
    cluster.ready("web", "web.2", "web.3")
    cluster.scale("web", 1)
    cluster.stopped("web.3")
    cluster.stopped("web.2")
    assert cluster.states() == {"web": "RUNNING", "web.2": "COMPLETED", "web.3": "COMPLETED"}
    assert cluster.service_state("web") == "READY"
    cluster.scale("web.2", 2)  # any instance names the service
    assert cluster.states() == {"web": "RUNNING", "web.2": "RUNNING", "web.3": "COMPLETED"}


def test_the_delay_of_a_service_is_waited_for_once(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", delay_s=60))
    cluster.advance(20)
    cluster.scale("web", 2)
    cluster.advance(39)
    assert cluster.running() == []
    cluster.advance(1)
    assert cluster.running() == ["web", "web.2"]
    cluster.scale("web", 3)
    assert cluster.running() == ["web", "web.2", "web.3"]


def test_scale_up_while_others_still_stop(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2))
    cluster.scale("web", 1)
    cluster.scale("web", 2)
    assert cluster.state("web.3") == "RUNNING"
    cluster.stopped("web.2")
    assert cluster.states() == {"web": "RUNNING", "web.2": "COMPLETED", "web.3": "RUNNING"}


def test_scale_down_further_while_others_still_stop(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=4))
    cluster.scale("web", 3)
    cluster.scale("web", 2)
    assert [job.job_id for job in cluster.service("web").live if job.ending is None] == ["web", "web.2"]
    cluster.scale("web", 2)
    assert [job.job_id for job in cluster.service("web").live if job.ending is None] == ["web", "web.2"]


def test_what_is_wanted_survives_the_master(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.scale("web", 3)
    cluster.ready("web", port=4711)
    cluster.restart_master()
    assert cluster.service("web").wanted == 3
    assert [instance.job_id for instance in cluster.service("web").instances] == ["web", "web.2", "web.3"]
    assert (cluster.job("web").ready, cluster.attempt("web").port) == (True, 4711)
    cluster.register(worker)
    assert cluster.running() == ["web", "web.2", "web.3"]


# ── stop and start ────────────────────────────────────────────────────────────────────────────────


def test_stop_stops_every_instance_and_start_brings_all_back(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", instances=2))
    cluster.ready("web", "web.2")
    cluster.stop_service("web")
    assert not cluster.job("web").ready  # nobody is to ask it any more
    cluster.stopped("web")
    cluster.stopped("web.2")
    assert cluster.states() == {"web": "COMPLETED", "web.2": "COMPLETED"}
    assert (cluster.service_state("web"), cluster.run_state()) == ("STOPPED", "COMPLETED")
    cluster.start_service("web")
    assert cluster.states() == {"web": "RUNNING", "web.2": "RUNNING"}
    assert cluster.run_state() == "RUNNING"


def test_a_stopped_service_stays_stopped(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.stop_service("web")
    cluster.stopped("web")
    cluster.advance(10_000)
    cluster.restart_master()
    cluster.register(worker)
    assert cluster.state("web") == "COMPLETED"
    with pytest.raises(Conflict, match="service run/web is stopped; start it with: titan start web"):
        cluster.scale("web", 2)
    with pytest.raises(Conflict, match="is stopped"):
        cluster.restart_service("web")
    cluster.start_service("web")
    assert cluster.state("web") == "RUNNING"


def test_a_service_that_runs_is_not_started(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    with pytest.raises(Conflict, match="service run/web runs already, or is about to"):
        cluster.start_service("web")


def test_a_dead_service_can_be_started(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("web"), job("child", "web"))
    cluster.fail("web")
    assert cluster.service_state("web") == "DEAD"
    cluster.start_service("web")
    assert cluster.state("web") == "RUNNING"


def test_a_service_whose_parent_failed_is_not_started(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a"))
    cluster.fail("a")
    with pytest.raises(Conflict, match="depends on a, which is DEAD"):
        cluster.start_service("web")


def test_all_services_of_a_run_at_once(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"), kept("db"), job("a"))
    cluster.handle(ServiceStopRequested("run", "", "enough"))
    cluster.stopped("web")
    cluster.stopped("db")
    assert cluster.states() == {"web": "COMPLETED", "db": "COMPLETED", "a": "RUNNING"}


def test_what_can_not_be_granted(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"))
    with pytest.raises(Conflict, match="run run has no service"):
        cluster.handle(ServiceStopRequested("run", "", "enough"))
    with pytest.raises(NotFound, match="run run has no job b"):
        cluster.handle(ServiceStopRequested("run", "b", "enough"))
    with pytest.raises(Conflict, match="job run/a is not a service"):
        cluster.scale("a", 2)


# ── with its run ──────────────────────────────────────────────────────────────────────────────────


def test_a_service_of_the_run_stops_with_it(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("db", policy=OF_THE_RUN), job("a", "db"), job("b", "a"))
    cluster.ready("db")
    cluster.finish("a")
    assert cluster.attempt("db").token not in worker.stopping
    cluster.finish("b")
    cluster.stopped("db")
    assert cluster.states() == {"db": "COMPLETED", "a": "COMPLETED", "b": "COMPLETED"}
    assert (cluster.job("db").reason, cluster.run_state()) == ("its run is over", "COMPLETED")


def test_also_when_the_run_failed_and_it_was_never_ready(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("db", policy=OF_THE_RUN), job("a"))
    cluster.fail("a")
    cluster.stopped("db")
    assert cluster.run_state() == "FAILED"


def test_a_run_of_nothing_else_goes_on(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("db", policy=OF_THE_RUN))
    cluster.ready("db")
    assert not worker.stopping


def test_a_service_of_the_cluster_does_not_keep_one_of_the_run(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(service("db", policy=OF_THE_RUN), kept("web", "db"))
    cluster.ready("db")
    cluster.ready("web")
    cluster.stopped("db")
    assert cluster.states() == {"db": "COMPLETED", "web": "RUNNING"}


# ── what others are told ──────────────────────────────────────────────────────────────────────────


def test_jobs_are_told_where_the_services_of_their_run_are(cluster: KeptCluster) -> None:
    cluster.join("w", address="10.0.0.7")
    cluster.submit(kept("web"), kept("db"), kept("mute"), job("a", "web"), kept("late"))
    cluster.ready("db", port=5432)
    cluster.ready("mute")
    actions = cluster.ready("web", port=9100)
    (start,) = [action for action in actions if isinstance(action, StartAttempt)]
    assert start.services == (("web", "10.0.0.7:9100"), ("db", "10.0.0.7:5432"))


def test_an_address_is_that_of_an_instance_that_is_ready(cluster: KeptCluster) -> None:
    cluster.join("a", address="::1")
    cluster.join("b")
    cluster.submit(kept("web", instances=2))
    cluster.ready("web", port=1)
    cluster.ready("web.2", port=2)
    cluster.fail("web")
    actions = cluster.add(job("x"))
    (start,) = [action for action in actions if isinstance(action, StartAttempt)]
    assert start.services == (("web", f"{cluster.place('web.2')}:2"),)
    cluster.ready("web", port=3)
    assert cluster.place("web") == "a"
    actions = cluster.add(job("y"))
    (start,) = [action for action in actions if isinstance(action, StartAttempt)]
    assert start.services == (("web", "[::1]:3"),)
