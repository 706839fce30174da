"""The disk of a worker fills up while a cluster works, and is freed: nothing is lost, nobody has to do anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk import JobHandle, TitanClient
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.disks import fill, small_disk
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

END_S = 30.0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The disk of a worker."""
    with small_disk(tmp_path / "disk") as place:
        yield place


@pytest.fixture
def cluster(disk: Path, tmp_path: Path) -> Iterator[Cluster]:
    home = tmp_path / "home"
    home.mkdir()
    with Cluster(home, "--heartbeat-s", "0.5") as running:
        running.start_worker(home=disk)
        yield running


def submit(client: TitanClient, tmp_path: Path, name: str, before: str = "true") -> JobHandle:
    """A job that does `before` and then notes in the ledger that it has ended; the ledger is on another disk."""
    script = tmp_path / f"{name}.sh"
    script.write_text(f"{before}\necho $TITAN_JOB_ID >> {tmp_path}/ledger\n")
    return client.submit_job(job_id=name, filename=str(script))


def trouble(client: TitanClient) -> str:
    return next(filter(None, (worker.trouble for worker in client.workers())), "")


def test_a_disk_that_fills_up_and_is_freed(cluster: Cluster, disk: Path, tmp_path: Path) -> None:
    with cluster.client() as client:
        running = submit(client, tmp_path, "running", f"echo up; until [ -e {tmp_path}/go ]; do sleep 0.02; done")
        wait_until(lambda: client.fetch_logs(running.key) == "up\n")
        ballast = fill(disk)
        wait_until(lambda: trouble(client), END_S)
        sentence = f"can not write to {disk}/titan_workspace: less than 1 MiB is free"
        assert trouble(client) == sentence
        waiting = [submit(client, tmp_path, f"waiting-{n}") for n in range(5)]
        assert any(sentence in reason for reason in client.explain(waiting[0].key).reasons)
        (tmp_path / "go").touch()
        assert running.result(timeout=END_S).state == "COMPLETED"
        assert {client.job(job.key).state for job in waiting} == {"QUEUED"}
        ballast.unlink()
        for job in waiting:
            assert job.result(timeout=END_S).state == "COMPLETED"
            assert len(client.job(job.key).attempts) == 1
        assert not trouble(client)
    assert sorted((tmp_path / "ledger").read_text().split()) == ["running", *(f"waiting-{n}" for n in range(5))]


def test_the_others_take_what_a_full_one_can_not(cluster: Cluster, disk: Path, tmp_path: Path) -> None:
    with cluster.client() as client:
        fill(disk)
        first = submit(client, tmp_path, "first")  # maybe before the trouble is known
        cluster.start_worker()
        rest = [submit(client, tmp_path, f"rest-{n}") for n in range(8)]
        for job in (first, *rest):
            assert job.result(timeout=END_S).state == "COMPLETED"
    assert sorted((tmp_path / "ledger").read_text().split()) == ["first", *(f"rest-{n}" for n in range(8))]
