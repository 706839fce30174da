"""What a master finds in its home when it starts: another master, its own past, damage, more than it is to keep."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk import TitanClient
from titan_sdk.errors import NotFound
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.witnesses import Witnesses

pytestmark = pytest.mark.e2e

END_S = 30.0
REMEDY = "restore a backup that `titan backup` wrote, or move this file away to begin anew"


@pytest.fixture
def port() -> tuple[str, str]:
    return ("--port", str(free_port()))


@pytest.fixture
def cluster(tmp_path: Path, port: tuple[str, str]) -> Iterator[Cluster]:
    with Cluster(tmp_path, *port) as cluster:
        cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.5"
        yield cluster


def test_a_second_master_of_a_home_is_refused_and_the_first_is_unharmed(cluster: Cluster) -> None:
    address = (cluster.home / ".titan" / "master.json").read_text()
    said = cluster.start_master_in_vain()
    assert f"another master (pid {cluster.master.pid}) runs on this home" in said
    assert (cluster.home / ".titan" / "master.json").read_text() == address
    cluster.start_worker()
    with cluster.client() as client:
        assert client.submit_job(Witnesses(cluster.home).job("unharmed")).result(END_S).state == "COMPLETED"


def test_a_master_that_was_stopped_goes_on_like_one_that_was_killed(cluster: Cluster, port: tuple[str, str]) -> None:
    witnesses = Witnesses(cluster.home)
    cluster.start_worker()
    with cluster.client() as client:
        running = client.submit_job(witnesses.job("running", gate="end"))
        wait_until(witnesses.started(running.key), END_S)
    assert cluster.master.stop() == 0
    witnesses.open("end")
    cluster.start_master(*port)
    with cluster.client() as client:
        assert [attempt.outcome for attempt in client.wait_for_job(running, END_S).attempts] == ["SUCCEEDED"]
    assert len(witnesses.starts(running.key)) == 1


def test_a_master_in_memory_keeps_nothing_and_its_workers_end_what_they_run(
    tmp_path: Path, port: tuple[str, str]
) -> None:
    witnesses = Witnesses(tmp_path)
    with Cluster(tmp_path, *port, "--in-memory") as cluster:
        cluster.environ["TITAN_WORKER_RECONNECT_MAX_S"] = "0.5"
        cluster.start_worker()
        with cluster.client() as client:
            running = client.submit_job(witnesses.job("running", gate="never"))
            wait_until(witnesses.started(running.key), END_S)
        cluster.master.kill()
        cluster.start_master(*port, "--in-memory")
        with cluster.client() as client:
            wait_until(client.workers, END_S)
            wait_until(
                lambda: not Path(f"/proc/{witnesses.starts(running.key)[0].pid}").exists(), END_S, "it runs on"
            )
            assert client.runs() == ()
            with pytest.raises(NotFound):
                client.job(running)
            assert client.submit_job(witnesses.job("new")).result(END_S).state == "COMPLETED"
        assert not (tmp_path / ".titan" / "state.db").exists()


def test_a_damaged_state_is_refused_with_what_to_do_and_left_as_it_is(
    cluster: Cluster, port: tuple[str, str]
) -> None:
    cluster.start_worker()
    witnesses = Witnesses(cluster.home)
    with cluster.client() as client:
        client.submit_dag("many", [witnesses.job(f"job-{number}") for number in range(50)]).result(END_S)
    assert cluster.master.stop() == 0
    state = cluster.home / ".titan" / "state.db"
    sound = state.read_bytes()
    half = len(sound) // 8192 * 4096
    for damaged in (sound[:half], b"x" * 4096 + sound[4096:], b"no database", sound[:half] + b"x" * half):
        state.write_bytes(damaged)
        said = cluster.start_master_in_vain(*port)
        assert REMEDY in said, said
        assert state.read_bytes() == damaged
    state.write_bytes(sound)
    cluster.start_master(*port)
    with cluster.client() as client:
        assert client.runs()[0].state == "COMPLETED"


def test_runs_beyond_those_that_are_kept_go_and_what_they_left_too(cluster: Cluster, port: tuple[str, str]) -> None:
    witnesses = Witnesses(cluster.home)
    cluster.start_worker()
    with cluster.client() as client:
        live = client.submit_job(witnesses.job("live", gate="end"))
        job = witnesses.job("old", "echo said; note start; note end")
        old = [client.submit_job(job).result(END_S) for _ in range(5)]  # one after the other: by their end they go
    for flags in ((), ("--keep-runs", "3")):
        cluster.master.stop()
        cluster.start_master(*port, *flags)
    gone, kept = [job.run_id for job in old[:2]], [job.run_id for job in old[2:]]
    with cluster.client() as client:
        wait_until(lambda: not known(client, cluster, gone[0]) and not known(client, cluster, gone[1]), END_S)
        for run_id in gone:
            with pytest.raises(NotFound):
                client.run(run_id)
            with pytest.raises(NotFound):
                client.fetch_logs(f"{run_id}/old")
        listed = [run["run_id"] for run in json.loads(cluster.cli("ls", "--json").stdout)]
        assert sorted(listed) == sorted([live.run_id, *kept])
        for run_id in kept:
            assert client.fetch_logs(f"{run_id}/old") == "said\n"
            assert (cluster.home / "titan_workspace" / "jobs" / run_id).is_dir()
        witnesses.open("end")
        assert client.wait_for_job(live, END_S).state == "COMPLETED"
    assert len(witnesses.starts(live.key)) == 1


def known(client: TitanClient, cluster: Cluster, run_id: str) -> bool:
    """Whether there is anything of the run: with the master, or on the disk of the worker."""
    places = ("titan_workspace/jobs", "titan_workspace/shared", ".titan/logs")
    left = any((cluster.home / place / run_id).exists() for place in places)
    return left or run_id in [run.run_id for run in client.runs()]
