"""Reactions that concern attempts: placed, started, finished, lost, and back from the lost.

An attempt is fenced by its token: a result counts only while the State knows the attempt as active, or
as lost with no newer attempt of its job.
"""

from __future__ import annotations

import hashlib

from titan_core.scheduler import jobs, retry
from titan_core.scheduler.actions import StartAttempt
from titan_core.scheduler.events import AttemptReport
from titan_core.scheduler.model import INFRASTRUCTURE, Attempt, Job, JobState, Outcome, Worker, WorkerState
from titan_core.scheduler.state import State

TOKEN_BYTES = 16


def start(state: State, job: Job, worker: Worker) -> None:
    """Place the job: a new attempt, with a token of its own."""
    if job.attempts:
        state.lost.pop(job.attempts[-1].token, None)
    number = len(job.attempts) + 1
    attempt = Attempt(job, number, token(job, number, state.term), worker.worker_id, state.now)
    job.attempts.append(attempt)
    job.started_at, job.finished_at = state.now, None
    hold(state, attempt, worker)
    jobs.move(state, job, JobState.RUNNING, f"on {worker.worker_id}")
    if job.satisfied:
        state.placement.rebind(job.children)
    state.act(StartAttempt(attempt))


def token(job: Job, number: int, term: int) -> bytes:
    """The fence of an attempt: 128 bits nobody can guess who does not know the run's secret. The term is in it since
    a home that was put back from a backup gives numbers a second time."""
    name = f"{job.key}#{number}@{term}".encode()
    return hashlib.blake2b(name, key=job.run.secret, digest_size=TOKEN_BYTES).digest()


def hold(state: State, attempt: Attempt, worker: Worker) -> None:
    """The attempt takes its place on the worker."""
    state.attempts[attempt.token] = attempt
    (worker.services if attempt.job.spec.service else worker.running)[attempt.token] = attempt
    state.placement.update(worker)


def release(state: State, attempt: Attempt) -> None:
    """The attempt is over, or lost: its place is free."""
    del state.attempts[attempt.token]
    worker = state.workers.get(attempt.worker_id)
    if worker is not None:
        (worker.services if attempt.job.spec.service else worker.running).pop(attempt.token, None)
        worker.recent.append(attempt)
        state.placement.update(worker)


def on_started(state: State, attempt: Attempt) -> None:
    """The process of a service is there: its children need not wait, nor need its run."""
    job = attempt.job
    if job.up or job.ending is not None or not job.spec.service:
        return
    was_open = job.open
    job.up = attempt.up = True
    jobs.note(state, job, f"up on {attempt.worker_id}")
    jobs.count_open(state, job, was_open)
    jobs.satisfy(state, job)


def on_finished(state: State, attempt: Attempt, report: AttemptReport) -> None:
    """The attempt ended, and this is the one report of it that counts."""
    release(state, attempt)
    attempt.finished_at = state.now
    attempt.outcome, attempt.exit_code = report.outcome, report.exit_code
    attempt.reason, attempt.peak_memory = report.reason, report.peak_memory
    job = attempt.job
    if job.ending is not None:
        (final, reason), job.ending = job.ending, None
        jobs.finish(state, job, final, reason)
    elif report.outcome is Outcome.SUCCEEDED:
        jobs.finish(state, job, JobState.COMPLETED, report.reason or "exit code 0")
    elif report.outcome in INFRASTRUCTURE:
        _on_interrupted(state, attempt)
    else:
        _on_failed(state, attempt)


def on_lost(state: State, attempt: Attempt, reason: str, crashed: bool = False) -> None:
    """Its worker is gone, and with it whatever the attempt did; `crashed`: another process has taken its place."""
    attempt.job.crashes += crashed
    on_finished(state, attempt, AttemptReport(attempt.token, Outcome.LOST, reason=reason))
    if attempt.job.state is JobState.QUEUED:
        state.lost[attempt.token] = attempt


def revive(state: State, attempt: Attempt, worker: Worker) -> None:
    """A lost attempt is back before a newer one began: it goes on as if it had never been given up."""
    del state.lost[attempt.token]
    job = attempt.job
    job.losses -= 1
    attempt.outcome, attempt.finished_at, attempt.reason = None, None, ""
    hold(state, attempt, worker)
    jobs.move(state, job, JobState.RUNNING, f"back on {worker.worker_id}")
    if attempt.up:
        on_started(state, attempt)


def _on_interrupted(state: State, attempt: Attempt) -> None:
    """Not the job's fault. A worker that stops politely costs it nothing; one that is in trouble and stays,
    such as with a full disk, gets a moment to recover."""
    job, worker = attempt.job, state.workers.get(attempt.worker_id)
    stays = worker.state if worker is not None and attempt.outcome is Outcome.INTERRUPTED else None
    if stays is not WorkerState.DRAINING:
        job.losses += 1
    refused = retry.refusal(attempt)
    if refused:
        _give_up(state, attempt, refused)
    elif stays is WorkerState.ONLINE:
        _pause(state, attempt, retry.trouble_backoff_s(attempt))
    else:
        jobs.enqueue(state, job, f"{attempt.reason}; runs again")


def _on_failed(state: State, attempt: Attempt) -> None:
    job = attempt.job
    job.failures += 1
    refused = retry.refusal(attempt)
    if refused:
        _give_up(state, attempt, refused)
    else:
        _pause(state, attempt, retry.backoff_s(attempt))


def _give_up(state: State, attempt: Attempt, reason: str) -> None:
    jobs.move(state, attempt.job, JobState.FAILED, attempt.reason)
    jobs.finish(state, attempt.job, JobState.DEAD, reason)


def _pause(state: State, attempt: Attempt, pause_s: float) -> None:
    reason = f"{attempt.reason}; {retry.describe(attempt)} in {pause_s:.1f} s"
    jobs.move(state, attempt.job, JobState.FAILED, reason)
    jobs.wake_at(state, attempt.job, state.now + pause_s)
