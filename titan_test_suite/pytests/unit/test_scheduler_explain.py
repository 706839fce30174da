"""Why a job is where it is: a sentence for every state, which names what would change it."""

from __future__ import annotations

import pytest

from titan_core.scheduler.explain import explain, reason
from titan_core.scheduler.model import USUAL_SERVICES
from titan_core.scheduler.states import Affinity, Outcome
from titan_test_suite.pytests.support.cluster_model import Cluster, job, service


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_blocked_names_the_parents_it_waits_for(cluster: Cluster) -> None:
    cluster.join("w")
    cluster.submit(job("a"), job("b", delay_s=5), job("done"), job("c", "a", "b", "done"))
    cluster.finish("done")
    assert cluster.explain("c") == ["waits for a (RUNNING), b (DELAYED)"]


def test_blocked_by_many_names_some(cluster: Cluster) -> None:
    names = [f"p{number}" for number in range(8)]
    cluster.submit(*map(job, names), job("c", *names))
    assert cluster.explain("c") == [
        "waits for p0 (QUEUED), p1 (QUEUED), p2 (QUEUED), p3 (QUEUED), p4 (QUEUED) and 3 more"
    ]


def test_delayed_says_when_it_is_due(cluster: Cluster) -> None:
    cluster.submit(job("a", delay_s=12))
    cluster.advance(2)
    assert cluster.explain("a") == ["due in 10.0 s", "delayed by 12 s"]
    assert explain(cluster.core.state, cluster.job("a"), cluster.now + 99)[0] == "due in 0.0 s"


def test_failed_says_when_it_is_tried_again_and_why(cluster: Cluster) -> None:
    cluster.join("w")
    cluster.submit(job("a", retries=3))
    cluster.fail("a")
    due, why = cluster.explain("a")
    assert due.startswith("due in ")
    assert why.startswith("exit code 1; retry 1 of 3 in ")


def test_queued_without_any_worker(cluster: Cluster) -> None:
    cluster.submit(job("a"))
    assert cluster.explain("a") == ["no worker is connected; start one with: python -m titan_core.worker"]


def test_queued_without_its_capability(cluster: Cluster) -> None:
    cluster.join("w", "GENERAL", "FPGA")
    cluster.submit(job("a", requirement="GPU"))
    assert cluster.explain("a") == ["no worker has GPU; the known ones have FPGA, GENERAL"]


def test_queued_while_the_workers_that_have_it_take_no_work(cluster: Cluster) -> None:
    gone, leaving = cluster.join("gone", "GPU"), cluster.join("leaving", "GPU")
    cluster.disconnect(gone)
    cluster.drain(leaving)
    cluster.submit(job("a", requirement="GPU"))
    assert cluster.explain("a") == [
        "no worker with GPU takes work now: gone:8080 (DISCONNECTED), leaving:8080 (DRAINING)"
    ]


def test_queued_behind_others(cluster: Cluster) -> None:
    cluster.join("w1", slots=1)
    cluster.join("w2", slots=1)
    cluster.submit(job("x"), job("y"), job("a"), job("b"))
    assert cluster.explain("a") == ["all 2 slots of the 2 workers with GENERAL are busy", "0 jobs are ahead of it"]
    assert cluster.explain("b")[1] == "1 job is ahead of it"


def test_queued_for_the_only_worker(cluster: Cluster) -> None:
    cluster.join("w")
    cluster.submit(*(job(f"j{number}") for number in range(5)))
    assert cluster.explain("j4")[0] == "all 4 slots of the one worker with GENERAL are busy"
    cluster.join("small", "GPU", slots=1)
    cluster.submit(job("g1", requirement="GPU"), job("g2", requirement="GPU"), run_id="gpu")
    assert cluster.explain("g2")[0] == "the one slot of the one worker with GPU is busy"


