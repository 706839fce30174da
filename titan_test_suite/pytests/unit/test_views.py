"""What the master shows of the model that no client's request has made."""

from __future__ import annotations

from titan_core.clock import FakeClock
from titan_core.master.views import LATELY_S, Views
from titan_core.protocol.messages import LostWorker
from titan_test_suite.pytests.support.cluster_model import Cluster, job


def test_lost_workers_are_shown_for_a_day_the_latest_first() -> None:
    cluster = Cluster()
    for name in ("first", "second"):
        worker = cluster.join(name, "GPU", "GENERAL")
        cluster.submit(job(f"of-{name}"), run_id=name)
        cluster.disconnect(worker)
        cluster.advance(30)
    clock = FakeClock()
    clock.now = cluster.now
    second, first = Views(clock).cluster(cluster.core.state, ()).lost
    why = "worker second:8080 was not heard for 30 s"
    assert second == LostWorker("second:8080", clock.wall(), why, 2, ("GENERAL", "GPU"))
    assert (first.worker_id, first.attempts) == ("first:8080", 1)
    clock.advance(LATELY_S - 1)
    assert [one.worker_id for one in Views(clock).cluster(cluster.core.state, ()).lost] == ["second:8080"]
