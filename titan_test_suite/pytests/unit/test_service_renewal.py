"""Restart by hand, and update: instances are renewed one after the other, and what does not work is taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from titan_core.errors import Conflict
from titan_core.scheduler.model import ServicePolicy
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, FakeWorker, job, kept, service
from titan_test_suite.pytests.support.kept_cluster import KeptCluster


def up(cluster: Cluster, instances: int, port: int = 0) -> None:
    """A service of so many instances, all ready."""
    cluster.submit(kept("web", instances=instances, port=port))
    cluster.ready(*(instance.job_id for instance in cluster.service("web").instances))


def ready(cluster: Cluster) -> list[str]:
    return [instance.job_id for instance in cluster.service("web").live if instance.ready]


def revisions(cluster: Cluster) -> dict[str, int]:
    return {instance.job_id: instance.revision for instance in cluster.service("web").live}


def next_step(cluster: Cluster) -> None:
    """What was told to stop stops; what begins gets ready."""
    for instance in cluster.service("web").live:
        if instance.ending is not None:
            cluster.stopped(instance.key)
            return
    waiting = [instance for instance in cluster.service("web").live if not instance.ready]
    assert waiting, "nothing is to happen"
    cluster.ready(waiting[0].key)


def roll_to_the_end(cluster: Cluster, least: int) -> None:
    """`least`: so many are ready at any time."""
    for _ in range(50):
        assert len(ready(cluster)) >= least
        if not cluster.service("web").rolling and all(job.ending is None for job in cluster.service("web").live):
            return
        next_step(cluster)
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize("instances", [1, 2, 3])
def test_as_many_as_are_wanted_are_ready_all_the_time(
    cluster: KeptCluster, worker: FakeWorker, instances: int
) -> None:
    up(cluster, instances)
    cluster.restart_service("web")
    assert cluster.service_state("web") == "UPDATING"
    roll_to_the_end(cluster, least=instances)
    assert cluster.service_state("web") == "READY"
    assert set(revisions(cluster).values()) == {2}
    assert len(ready(cluster)) == instances
    assert cluster.state(f"web.{instances + 1}") == "COMPLETED"  # it served meanwhile


def test_an_update_brings_a_new_definition_to_all(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.update("web", job("other-name", priority=7, service=True, policy=ServicePolicy(instances=9)))
    roll_to_the_end(cluster, least=2)
    service = cluster.service("web")
    assert [(instance.job_id, instance.spec.priority) for instance in service.live] == [("web", 7), ("web.2", 7)]
    assert (service.wanted, service.spec.policy.instances) == (2, 2)
    cluster.update("web", kept("web"))
    roll_to_the_end(cluster, least=2)
    assert list(service.specs) == [3]


def test_no_revision_has_the_number_of_one_that_was_taken_back(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 1, port=9100)
    for number in (2, 3):
        cluster.update("web", service("web", policy=ServicePolicy(port=9100), priority=number))
        cluster.stopped("web")
        cluster.fail("web")
        assert cluster.service("web").note == f"revision {number} was taken back: exit code 1"
        cluster.restart_master()
        cluster.register(worker)
    assert cluster.job("web").spec.priority == 1


def test_what_is_renewed_is_done_with_one_instance_more_at_a_time(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.restart_service("web")
    assert cluster.states() == {"web": "RUNNING", "web.2": "RUNNING", "web.3": "RUNNING"}
    assert not worker.stopping
    cluster.ready("web.3")
    assert worker.stopping == {cluster.attempt("web").token}
    cluster.stopped("web")
    assert cluster.state("web") == "RUNNING"
    assert not worker.stopping
    cluster.ready("web")
    assert worker.stopping == {cluster.attempt("web.2").token}


def test_where_there_is_room_for_none_more_one_is_stopped_first(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 1, port=9100)
    cluster.restart_service("web")
    assert worker.stopping == {cluster.attempt("web").token}
    cluster.stopped("web")
    cluster.ready("web")
    assert (cluster.service_state("web"), revisions(cluster)) == ("READY", {"web": 2})


def test_a_port_that_is_free_elsewhere_is_used_meanwhile(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 1, port=9100)
    cluster.join("other")
    cluster.restart_service("web")
    assert cluster.place("web.2") == "other"
    roll_to_the_end(cluster, least=1)
    assert cluster.place("web") == "w"


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.NOT_STARTED, Outcome.TIMED_OUT])
def test_a_revision_that_does_not_become_ready_is_taken_back(
    cluster: KeptCluster, worker: FakeWorker, outcome: Outcome
) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    cluster.finish("web.3", outcome, "it broke")
    assert cluster.service_state("web") == "READY"
    assert ready(cluster) == ["web", "web.2"]
    assert revisions(cluster) == {"web": 1, "web.2": 1}
    assert cluster.service("web").note == "revision 2 was taken back: it broke"
    assert cluster.job("web").spec.priority == 1
    cluster.scale("web", 3)
    assert cluster.job("web.3").spec.priority == 1


def test_those_that_have_it_already_are_renewed_back(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 3)
    cluster.update("web", kept("web", priority=7))
    cluster.ready("web.4")
    cluster.stopped("web")
    cluster.ready("web")
    cluster.stopped("web.2")
    cluster.fail("web.2")
    roll_to_the_end(cluster, least=1)
    assert revisions(cluster) == {"web": 1, "web.2": 1, "web.3": 1}
    assert {instance.spec.priority for instance in cluster.service("web").live} == {1}
    assert cluster.service("web").note == "revision 2 was taken back: exit code 1"
    assert cluster.service_state("web") == "READY"


def test_one_that_crashes_as_soon_as_it_is_ready_is_no_good(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    cluster.ready("web.3")
    cluster.fail("web.3")
    roll_to_the_end(cluster, least=1)
    assert revisions(cluster) == {"web": 1, "web.2": 1}


def test_a_lost_worker_takes_nothing_back(cluster: KeptCluster, worker: FakeWorker) -> None:
    other = cluster.join("other")
    up(cluster, 1)
    cluster.update("web", kept("web", priority=7))
    assert cluster.place("web.2") == "other"
    cluster.crash(other)
    cluster.advance(30)
    assert cluster.place("web.2") == "w"
    roll_to_the_end(cluster, least=1)
    assert revisions(cluster) == {"web": 2}


def test_a_newer_definition_takes_over(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    cluster.update("web", kept("web", priority=8))
    roll_to_the_end(cluster, least=2)
    assert {instance.spec.priority for instance in cluster.service("web").live} == {8}
    assert set(revisions(cluster).values()) == {3}


def test_a_newer_one_that_is_no_good_goes_back_to_the_last_that_was(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    cluster.update("web", kept("web", priority=8))
    while cluster.service("web").rolling:
        begun = [one for one in cluster.service("web").live if one.revision == 3 and not one.ready]
        if begun:
            cluster.fail(begun[0].key)
        else:
            next_step(cluster)
    assert revisions(cluster) == {"web": 1, "web.2": 1}


def test_a_service_in_a_crash_loop_is_mended_by_an_update(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(kept("web"))
    for _ in range(11):
        if cluster.state("web") != "RUNNING":
            cluster.advance(cluster.job("web").due_at - cluster.now)
        cluster.fail("web")
    assert cluster.state("web") == "CRASHLOOP"
    cluster.update("web", kept("web", priority=7))
    assert cluster.state("web") == "RUNNING"
    cluster.ready("web")
    assert (cluster.service_state("web"), revisions(cluster)) == ("UPDATING", {"web": 2})
    cluster.advance(10)
    assert cluster.service_state("web") == "READY"


def test_one_that_has_not_begun_gets_the_definition_at_once(cluster: KeptCluster, worker: FakeWorker) -> None:
    cluster.submit(job("a"), kept("web", "a"), kept("gpu", requirement="GPU"))
    cluster.update("web", kept("web", priority=7))
    cluster.update("gpu", kept("gpu"))
    assert cluster.state("gpu") == "RUNNING"
    assert (cluster.state("web"), cluster.job("web").spec.priority) == ("BLOCKED", 7)
    cluster.finish("a")
    cluster.ready("web")
    cluster.advance(10)
    assert cluster.service_state("web") == "READY"


def test_stop_ends_a_renewal(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.restart_service("web")
    cluster.stop_service("web")
    for name in ("web", "web.2", "web.3"):
        cluster.stopped(name)
    assert cluster.service_state("web") == "STOPPED"
    cluster.start_service("web")
    assert cluster.running() == ["web", "web.2"]


def test_what_is_being_renewed_is_not_scaled(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.restart_service("web")
    with pytest.raises(Conflict, match="service run/web is being renewed"):
        cluster.scale("web", 3)


@pytest.mark.parametrize("steps", range(8))
def test_a_renewal_goes_on_after_a_start_of_the_master(cluster: KeptCluster, worker: FakeWorker, steps: int) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    for _ in range(steps):
        if cluster.service("web").rolling:
            next_step(cluster)
    cluster.restart_master()
    cluster.register(worker)
    roll_to_the_end(cluster, least=2)
    assert revisions(cluster) == {"web": 2, "web.2": 2}
    assert {instance.spec.priority for instance in cluster.service("web").live} == {7}


def test_a_restarted_service_that_is_lost_begins_with_the_new_definition(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    up(cluster, 1, port=9100)
    cluster.update("web", replace(service("web", policy=ServicePolicy(port=9100)), priority=7))
    cluster.crash(worker)
    cluster.advance(30)
    assert cluster.state("web") == "QUEUED"
    cluster.register(worker)
    assert (cluster.state("web"), cluster.job("web").spec.priority) == ("RUNNING", 7)


def test_a_definition_is_on_trial_until_an_instance_has_served_for_a_while(
    cluster: KeptCluster, worker: FakeWorker
) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    roll_to_the_end(cluster, least=2)
    assert cluster.service_state("web") == "UPDATING"
    cluster.advance(9)
    cluster.fail("web.2")
    assert cluster.service("web").note == "revision 2 was taken back: exit code 1"
    roll_to_the_end(cluster, least=1)
    assert (cluster.service_state("web"), revisions(cluster)) == ("READY", {"web": 1, "web.2": 1})


def test_also_by_another_master(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 1)
    cluster.update("web", kept("web", priority=7))
    roll_to_the_end(cluster, least=1)
    cluster.restart_master()
    cluster.register(worker)
    cluster.fail("web")
    cluster.ready("web")
    assert revisions(cluster) == {"web": 1}


def test_after_that_it_stays_whatever_happens(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 2)
    cluster.update("web", kept("web", priority=7))
    roll_to_the_end(cluster, least=2)
    cluster.advance(10)
    assert cluster.service_state("web") == "READY"
    cluster.fail("web")
    cluster.fail("web")
    cluster.scale("web", 3)
    cluster.fail("web.3")
    assert set(revisions(cluster).values()) == {2}
    cluster.advance(100)
    cluster.ready("web", "web.3")
    cluster.update("web", kept("web", priority=8))
    for number in range(4):
        if cluster.job(f"web.{number + 1}" if number else "web").revision == 3:
            cluster.fail(f"web.{number + 1}" if number else "web")
    roll_to_the_end(cluster, least=1)
    assert {instance.spec.priority for instance in cluster.service("web").live} == {7}


def test_a_restart_by_hand_has_nothing_to_prove(cluster: KeptCluster, worker: FakeWorker) -> None:
    up(cluster, 1)
    cluster.restart_service("web")
    roll_to_the_end(cluster, least=1)
    assert cluster.service_state("web") == "READY"
    cluster.fail("web")
    assert revisions(cluster) == {"web": 2}
