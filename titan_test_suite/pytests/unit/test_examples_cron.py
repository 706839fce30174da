"""The examples of schedules, by a fake clock: when they fire, and in which order their jobs begin."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from titan_core.protocol import messages
from titan_core.scheduler.events import ScheduleDefined, WallClockSet
from titan_core.scheduler.schedule_model import Definition
from titan_core.store.definitions import definition
from titan_sdk.jobs import TitanJob
from titan_sdk.schedule_fields import Schedule
from titan_test_suite.pytests.support.cluster_model import Cluster
from titan_test_suite.pytests.support.examples import EXAMPLES, example

HOUR_S = 3600.0


def made(path: str) -> Definition:
    """The definition that the master would make of an example; what its files hold does not matter here."""
    pipeline = example(path)
    assert pipeline.schedule is not None
    return definition(_spec(pipeline.name, pipeline.schedule, pipeline.jobs))


def _spec(name: str, schedule: Schedule, jobs: list[TitanJob]) -> messages.ScheduleSpec:
    timing = messages.Timing(
        schedule.cron, schedule.every, timezone=schedule.timezone, jitter_s=schedule.jitter, anchor_wall=1.0
    )
    specs = tuple(
        messages.JobSpec(job.job_id, messages.Task(job.filename, args=job.args), job.parents, job.requirement)
        for job in jobs
    )
    alert = messages.Alert(jobs=specs[:1]) if schedule.on_failure else messages.Alert()
    return messages.ScheduleSpec(
        name, timing, specs, schedule.overlap, schedule.catch_up, schedule.catch_up_window, on_failure=alert
    )


class Night:
    """A cluster with a GENERAL and a GPU worker, whose wall clock begins where it is told to."""

    def __init__(self, path: str, begin: str) -> None:
        self.cluster = Cluster()
        wall = datetime.fromisoformat(begin).timestamp()
        self.cluster.handle(WallClockSet(wall - self.cluster.now))
        self.cluster.join("general")
        self.cluster.join("gpu", "GPU")
        self.cluster.handle(ScheduleDefined(made(path), b"s" * 16))

    def wait_for_a_fire(self) -> datetime:
        """Let time pass until it fires; when that is, to the second."""
        before = len(self.cluster.core.state.runs)
        while len(self.cluster.core.state.runs) == before:
            due_at = self.cluster.core.next_due_at()
            assert due_at is not None
            self.cluster.advance(due_at - self.cluster.now)
        return datetime.fromtimestamp(self.cluster.core.state.wall, UTC)

    def work(self) -> list[str]:
        """Have all jobs of the newest run end well; their ids, in the order in which they began."""
        run = next(reversed(self.cluster.core.state.runs.values()))
        begun: list[str] = []
        while run.open_jobs:
            for job_id in self.cluster.running():
                begun.append(job_id)
                self.cluster.finish(f"{run.run_id}/{job_id}")
        return begun


def test_every_example_is_looked_at() -> None:
    assert {path.stem for path in (EXAMPLES / "cron").glob("*.yaml")} == {"gpu_hourly", "nightly_etl", "fan_out"}


def test_gpu_hourly() -> None:
    night = Night("cron/gpu_hourly.yaml", "2026-11-25T22:10:00+00:00")
    fired = []
    for _ in range(3):
        fired.append(night.wait_for_a_fire().isoformat())
        assert night.cluster.place("embed") == "gpu"
        night.work()
    assert fired == ["2026-11-25T23:00:00+00:00", "2026-11-26T00:00:00+00:00", "2026-11-26T01:00:00+00:00"]


def test_gpu_hourly_skips_an_hour_while_the_one_before_goes_on() -> None:
    night = Night("cron/gpu_hourly.yaml", "2026-11-25T22:10:00+00:00")
    night.wait_for_a_fire()
    night.cluster.advance(2 * HOUR_S)
    assert [fire.outcome.value for fire in night.cluster.core.state.schedules["gpu_hourly"].recent] == [
        "RAN", "SKIPPED", "SKIPPED",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        ("2026-11-25T12:00:00+00:00", "2026-11-26T01:00:00+00:00"),
        ("2026-06-25T12:00:00+00:00", "2026-06-26T00:00:00+00:00"),
        ("2026-03-28T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),  # 02:00 is skipped: right after, at 03:00 there
        ("2026-10-24T12:00:00+00:00", "2026-10-25T00:00:00+00:00"),  # 02:00 comes twice: the first time
    ],
)
def test_nightly_etl_in_sequence_at_two_in_berlin(begin: str, expected: str) -> None:
    night = Night("cron/nightly_etl.yaml", begin)
    assert night.wait_for_a_fire().isoformat() == expected
    assert night.work() == ["extract", "transform", "load"]
    following = night.wait_for_a_fire() - datetime.fromisoformat(expected)
    assert 23 * HOUR_S <= following.total_seconds() <= 25 * HOUR_S, "once in that night"


def test_a_fan_out_begins_side_by_side() -> None:
    night = Night("cron/fan_out.yaml", "2026-11-25T12:01:00+00:00")
    first = night.wait_for_a_fire()
    assert sorted(night.cluster.running()) == ["count_0", "count_1", "count_2", "count_3"]
    assert night.work()[-1] == "report"
    apart_s = (night.wait_for_a_fire() - first).total_seconds()
    assert 900 - 30 < apart_s < 900 + 30, "every quarter of an hour, with up to 30 s of jitter"
