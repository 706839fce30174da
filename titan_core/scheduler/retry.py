"""Whether an attempt that ended badly is followed by another, when, and why not.

Two budgets: `retries` for a job that fails by itself, and INFRASTRUCTURE_BUDGET for attempts lost
with their worker. A job that was there at POISON_CRASHES crashes of workers is not given to another.
`max_attempts`, where given, bounds all together. A retry by hand renews everything. Services that are to be
kept running have rules of their own: see `restarts`.
"""

from __future__ import annotations

from titan_core.scheduler.model import Attempt
from titan_core.scheduler.states import INFRASTRUCTURE, INFRASTRUCTURE_BUDGET, POISON_CRASHES, Outcome

MAX_BACKOFF_S = 3600.0
TROUBLE_BACKOFF_S = 1.0
"""Before a job is tried again that its worker, a full disk say, could not run."""
_JITTER = 0.25
"""A backoff is up to this much shorter or longer, so that jobs that failed together do not return together."""


def backoff_s(attempt: Attempt) -> float:
    """Seconds until a job that failed runs again: doubles with each failure."""
    return doubled_s(attempt, attempt.job.spec.retry_backoff_s, attempt.job.failures)


def trouble_backoff_s(attempt: Attempt) -> float:
    """Seconds until a job runs again whose worker could not run it: doubles with each time."""
    return doubled_s(attempt, TROUBLE_BACKOFF_S, attempt.job.losses)


def doubled_s(attempt: Attempt, base_s: float, times: int, most_s: float = MAX_BACKOFF_S) -> float:
    """`base_s`, doubled with each of so many `times` after the first; jitter comes out of the attempt's token."""
    nominal_s = min(base_s * 2.0 ** min(times - 1, 30), most_s)
    fraction = int.from_bytes(attempt.token[:4], "big") / 2**32
    return nominal_s * (1 - _JITTER + 2 * _JITTER * fraction)


def refusal(attempt: Attempt) -> str:
    """Why no further attempt follows this failed or lost one; empty when one does."""
    return hopeless(attempt) or used_up(attempt) or _over_budget(attempt)


def hopeless(attempt: Attempt) -> str:
    """Why a parent keeps the job from running again; empty: none does."""
    parent = attempt.job.hopeless_parent
    if parent is None:
        return ""
    return f"{attempt.reason}; not tried again, since parent {parent.job_id} is {parent.state.value}"


def used_up(attempt: Attempt) -> str:
    """Why `max_attempts` keeps the job from running again; empty: it does not."""
    job, spec = attempt.job, attempt.job.spec
    used = len(job.attempts) - job.attempts_before
    if not spec.max_attempts or used < spec.max_attempts:
        return ""
    unknown = "outcome unknown: " if attempt.outcome is Outcome.LOST else ""
    attempts = "attempt" if used == 1 else "attempts"
    return f"{unknown}{attempt.reason}; {used} {attempts} of {spec.max_attempts} used"


def _over_budget(attempt: Attempt) -> str:
    job, spec = attempt.job, attempt.job.spec
    if attempt.outcome in INFRASTRUCTURE:
        if job.crashes >= POISON_CRASHES:
            return f"{attempt.reason}; it was running at {job.crashes} crashes of workers, and may be their cause"
        if job.losses > INFRASTRUCTURE_BUDGET:
            return f"{attempt.reason}; lost with its worker {job.losses} times, {INFRASTRUCTURE_BUDGET} is the most"
        return ""
    if job.failures > spec.retries:
        used = "its one retry" if spec.retries == 1 else f"all {spec.retries} retries"
        return f"{attempt.reason}; {used} used" if spec.retries else attempt.reason
    return ""


def describe(attempt: Attempt) -> str:
    """What the attempt after this one is: `retry 1 of 3`, or not the job's affair."""
    if attempt.outcome in INFRASTRUCTURE:
        return "runs again"
    return f"retry {attempt.job.failures} of {attempt.job.spec.retries}"
