"""What a reading of services and scaling with suspicion has found: each test was a defect once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from titan_core.errors import Conflict, InvalidRequest, ProtocolError
from titan_core.master.connections import _service_ready
from titan_core.master.service_requests import ServiceRequests
from titan_core.protocol import messages
from titan_core.scheduler import scaling
from titan_core.scheduler.actions import StartAttempt
from titan_core.scheduler.model import Job, ServicePolicy, Worker
from titan_core.scheduler.placement import Placement
from titan_core.scheduler.settings import ScalingSettings
from titan_core.scheduler.states import Affinity, JobState
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, kept
from titan_test_suite.pytests.support.kept_cluster import KeptCluster


def carry_on(cluster: Cluster) -> None:
    """What is told to stop stops, what runs gets ready, until nothing changes."""
    moved = True
    while moved:
        moved = False
        for run in cluster.core.state.runs.values():
            for one in [j for service in run.services.values() for j in service.live]:
                if one.ending is not None:
                    cluster.stopped(one.key)
                    moved = True
                elif one.state is JobState.RUNNING and not one.ready:
                    cluster.ready(one.key)
                    moved = True


# ── renewals ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("master_restarts", [False, True])
def test_a_lost_attempt_of_an_old_revision_does_not_come_back(
    cluster: KeptCluster, worker: FakeWorker, master_restarts: bool
) -> None:
    cluster.submit(kept("web"))
    cluster.ready("web")
    cluster.disconnect(worker)
    cluster.advance(31)
    cluster.update("web", kept("web", priority=7))
    if master_restarts:
        cluster.restart_master()
    cluster.register(worker)
    assert list(worker.running) == [cluster.attempt("web").token]
    assert cluster.attempt("web").number == 2


def test_an_update_that_no_worker_can_take_leaves_the_old_one_serving(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web"))
    cluster.ready("web")
    cluster.update("web", kept("web", requirement="GPU"))
    assert cluster.job("web").ready and not worker.stopping
    assert cluster.explain("web.2")[0] == "no worker has GPU; the known ones have GENERAL"
    cluster.join("g", "GPU")
    carry_on(cluster)
    cluster.advance(10)
    assert (cluster.service_state("web"), cluster.place("web")) == ("READY", "g")


def test_a_restart_waits_for_a_worker_that_is_drained(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.ready("web")
    cluster.hold(worker)
    cluster.restart_service("web")
    assert cluster.job("web").ready and not worker.stopping
    cluster.hold(worker, undo=True)
    carry_on(cluster)
    assert (cluster.service_state("web"), cluster.job("web").revision) == ("READY", 2)


def test_a_port_that_another_service_took_does_not_stop_the_old_one(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web", port=9000), kept("other", port=9001))
    cluster.ready("web")
    cluster.update("web", kept("web", port=9001))
    assert cluster.job("web").ready and not worker.stopping
    cluster.stop_service("other")
    cluster.stopped("other")
    carry_on(cluster)
    cluster.advance(10)
    assert cluster.service_state("web") == "READY"


def test_instances_without_room_do_not_hold_up_a_renewal(cluster: KeptCluster) -> None:
    cluster.join("w", max_services=2)
    cluster.submit(kept("web", instances=3))
    cluster.ready("web", "web.2")
    cluster.restart_service("web")
    carry_on(cluster)
    assert not cluster.service("web").rolling
    assert {one.revision for one in cluster.service("web").live} == {2}


def test_one_that_waits_for_parents_again_has_the_newest_definition(cluster: KeptCluster) -> None:
    cluster.submit(job("a"), kept("web", "a", instances=2))
    cluster.update("web", kept("web", priority=7))
    cluster.stop_service("web")
    cluster.start_service("web")
    assert [one.revision for one in cluster.service("web").live] == [2, 2]


def test_the_head_does_not_serve_as_the_one_more(cluster: KeptCluster, worker: FakeWorker) -> None:
    """It would be cancelled at the end, and what depends on the service with it."""
    cluster.submit(kept("web", instances=2))
    cluster.ready("web", "web.2")
    cluster.cancel("web")
    cluster.stopped("web")
    cluster.restart_service("web")
    assert cluster.service("web").surge is cluster.job("web.3")


def test_one_that_is_started_while_it_stops_can_be_renewed_and_scaled(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web"))
    cluster.ready("web")
    cluster.stop_service("web")
    cluster.start_service("web")
    cluster.update("web", kept("web", priority=7))
    carry_on(cluster)
    cluster.advance(10)
    assert (cluster.service_state("web"), cluster.job("web").spec.priority) == ("READY", 7)


def test_a_crash_loop_of_good_attempts_says_how_often_it_was_restarted(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web"))
    while cluster.state("web") != "CRASHLOOP":
        cluster.advance(20)
        cluster.fail("web")
    assert cluster.job("web").reason.startswith(
        "crash loop: restarted 10 times in 600 s, at last: exit code 1; tried"
    )


# ── what a run is like ────────────────────────────────────────────────────────────────────────────


def test_an_update_that_was_taken_back_is_no_cancelled_run(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    cluster.ready("web")
    cluster.update("web", kept("web", priority=7))
    cluster.fail("web.2")
    assert cluster.states() == {"web": "RUNNING", "web.2": "CANCELLED"}
    assert cluster.run_state() == "COMPLETED"
    cluster.stop_service("web")
    cluster.stopped("web")
    assert cluster.run_state() == "CANCELLED"


def test_an_instance_that_is_missed_makes_a_cancelled_run(cluster: KeptCluster) -> None:
    cluster.join("w", max_services=1)
    cluster.submit(kept("web", instances=2))
    cluster.ready("web")
    cluster.cancel("web.2")
    assert cluster.run_state() == "CANCELLED"
    cluster.scale("web", 1)
    assert cluster.run_state() == "COMPLETED"


def test_a_service_of_a_run_that_rests_as_that_ends_was_not_needed(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("db", policy=ServicePolicy(run_scoped=True)), job("a"))
    cluster.fail("db")
    cluster.fail("db")
    cluster.finish("a")
    assert cluster.states() == {"db": "CANCELLED", "a": "COMPLETED"}
    assert cluster.run_state() == "COMPLETED"


# ── by hand ───────────────────────────────────────────────────────────────────────────────────────


def test_what_depends_on_an_instance_too_many_is_not_retried(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a", instances=2))
    cluster.add(job("child", "web.2"))
    cluster.scale("web", 1)
    cluster.fail("a")
    cluster.retry("a")
    assert cluster.states() == {"a": "RUNNING", "web": "BLOCKED", "web.2": "CANCELLED", "child": "CANCELLED"}


def test_an_instance_too_many_is_not_in_the_way_of_a_retry_of_all_that_is_dead(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(kept("web", max_attempts=1), job("bad"))
    cluster.ready("web")
    cluster.restart_service("web")
    cluster.fail("web.2")
    assert cluster.state("web.2") == "DEAD"
    with pytest.raises(Conflict, match="service run/web has as many instances as are wanted"):
        cluster.retry("web.2")
    assert cluster.retry_dead() == []
    cluster.fail("bad")
    cluster.retry_dead()
    assert cluster.states() == {"web": "RUNNING", "bad": "RUNNING", "web.2": "DEAD"}


# ── workers ───────────────────────────────────────────────────────────────────────────────────────


def test_a_shutdown_is_not_forgotten_by_a_master_that_is_started_again(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    cluster.submit(job("a"))
    cluster.shut_down(worker)
    cluster.restart_master()
    cluster.register(worker)
    cluster.submit(job("b"), run_id="later")
    assert cluster.state("later/b") == "QUEUED"
    cluster.finish("a")
    assert worker.shutting_down


def test_what_is_sent_again_has_the_addresses_of_services(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("db"), job("a", "db"))
    cluster.ready("db", port=5432)
    worker.running.pop(cluster.attempt("a").token)
    again = [action for action in cluster.register(worker) if isinstance(action, StartAttempt)]
    assert [action.services for action in again] == [(("db", "w:5432"),)]


def test_a_taken_port_is_named_also_where_affinity_is_strict(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("x", port=9000), kept("web", "a", affinity=Affinity.STRICT, port=9000))
    cluster.finish("a")
    assert cluster.explain("web")[0] == (
        "strict affinity binds it to worker w:8080, where port 9000 is taken: on w by service run/x"
    )


# ── growth ────────────────────────────────────────────────────────────────────────────────────────


def test_those_that_are_expected_are_named_where_the_cluster_is_full() -> None:
    cluster = Cluster(ScalingSettings("external", max_workers=3))
    cluster.join("w")
    cluster.submit(*(job(f"gpu{n}", requirement="GPU") for n in range(8)), *(job(f"j{n}") for n in range(8)))
    cluster.advance(1)
    assert "the cluster does not grow: the cluster has 1 workers and expects 2 more, max_workers is 3" in (
        cluster.explain("j7")
    )


def test_a_capability_that_nobody_waits_for_any_more_is_not_starved() -> None:
    cluster = Cluster(ScalingSettings("inception"))
    cluster.join("w")
    cluster.submit(job("a", requirement="GPU"))
    assert cluster.core.state.placement.starved
    cluster.cancel("a")
    assert not cluster.core.state.placement.starved


def test_an_idle_worker_that_comes_back_to_a_new_master_is_stopped_in_time() -> None:
    cluster = KeptCluster(ScalingSettings("inception"))
    cluster.join("w")
    idle = cluster.join("w", port=8090, ephemeral=True)
    cluster.restart_master()
    cluster.register(idle)
    cluster.register(cluster.workers["w:8080"])
    cluster.advance(45)
    assert idle.shutting_down


# ── what is said over the wire ────────────────────────────────────────────────────────────────────


def test_a_service_is_not_updated_to_a_job() -> None:
    requests = ServiceRequests(*4 * (cast(Any, None),))
    job_of_it = messages.JobSpec("web", messages.Task("x.sh"))
    with pytest.raises(InvalidRequest, match="'web' is no service; add type: service"):
        requests.update(messages.UpdateService("web", job_of_it))


@pytest.mark.parametrize("port", [-1, 65536, 2**63 - 1])
def test_no_service_is_ready_on_a_port_that_there_is_not(port: int) -> None:
    with pytest.raises(ProtocolError, match="nothing listens on port"):
        _service_ready("w:1", messages.ServiceReady(b"t" * 16, port=port))


# ── costs ─────────────────────────────────────────────────────────────────────────────────────────


def test_capabilities_that_nobody_has_are_not_read_at_each_event(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    worker = cluster.join("w")
    cluster.submit(*(job(f"j{n}", requirement=f"C{n}") for n in range(10)))
    monkeypatch.delattr(scaling, "_note_starved")
    cluster.say_ready(worker, b"")
    cluster.submit(job("more", requirement="C3"), run_id="more")


def test_many_instances_are_placed_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """When each one that was placed began another look at all that wait, this took the better part of a minute."""
    cluster = Cluster()
    for number in range(4):
        cluster.join(f"w{number}")
    cluster.submit(kept("fixed", port=9000, instances=100), run_id="ports")
    looks: list[Job] = []
    look = Placement.places

    def places(placement: Placement, service: Job) -> list[Worker]:
        looks.append(service)
        return look(placement, service)

    monkeypatch.setattr(Placement, "places", places)
    cluster.checked = False
    cluster.submit(kept("web", instances=100))
    assert sum(one.state is JobState.RUNNING for one in cluster.service("web").instances) == 100
    assert len(looks) == 101
