"""The places of a worker, and their threads."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest

from titan_core.protocol.messages import StartAttempt, Task
from titan_core.worker import slots as module
from titan_core.worker.control import Control
from titan_core.worker.slots import Slots
from titan_core.worker.turn import TURN
from titan_test_suite.pytests.support.waiting import wait_until

LONG_S = 20.0


def control(name: str, service: bool = False) -> Control:
    return Control(StartAttempt(name.encode().ljust(16), "run", name, 1, Task("job.py"), service))


def test_as_many_threads_as_are_needed_at_once_take_one_attempt_after_the_other() -> None:
    seen, may_end = [], threading.Semaphore(0)

    def work(control: Control) -> None:
        seen.append((control.start.job_id, threading.current_thread().name))
        assert may_end.acquire(timeout=LONG_S)

    slots = Slots(2, 1, work)
    for name in ("a", "b"):
        assert slots.start(control(name))
        wait_until(lambda: len(seen) == slots.counts()[0])
    assert slots.start(control("service", service=True)) and not slots.start(control("another", service=True))
    wait_until(lambda: len(seen) == 3)
    may_end.release(3)
    assert slots.wait_until_idle(LONG_S)
    assert slots.start(control("c"))
    wait_until(lambda: len(seen) == 4)
    may_end.release()
    slots.close()
    threads = dict(seen)
    assert {threads["a"], threads["b"]} == {"slot-0", "slot-1"} and threads["c"] in ("slot-0", "slot-1")
    assert threads["service"] == "service-0"


def test_an_attempt_that_fails_in_the_worker_leaves_its_slot_to_others(caplog: pytest.LogCaptureFixture) -> None:
    seen = []

    def work(control: Control) -> None:
        seen.append(control.start.job_id)
        if control.start.job_id == "bad":
            raise RuntimeError("a defect")

    slots = Slots(1, 1, work)
    with caplog.at_level(logging.ERROR):
        assert slots.start(control("bad")) and slots.start(control("good"))
        assert slots.wait_until_idle(LONG_S)
    slots.close()
    assert seen == ["bad", "good"]
    assert "a defect" in caplog.text


def test_a_thread_without_work_does_what_others_have_left_and_goes_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    done = []

    def work(control: Control) -> None:
        TURN._left.append(lambda: done.append(control.start.job_id))

    slots = Slots(1, 1, work)
    for name in ("a", "b"):
        assert slots.start(control(name))
        wait_until(lambda name=name: done[-1:] == [name])  # type: ignore[misc]
        wait_until(lambda: slots._job_threads._serving == 0)
    slots.close()


def test_slots_that_nobody_closes_keep_no_program_from_its_end() -> None:
    program = """
from titan_core.worker.slots import Slots
from titan_test_suite.pytests.unit.test_slots import control

slots = Slots(1, 1, lambda control: None)
assert slots.start(control("a")) and slots.wait_until_idle(20)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=LONG_S, check=False).returncode == 0
