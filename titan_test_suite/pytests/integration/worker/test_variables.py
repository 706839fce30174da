"""What the jobs of a scheduled run are told: variables of their environment, and words in their arguments."""

from __future__ import annotations

import secrets

import pytest

from titan_core.protocol.messages import StartAttempt
from titan_test_suite.pytests.support.worker_master import WorkerMaster

pytestmark = pytest.mark.usefixtures("worker")

SAY = 'printf "%s|" "$TITAN_SCHEDULED_FOR" "$TITAN_SCHEDULE" "$@"'


def test_a_job_sees_for_when_it_runs(master: WorkerMaster) -> None:
    task = master.task(SAY, args=("--day={scheduled_for}", "{schedule}", "{}", "{other}"))
    variables = (("TITAN_SCHEDULED_FOR", "2026-11-25T02:00:00Z"), ("TITAN_SCHEDULE", "nightly"))
    order = StartAttempt(secrets.token_bytes(16), "run-1", "job", 1, task, variables=variables)
    master.send(order)
    assert master.result(order.token).outcome == "SUCCEEDED"
    said = master.log(order.token).decode()
    assert said == "2026-11-25T02:00:00Z|nightly|--day=2026-11-25T02:00:00Z|nightly|{}|{other}|"


def test_a_job_of_another_run_gets_its_arguments_as_they_are(master: WorkerMaster) -> None:
    token = master.start(SAY, args=("{scheduled_for}",))
    assert master.result(token).outcome == "SUCCEEDED"
    assert master.log(token).decode() == "||{scheduled_for}|"
