"""Whether, when and where a service that ended by itself runs again. Pure functions of the model.

    exit, crash, time-out, unhealthy ─▶ at once the first time, then after a pause that doubles
    too often, or too often in a row ─▶ CRASHLOOP: a long rest, then one try
    lost with its worker             ─▶ at once, elsewhere; no budget is used

A good attempt, one that lasted `min_uptime_s`, makes the next restart the first one again.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from titan_core.scheduler import retry
from titan_core.scheduler.model import Attempt, Job, Service
from titan_core.scheduler.settings import Settings
from titan_core.scheduler.states import INFRASTRUCTURE, POISON_CRASHES, JobState, Outcome, Restart

CRASH_LOOP_S = 600.0
"""The time in which more restarts than `crash_loop_restarts` are a crash loop."""
FIRST_PAUSE_S = 0.5
"""Before the second restart in a row; doubles with each further one."""
MOVES_AFTER = 3
"""Failures in a row on one worker after which another one is preferred."""


class Verdict(NamedTuple):
    """What becomes of the job: COMPLETED or DEAD, QUEUED at once, or FAILED or CRASHLOOP for `pause_s`."""

    state: JobState
    reason: str
    pause_s: float = 0.0


def restarts(job: Job) -> bool:
    """Whether it is a service to which these rules apply."""
    return job.spec.service and job.spec.policy.restart is not Restart.NEVER


def was_good(attempt: Attempt, now: float) -> bool:
    """Whether the attempt lasted long enough for what came before it to be forgotten."""
    return now - attempt.started_at >= attempt.job.spec.policy.min_uptime_s


def on_trial(service: Service, now: float) -> bool:
    """Whether its newest definition may still be taken back: no instance has served with it for `min_uptime_s`."""
    return service.fallback > 0 and (service.rolling or not any(_is_proven(job, now) for job in service.live))


def _is_proven(job: Job, now: float) -> bool:
    assert job.service is not None
    attempt = job.attempt
    runs = attempt is not None and attempt.outcome is None and job.ready
    return runs and job.revision == job.service.revision and was_good(job.attempts[-1], now)


def verdict(attempt: Attempt, settings: Settings, now: float) -> Verdict:
    """What follows the end of this attempt. The job's `failures`, `losses` and `crashes` count it already."""
    job = attempt.job
    refused = retry.hopeless(attempt) or retry.used_up(attempt)
    if refused:
        return Verdict(JobState.DEAD, refused)
    if attempt.outcome is Outcome.SUCCEEDED and job.spec.policy.restart is Restart.ON_FAILURE:
        return Verdict(JobState.COMPLETED, cause(attempt))
    if attempt.outcome in INFRASTRUCTURE:
        return _after_loss(attempt, settings)
    often = _too_often(job, settings, now)
    if often:
        return _crash_loop(attempt, f"{often}, at last: {cause(attempt)}", settings)
    pause_s = _pause_s(attempt, settings)
    if not pause_s:
        return Verdict(JobState.QUEUED, f"{cause(attempt)}; {describe(job)}")
    return Verdict(JobState.FAILED, f"{cause(attempt)}; {describe(job)} in {pause_s:.1f} s", pause_s)


def count(job: Job) -> int:
    """How often it was started again since it was submitted, or since a person started it."""
    return max(0, len(job.attempts) - job.attempts_before - 1)


def describe(job: Job) -> str:
    """What the attempt to come is called."""
    return f"restart {len(job.attempts) - job.attempts_before}"


def cause(attempt: Attempt) -> str:
    return attempt.reason or f"exit code {attempt.exit_code}"


def shunned_worker_id(job: Job) -> str:
    """The worker on which its last attempts failed, one as quickly as the other; empty: there is none."""
    last = job.attempts[-MOVES_AFTER:]
    if len(last) < MOVES_AFTER or last[0].number <= job.attempts_before:
        return ""
    where = {attempt.worker_id for attempt in last}
    bad = all(attempt.outcome not in INFRASTRUCTURE and _was_short(attempt) for attempt in last)
    return where.pop() if bad and len(where) == 1 else ""


def _after_loss(attempt: Attempt, settings: Settings) -> Verdict:
    if attempt.job.crashes >= POISON_CRASHES:
        crashes = f"was there at {attempt.job.crashes} crashes of workers, and may be their cause"
        return _crash_loop(attempt, crashes, settings)
    return Verdict(JobState.QUEUED, f"{attempt.reason}; runs again")


def _too_often(job: Job, settings: Settings, now: float) -> str:
    """How it ended too often, or too often in a row; empty: it did not."""
    if job.failures > settings.crash_loop_restarts:
        return f"ended {job.failures} times in a row"
    recent = _recent(job, now)
    return f"restarted {recent} times in {CRASH_LOOP_S:g} s" if recent >= settings.crash_loop_restarts else ""


def _crash_loop(attempt: Attempt, why: str, settings: Settings) -> Verdict:
    rest_s = settings.crash_loop_retry_s
    reason = f"crash loop: {why}; tried again in {rest_s:g} s, or at once by `titan start {attempt.job.job_id}`"
    return Verdict(JobState.CRASHLOOP, reason, rest_s)


def _pause_s(attempt: Attempt, settings: Settings) -> float:
    failures = attempt.job.failures
    if failures <= 1:
        return 0.0
    return retry.doubled_s(attempt, FIRST_PAUSE_S, failures - 1, settings.restart_max_s)


def _recent(job: Job, now: float) -> int:
    """Restarts within CRASH_LOOP_S; those after a loss of the worker do not count."""
    begun = (attempt for attempt in reversed(job.attempts) if attempt.number > job.attempts_before + 1)
    latest = itertools.takewhile(lambda attempt: attempt.started_at > now - CRASH_LOOP_S, begun)
    return sum(job.attempts[attempt.number - 2].outcome not in INFRASTRUCTURE for attempt in latest)


def _was_short(attempt: Attempt) -> bool:
    return attempt.finished_at is not None and not was_good(attempt, attempt.finished_at)
