"""The disk of the master, or of a worker, fills up and is freed: nothing is lost, and nobody has to be restarted.

The disk is a small tmpfs where the master keeps its state, or a worker its files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk import JobHandle, TitanClient
from titan_sdk.errors import Unavailable
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.disks import MIB, SmallDisk, refusal
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.witnesses import Witnesses

pytestmark = pytest.mark.e2e

END_S = 30.0
LEFT_MIB = 2
"""What the master wants to have free for new submissions."""


class Office:
    """A cluster whose master keeps its state on a small disk, and its workers their files on that of the test."""

    def __init__(self, cluster: Cluster, disk: SmallDisk, witnesses: Witnesses) -> None:
        self.cluster = cluster
        self.disk = disk
        self.witnesses = witnesses

    def begin(self, client: TitanClient, name: str, **fields: object) -> JobHandle:
        """A job that runs when this returns."""
        job = client.submit_job(self.witnesses.job(name, gate=name, **fields))
        wait_until(self.witnesses.started(job.key), END_S, lambda: client.explain(job.key))
        return job

    def end(self, *jobs: JobHandle) -> None:
        """Let them end; they have when this returns, whoever knows of it."""
        for job in jobs:
            self.witnesses.open(job.job_id)
            wait_until(lambda job=job: self.witnesses.ends(job.key), END_S, f"{job} does not end")

    def fill(self) -> None:
        """Not a byte is free, nor can the master write into what it has: its WAL is empty."""
        wal = self.disk.path / "state.db-wal"
        wait_until(lambda: not wal.stat().st_size, END_S, "the WAL is not emptied")
        self.disk.fill()

    def ran_once(self, client: TitanClient, job: JobHandle) -> None:
        status = client.wait_for_job(job, END_S)
        assert [attempt.outcome for attempt in status.attempts] == ["SUCCEEDED"]
        assert len(self.witnesses.starts(job.key)) == 1
        assert len([event for event in client.events(job.key) if event.after == "COMPLETED"]) == 1


@pytest.fixture(scope="module", autouse=True)
def permission() -> None:
    if missing := refusal():
        pytest.skip(missing)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    flags = ("--port", str(free_port()))
    with SmallDisk(tmp_path / ".titan", 16 * MIB) as disk, small_master(tmp_path, *flags) as cluster:
        cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.5"
        cluster.start_worker()
        yield Office(cluster, disk, Witnesses(tmp_path))


def small_master(home: Path, *flags: str) -> Cluster:
    """A cluster whose master is content with little room."""
    (home / ".titan" / "config").write_text(f"master: {{min_free_mib: {LEFT_MIB}}}\n")
    return Cluster(home, *flags)


def test_a_disk_that_fills_and_is_freed_costs_nothing(office: Office) -> None:
    with office.cluster.client() as client:
        early, running, waiting = (office.begin(client, name) for name in ("early", "running", "waiting"))
        held = client.submit_job(office.witnesses.job("held", requirement="NONE"))
        child = client.add_jobs([office.witnesses.job("child", parents=["waiting"])], waiting.run_id)
        almost_full(office, client, early)
        office.disk.clear()
        office.fill()
        office.end(running, waiting)
        while_it_is_full(office, client, running)
        office.disk.clear()
        for job in (running, waiting):
            office.ran_once(client, job)
        office.ran_once(client, JobHandle(client, child.run_id, "child"))
        assert client.submit_job(office.witnesses.job("new")).result(END_S).state == "COMPLETED"
        assert client.job(held).state == "QUEUED"
        wait_until(lambda: "there is room again" in office.cluster.master.tail())


def almost_full(office: Office, client: TitanClient, running: JobHandle) -> None:
    """What is new is refused before there is no room for what runs."""
    office.disk.fill(LEFT_MIB * MIB // 2)
    refused = office.cluster.cli("run", __file__)
    assert refused.returncode == 3
    assert "the disk of the master is almost full" in refused.stderr
    assert "make room" in refused.stderr
    office.end(running)
    office.ran_once(client, running)


def while_it_is_full(office: Office, client: TitanClient, running: JobHandle) -> None:
    refused = office.cluster.cli("run", __file__)
    assert refused.returncode == 3
    assert "full" in refused.stderr
    assert "Traceback" not in refused.stderr
    wait_until(lambda: "is full" in office.cluster.master.tail(), END_S, office.cluster.master.tail)
    with pytest.raises(Unavailable, match="full"):
        client.cancel(running.run_id)
    for words in (["ls"], ["status", running.run_id], ["workers"], ["explain", "held"], ["events", "early"]):
        answered = office.cluster.cli(*words)
        assert answered.returncode == 0, (words, answered.stderr)
    status = office.cluster.cli("status")
    assert "is full" in status.stdout
    assert [worker.state for worker in client.workers()] == ["ONLINE"]  # greetings wait for no disk


def test_a_master_that_is_killed_while_its_disk_is_full_loses_nothing(office: Office) -> None:
    cluster = office.cluster
    with cluster.client() as client:
        told, later = (office.begin(client, name) for name in ("told", "later"))
    office.fill()
    office.end(told)
    wait_until(lambda: "is full" in cluster.master.tail(), END_S, cluster.master.tail)
    flags = cluster.master.arguments[1:]
    cluster.master.kill()
    office.end(later)
    said = cluster.start_master_in_vain(*flags)
    assert said.startswith("titan master: ") and "full" in said, said
    office.disk.clear()
    cluster.start_master(*flags)
    with cluster.client() as client:
        for job in (told, later):
            office.ran_once(client, job)


def test_a_worker_whose_disk_is_full_gets_no_jobs_until_it_has_room(tmp_path: Path) -> None:
    witnesses = Witnesses(tmp_path)
    with SmallDisk(tmp_path / "small", 8 * MIB) as disk, Cluster(tmp_path, "--heartbeat-s", "0.3") as cluster:
        cluster.start_worker("SMALL", home=disk.path)
        cluster.start_worker("GENERAL")
        with cluster.client() as client:
            runs_on = client.submit_job(witnesses.job("runs-on", gate="end", requirement="SMALL"))
            wait_until(witnesses.started(runs_on.key), END_S)
            disk.fill()
            wait_until(lambda: any(worker.trouble for worker in client.workers()), END_S, client.workers)
            waits = client.submit_job(witnesses.job("waits", requirement="SMALL"))
            assert client.submit_job(witnesses.job("elsewhere")).result(END_S).state == "COMPLETED"
            assert str(disk.path) in cluster.cli("workers").stdout
            assert "can not write" in cluster.cli("explain", "waits").stdout
            witnesses.open("end")
            assert runs_on.result(END_S).state == "COMPLETED"
            status = client.job(waits)
            assert (status.state, status.attempts) == ("QUEUED", ())
            disk.clear()
            assert [attempt.outcome for attempt in waits.result(END_S).attempts] == ["SUCCEEDED"]
            assert not any(worker.trouble for worker in client.workers())
    assert len(witnesses.starts(runs_on.key)) == len(witnesses.starts(waits.key)) == 1