def test_queued_service(cluster: Cluster) -> None:
    cluster.join("w")
    cluster.submit(*(service(f"s{number}") for number in range(USUAL_SERVICES)), service("a"))
    assert cluster.explain("a") == [
        "every worker with GENERAL hosts as many services as it takes; "
        "the cluster does not grow for services: start another worker, or raise --max-services",
        "0 jobs are ahead of it",
    ]


def test_the_reason_of_a_queued_job_is_what_it_waits_for_now(cluster: Cluster) -> None:
    def told() -> str:
        return reason(cluster.core.state, cluster.job("a"))

    cluster.submit(job("a", requirement="GPU", retries=1))
    assert told() == "no worker is connected; start one with: python -m titan_core.worker"
    cluster.join("w")
    assert told() == "no worker has GPU; the known ones have GENERAL"
    gpu = cluster.join("gpu", "GPU")
    assert told() == cluster.job("a").reason
    cluster.fail("a")
    cluster.crash(gpu)
    cluster.advance(60)
    assert told() == "retry 1 of 1; no worker has GPU; the known ones have GENERAL"


def bound(cluster: Cluster, **fields: object) -> None:
    """`child` is bound to worker w, which has one slot, and that is taken."""
    cluster.join("w", slots=1)
    cluster.submit(job("parent"))
    cluster.finish("parent")
    cluster.submit(job("pin"), run_id="pins")
    cluster.submit(job("child", "run/parent", affinity=Affinity.STRICT, **fields), run_id="next")


def test_queued_for_a_slot_of_one_worker(cluster: Cluster) -> None:
    bound(cluster)
    assert cluster.explain("child") == ["strict affinity binds it to worker w:8080, where all slots are busy"]


def test_queued_for_a_worker_that_is_not_connected(cluster: Cluster) -> None:
    bound(cluster)
    cluster.crash(cluster.workers["w:8080"])
    assert cluster.explain("child") == ["strict affinity binds it to worker w:8080, which is DISCONNECTED"]
    cluster.advance(30)
    assert cluster.explain("child") == [
        "strict affinity binds it to worker w:8080, which is gone; it starts when that worker is back"
    ]


def test_queued_for_a_worker_that_can_not_run_it(cluster: Cluster) -> None:
    bound(cluster, requirement="GPU")
    assert cluster.explain("child") == ["strict affinity binds it to worker w:8080, which does not have GPU"]


def test_queued_service_for_a_worker_that_hosts_enough(cluster: Cluster) -> None:
    cluster.join("w")
    cluster.submit(job("parent"), *(service(f"s{number}") for number in range(USUAL_SERVICES)))
    cluster.finish("parent")
    cluster.submit(service("child", "run/parent", affinity=Affinity.STRICT), run_id="next")
    assert cluster.explain("child") == [
        "strict affinity binds it to worker w:8080, which hosts as many services as it takes"
    ]


def test_running_says_where_and_for_how_long(cluster: Cluster) -> None:
    worker = cluster.join("w")
    cluster.submit(job("a"))
    cluster.advance(3)
    assert cluster.explain("a") == ["attempt 1 runs on w:8080 since 3.0 s"]
    cluster.disconnect(worker)
    assert cluster.explain("a")[-1] == "worker w:8080 is not connected; without word of it the attempt will be lost"
    cluster.cancel("a")
    assert cluster.explain("a")[0] == "is being stopped: not wanted"


def test_final_says_why_and_where(cluster: Cluster) -> None:
    cluster.join("w")
    cluster.submit(job("ok"), job("bad"), job("child", "bad"))
    cluster.finish("ok")
    cluster.finish("bad", Outcome.TIMED_OUT)
    assert cluster.explain("ok") == ["COMPLETED: exit code 0", "attempt 1 ran on w:8080"]
    assert cluster.explain("bad") == ["DEAD: ran longer than 5 s", "attempt 1 ran on w:8080"]
    assert cluster.explain("child") == ["CANCELLED: parent bad is DEAD", "it never started"]
