"""A worker in this process, and a scripted master for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.config import WorkerConfig
from titan_core.worker.app import Worker
from titan_test_suite.pytests.support.disks import MIB, SmallDisk, refusal
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

StartWorker = Callable[..., Worker]


@pytest.fixture
def master() -> Iterator[WorkerMaster]:
    master = WorkerMaster()
    yield master
    master.close()


@pytest.fixture
def start_worker(master: WorkerMaster, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts workers of `master`; fields of their WorkerConfig by keyword."""
    workers: list[Worker] = []

    def start(token: str = TOKEN, alone: bool = False, **settings: object) -> Worker:
        defaults = {
            "home": tmp_path,
            "port": 0,
            "master_host": "127.0.0.1",
            "master_port": master.port,
            "hostname": "here",
            "reconnect_min_s": 0.01,
            "reconnect_max_s": 0.05,
            "shutdown_grace_s": 1.0,
        }
        worker = Worker(WorkerConfig(**{**defaults, **settings}), token, alone)  # type: ignore[arg-type]
        workers.append(worker)
        worker.start()
        return worker

    yield start
    master.read_gate.set()
    master.fetch_gate.set()
    for worker in workers:
        worker.stop()
    for worker in workers:
        assert worker.join(15), worker.threads()


@pytest.fixture
def worker(master: WorkerMaster, start_worker: StartWorker) -> Worker:
    """A running worker, registered."""
    worker = start_worker()
    master.wait_for_worker()
    return worker


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """What the jobs that a test starts share; there once one has been started."""
    return tmp_path / "titan_workspace" / "shared" / "run-1"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 4 MiB; skips the test of a user who may not mount one."""
    why = refusal()
    if why:
        pytest.skip(why)
    with SmallDisk(tmp_path / "disk", 4 * MIB) as disk:
        yield disk
