"""Threads that interrupt nobody, and what they start."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from titan_core.worker import precedence
from titan_core.worker.process import Launch, start_process

SAY = f"#!{sys.executable}\nimport os\nprint(os.sched_getscheduler(0))\n"
"""By which policy it is scheduled."""


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
    assert output.read_text() == f"{os.SCHED_IDLE}\n"


def test_a_start_that_fails_leaves_the_thread_as_it_was() -> None:
    def do() -> None:
        precedence.give_way()
        given = os.sched_getscheduler(0)
        with pytest.raises(FileNotFoundError):
            start_process(Launch(["/nowhere"], "/", {}, 1))
        assert os.sched_getscheduler(0) == given

    before = os.sched_getscheduler(0)
    in_a_thread(do)
    assert os.sched_getscheduler(0) == before
