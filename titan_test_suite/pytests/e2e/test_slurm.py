"""The cluster grows into a real Slurm, with the script of docs/scaling.md, and gives back what it does not need."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.documents import ROOT, steps
from titan_test_suite.pytests.support.slurm import Slurm, refusal
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(refusal()), reason=refusal())]

SCALING = ROOT / "docs" / "scaling.md"
FAST = ("--grace-s", "0", "--scale-s", "0.5", "--scale-up-s", "0.2", "--scale-down-s", "1.5")


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """With the variables by which its commands find it, and its jobs the Python that has Titan."""
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for name, value in slurm.environ.items():
        monkeypatch.setenv(name, value)
    try:
        slurm.start()
    except AssertionError as error:
        pytest.skip(f"Slurm does not start here: {error}")
    yield slurm
    slurm.stop()


def test_a_job_of_slurm(slurm: Slurm, tmp_path: Path) -> None:
    """What the test below takes for granted."""
    said = slurm.ask("sbatch", "--output", f"{tmp_path}/out", "--wrap", "echo here")
    assert "Submitted batch job" in said
    wait_until(lambda: not slurm.jobs(), 15, slurm.said)
    wait_until((tmp_path / "out").exists)
    assert (tmp_path / "out").read_text() == "here\n"


def test_the_cluster_grows_into_slurm_and_out_of_it(
    slurm: Slurm, tmp_path: Path, script: Callable[[str, str], str]
) -> None:
    (batch,) = (step.text for step in steps(SCALING) if step.argument == "titan-worker.sbatch")
    command = f"sbatch --array=1-{{count}} {script('titan-worker.sbatch', batch)} {{capability}}"
    growing = ("--provisioner", "command", "--provision-command", command, "--max-workers", "3", *FAST)
    with Cluster(tmp_path, *growing) as cluster, cluster.client() as client:
        permanent = cluster.start_worker("GENERAL", "--permanent", slots=1)
        gate = tmp_path / "gate"
        waits = script("waits.sh", f"while ! test -e {gate}; do sleep 0.05; done")
        run = client.submit_dag("burst", [TitanJob(f"j{number}", waits) for number in range(3)])
        wait_until(lambda: running(client) == 3, 20, lambda: (slurm.said(), cluster.master.tail()))
        assert {*slurm.jobs()} == {"titan-worker"}
        gate.touch()
        assert run.result(timeout=20).state == "COMPLETED"
        wait_until(lambda: len(client.workers()) == 1, 20, cluster.master.tail)
        assert [worker.pid for worker in client.workers()] == [permanent.pid]
        wait_until(lambda: not slurm.jobs(), 15, slurm.said)


def running(client: TitanClient) -> int:
    """How many jobs run now, on all workers."""
    return sum(worker.used for worker in client.workers())
