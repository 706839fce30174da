"""Made-up definitions of schedules, decided by a dice; such that much is due within a history."""

from __future__ import annotations

import random

from titan_core.instants import utc_text
from titan_core.protocol.messages import Alert, JobSpec, ScheduleSpec, Task, Timing
from titan_test_suite.pytests.support.graphs import GOOD

PERIODS_S = (2, 3, 4, 5, 7, 10, 15, 20, 30, 60)
SELDOM_S = 86_400.0
"""Longer than a history."""


def rolled_schedule(dice: random.Random, name: str, wall: float, version: str) -> ScheduleSpec:
    """`version`: of a definition never seen."""
    return ScheduleSpec(
        name,
        rolled_timing(dice, wall),
        _rolled_jobs(dice, version),
        overlap=dice.choice(["skip", "skip", "queue", "queue", "allow", "replace", "replace"]),
        catch_up=dice.choice(["none", "last", "all", "all"]),
        catch_up_window_s=dice.choice([30.0, 120.0, 604800.0, 604800.0]),
        on_missed=_rolled_alert(dice),
        on_failure=_rolled_alert(dice),
    )


def rolled_timing(dice: random.Random, wall: float) -> Timing:
    """Mostly an interval; now and then one that begins at a time of its own, has an end, or is no interval at all."""
    period_s = dice.choice(PERIODS_S)
    jitter_s = dice.choice([0.0, 0.0, 0.0, period_s / 2, 2.0 * period_s])
    end = utc_text(wall + dice.randint(20, 200)) if dice.random() < 0.1 else ""
    match dice.randrange(10):
        case 0:
            return Timing(at=utc_text(wall + dice.randint(-5, 60)))
        case 1 | 2:
            field = dice.choice([f"*/{period_s}", f"{dice.randrange(10)}-59/{period_s}"])
            return Timing(cron=f"{field} * * * * *", seconds=True, jitter_s=jitter_s, end=end)
        case 3 | 4:
            start = utc_text(wall + dice.randint(-600, 20))
            return Timing(every_s=float(period_s), jitter_s=jitter_s, start=start, end=end)
        case _:
            return Timing(every_s=float(period_s), jitter_s=jitter_s, end=end)


def seldom() -> Timing:
    return Timing(every_s=SELDOM_S)


def _rolled_jobs(dice: random.Random, version: str) -> tuple[JobSpec, ...]:
    first = JobSpec(
        "extract",
        Task("x.sh", args=(version,)),
        requirement=dice.choice(["GENERAL"] * 9 + ["GPU"]),
        priority=dice.randrange(3),
        retries=dice.randrange(2),
    )
    load = JobSpec("load", Task("x.sh"), ("extract",), priority=dice.randrange(3))
    aside = JobSpec("aside", Task("x.sh", args=(GOOD, version)), service=True, min_uptime_s=1.0, scope="run")
    return dice.choice([(first,)] * 6 + [(first, load)] * 3 + [(first, aside)])


def _rolled_alert(dice: random.Random) -> Alert:
    match dice.randrange(4):
        case 0:
            return Alert("http://somebody")
        case 1:
            return Alert(jobs=(JobSpec("tell", Task("x.sh")),))
    return Alert()
