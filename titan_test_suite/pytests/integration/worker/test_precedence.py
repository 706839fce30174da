"""Whom a worker's threads interrupt, and that nobody's jobs are concerned."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from titan_core.worker import precedence
from titan_core.worker.app import Worker
from titan_core.worker.process import Launch, start_process
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

SAY = f"#!{sys.executable}\nimport os, sys\nprint('base64' in sys.modules, os.sched_getscheduler(0))\n"
"""Whether it was started warm, and by which policy it is scheduled."""


@pytest.fixture
def worker(master: WorkerMaster, start_worker: StartWorker) -> Worker:
    worker = start_worker()
    master.wait_for_worker()
    wait_until(lambda: worker.warm.server_pid)
    return worker


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("warm", [True, False])
def test_slots_give_way_and_jobs_do_not(master: WorkerMaster, warm: bool) -> None:
    token = master.start(SAY + "import time\nwhile True: time.sleep(1)\n", "job.py", warm=warm)
    assert wait_until(lambda: master.log(token)).split() == [str(warm).encode(), b"%d" % os.SCHED_OTHER]
    slots = [thread for thread in threading.enumerate() if thread.name.startswith("slot-")]
    assert {os.sched_getscheduler(slot.native_id or 0) for slot in slots} == {os.SCHED_BATCH}
    master.stop(token)
    assert master.result(token).outcome == "STOPPED"


def in_a_thread(do: Callable[[], None]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def choose_idle() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


@pytest.mark.parametrize(
    "steps", [(choose_idle, precedence.give_way), (precedence.give_way, choose_idle)], ids=["before", "later"]
)
def test_a_policy_that_somebody_has_chosen_is_kept_and_handed_on(
    tmp_path: Path, steps: tuple[Callable[[], None], ...]
) -> None:
    program, output = tmp_path / "say", tmp_path / "output"
    program.write_text(SAY)
    program.chmod(0o755)

    def do() -> None:
        for step in steps:
            step()
        with open(output, "wb") as file:
            start_process(Launch([str(program)], "/", {}, file.fileno())).wait()
        assert os.sched_getscheduler(0) == os.SCHED_IDLE

    in_a_thread(do)
    assert output.read_text().split()[1] == f"{os.SCHED_IDLE}"


def test_a_start_that_fails_leaves_the_thread_as_it_was() -> None:
    def do() -> None:
        precedence.give_way()
        with pytest.raises(FileNotFoundError):
            start_process(Launch(["/nowhere"], "/", {}, 1))
        assert os.sched_getscheduler(0) == os.SCHED_BATCH

    in_a_thread(do)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
