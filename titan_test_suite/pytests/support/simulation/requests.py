"""What people come up with to ask of services and workers; decided by a dice, granted or not."""

from __future__ import annotations

import random
from collections.abc import Sequence

from titan_core.scheduler.events import (
    DeadRetryRequested,
    Event,
    JobCancelRequested,
    JobRetryRequested,
    RunCancelRequested,
    RunRetryRequested,
    ServiceRestartRequested,
    ServiceScaleRequested,
    ServiceStartRequested,
    ServiceStopRequested,
    ServiceUpdateRequested,
    WorkerHoldRequested,
    WorkerShutdownRequested,
    WorkerStartRequested,
)
from titan_core.scheduler.model import JobSpec
from titan_test_suite.pytests.support.graphs import INSTANCES_MOST, rolled_update

PORTS = (8090, 8099)
"""Of workers that are started later."""


def about_a_job(dice: random.Random, run_id: str, job_id: str) -> Event:
    """A job of this run, or the run, or all that is DEAD."""
    match dice.randrange(10):
        case 0 | 1:
            return JobCancelRequested(run_id, job_id, "not wanted")
        case 2:
            return RunCancelRequested(run_id, "not wanted")
        case 3 | 4:
            return ServiceStopRequested(run_id, job_id, "enough")
        case 5 | 6 | 7:
            return JobRetryRequested(run_id, job_id)
        case 8:
            return RunRetryRequested(run_id)
        case _:
            return DeadRetryRequested()


def about_a_service(dice: random.Random, run_id: str, spec: JobSpec, version: str) -> Event:
    """The service of this name, one of its instances, or all of the run; `version`: of a definition never seen."""
    name = dice.choice(["", f"{spec.job_id}.2", *[spec.job_id] * 6])
    match dice.randrange(12):
        case 0:
            return JobCancelRequested(run_id, name or spec.job_id, "not wanted")
        case 1:
            return JobRetryRequested(run_id, name or spec.job_id)
        case 2:
            return ServiceStopRequested(run_id, name, "enough")
        case 3 | 4:
            return ServiceStartRequested(run_id, name)
        case 5 | 6:
            return ServiceRestartRequested(run_id, name)
        case 7 | 8 | 9:
            return ServiceScaleRequested(run_id, name or spec.job_id, dice.randint(1, INSTANCES_MOST))
        case _:
            return ServiceUpdateRequested(run_id, name or spec.job_id, rolled_update(dice, spec, version))


def about_a_worker(dice: random.Random, worker_ids: Sequence[str]) -> Event:
    worker_id = dice.choice(worker_ids)
    match dice.randrange(4):
        case 0:
            return WorkerHoldRequested(worker_id, undo=dice.random() < 0.6)
        case 1:
            capability = dice.choice(["", "", "GENERAL", "GPU"])
            return WorkerStartRequested(dice.randint(*PORTS), capability, dice.choice(["", worker_id]))
        case _:
            return WorkerShutdownRequested(worker_id, force=dice.random() < 0.3, now=dice.random() < 0.3)
