"""Reactions that concern attempts: placed, started, finished, lost, and back from the lost.

An attempt is fenced by its token: a result counts only while the State knows the attempt as active, or
as lost with no newer attempt of its job.
"""

from __future__ import annotations

import hashlib

from titan_core.scheduler import jobs, restarts, retry
from titan_core.scheduler.actions import ShutDownWorker, StartAttempt, StopAttempt
from titan_core.scheduler.events import AttemptReport
from titan_core.scheduler.model import Attempt, Job, Service, Worker
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FINAL, INFRASTRUCTURE, JobState, Outcome, WorkerState

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
    state.act(StartAttempt(attempt, addresses(state, job)))


def token(job: Job, number: int, term: int) -> bytes:
    """The fence of an attempt: 128 bits nobody can guess who does not know the run's secret. The term is in it since
    a home that was put back from a backup gives numbers a second time."""
    name = f"{job.key}#{number}@{term}".encode()
    return hashlib.blake2b(name, key=job.run.secret, digest_size=TOKEN_BYTES).digest()


def hold(state: State, attempt: Attempt, worker: Worker) -> None:
    """The attempt takes its place on the worker."""
    state.attempts[attempt.token] = attempt
    _places(attempt, worker)[attempt.token] = attempt
    worker.idle_since = None
    state.placement.update(worker, services=False)


def release(state: State, attempt: Attempt) -> None:
    """The attempt is over, or lost: its place is free."""
    del state.attempts[attempt.token]
    worker = state.workers.get(attempt.worker_id)
    if worker is None:
        return
    _places(attempt, worker).pop(attempt.token, None)
    worker.recent.append(attempt)
    if not worker.running and not worker.services:
        worker.idle_since = state.now
        state.growth.idled = state.growth.idled or worker.info.ephemeral
    state.placement.update(worker, attempt.job.spec.service)
    send_shutdown_once_idle(state, worker)


def send_shutdown_once_idle(state: State, worker: Worker) -> None:
    """Of a worker that is to be gone, the jobs may end; its services start elsewhere."""
    if worker.shutting_down and not worker.shutdown_sent and not worker.running:
        worker.shutdown_sent = True
        state.act(ShutDownWorker(worker.worker_id))


def _places(attempt: Attempt, worker: Worker) -> dict[bytes, Attempt]:
    return worker.services if attempt.job.spec.service else worker.running


def addresses(state: State, job: Job) -> tuple[tuple[str, str], ...]:
    """The services of its run that are ready, each at the address of one instance."""
    found = ((name, address_of(state, service)) for name, service in job.run.services.items())
    return tuple((name, address) for name, address in found if address)


def address_of(state: State, service: Service) -> str:
    """`host:port` of an instance that is ready; empty: there is none, or it has no port."""
    return next(filter(None, (address(state, job) for job in service.instances)), "")


def address(state: State, job: Job) -> str:
    """`host:port` where a service is reached now; empty: nowhere."""
    attempt = job.attempt
    if not job.ready or attempt is None or not attempt.port:
        return ""
    worker = state.workers.get(attempt.worker_id)
    host = (worker.info.address or worker.info.host) if worker is not None else ""
    return f"[{host}]:{attempt.port}" if ":" in host else f"{host}:{attempt.port}" if host else ""


def on_ready(state: State, attempt: Attempt, port: int) -> None:
    """A service answers: its children need not wait, nor need its run."""
    job = attempt.job
    if job.ready or job.ending is not None or not job.spec.service:
        return
    was_open = job.open
    job.ready = attempt.ready = True
    attempt.port = port
    jobs.note(state, job, f"ready on {attempt.worker_id}")
    jobs.count_open(state, job, was_open)
    jobs.satisfy(state, job)
    if job.service is not None:
        _satisfy_head(state, job.service.head)
        state.unsettled[job.service] = None


def _satisfy_head(state: State, head: Job) -> None:
    """Children wait for the service, which is any of its instances."""
    if not head.satisfied:
        jobs.satisfy(state, head)
        jobs.note(state, head, head.reason)


def end(state: State, job: Job, then: JobState, reason: str) -> None:
    """Have the worker stop it, to become `then`; until the worker says it has, the job is RUNNING and its slot is
    taken."""
    attempt = job.attempts[-1]
    job.ending = (then, reason)
    attempt.stopping = True
    jobs.withdraw_ready(state, job)
    jobs.note(state, job, f"stopping: {reason}")
    state.act(StopAttempt(attempt.worker_id, attempt.token, reason))


def on_finished(state: State, attempt: Attempt, report: AttemptReport) -> None:
    """The attempt ended, and this is the one report of it that counts."""
    release(state, attempt)
    attempt.finished_at = state.now
    attempt.outcome, attempt.exit_code = report.outcome, report.exit_code
    attempt.reason, attempt.peak_memory = report.reason, report.peak_memory
    job = attempt.job
    if job.ending is not None:
        (then, reason), job.ending = job.ending, None
        if then is JobState.QUEUED and job.hopeless_parent:
            jobs.finish(state, job, JobState.CANCELLED, retry.hopeless(attempt))
        elif then is JobState.QUEUED:
            jobs.renew(state, job, reason)
        else:
            jobs.finish(state, job, then, reason)
    elif restarts.restarts(job):
        _on_service_ended(state, attempt)
    elif report.outcome is Outcome.SUCCEEDED:
        jobs.finish(state, job, JobState.COMPLETED, report.reason or "exit code 0")
    elif report.outcome in INFRASTRUCTURE:
        _on_interrupted(state, attempt)
    else:
        _on_failed(state, attempt)


def _on_service_ended(state: State, attempt: Attempt) -> None:
    """By itself, or with its worker. A revision that does not hold is taken back (see `services`)."""
    job, service = attempt.job, attempt.job.service
    lost, good = attempt.outcome in INFRASTRUCTURE, restarts.was_good(attempt, state.now)
    if good:
        job.failures = job.losses = job.crashes = 0
    job.losses += lost
    job.failures += not lost
    bad = not lost and not (good and attempt.ready)
    if bad and service and job.revision == service.revision and restarts.on_trial(service, state.now):
        service.broken = restarts.cause(attempt)
    verdict = restarts.verdict(attempt, state.settings, state.now)
    if verdict.state in FINAL:
        _end_with(state, job, verdict.state, verdict.reason)
    elif _stays(state, attempt):
        _pause(state, attempt, min(retry.trouble_backoff_s(attempt), state.settings.restart_max_s))
    elif verdict.state is JobState.QUEUED:
        jobs.enqueue(state, job, verdict.reason)
    else:
        _rest(state, job, verdict)


def _end_with(state: State, job: Job, final: JobState, reason: str) -> None:
    if final is JobState.DEAD:
        jobs.move(state, job, JobState.FAILED, job.attempts[-1].reason)
    jobs.finish(state, job, final, reason)


def _rest(state: State, job: Job, verdict: restarts.Verdict) -> None:
    jobs.move(state, job, JobState.FAILED, verdict.reason)
    if verdict.state is JobState.CRASHLOOP:
        jobs.move(state, job, JobState.CRASHLOOP, verdict.reason)
    jobs.wake_at(state, job, state.now + verdict.pause_s)


def on_lost(state: State, attempt: Attempt, reason: str, crashed: bool = False) -> None:
    """Its worker is gone, and with it whatever the attempt did; `crashed`: another process has taken its place."""
    renewed = attempt.job.ending is not None
    attempt.job.crashes += crashed
    on_finished(state, attempt, AttemptReport(attempt.token, Outcome.LOST, reason=reason))
    if attempt.job.state is JobState.QUEUED and not renewed:
        state.lost[attempt.token] = attempt


def revive(state: State, attempt: Attempt, worker: Worker) -> None:
    """A lost attempt is back before a newer one began: it goes on as if it had never been given up."""
    del state.lost[attempt.token]
    job = attempt.job
    job.losses -= 1
    attempt.outcome, attempt.finished_at, attempt.reason = None, None, ""
    hold(state, attempt, worker)
    jobs.move(state, job, JobState.RUNNING, f"back on {worker.worker_id}")
    if attempt.ready:
        on_ready(state, attempt, attempt.port)


def _on_interrupted(state: State, attempt: Attempt) -> None:
    """Not the job's fault. A worker that stops politely costs it nothing; one that is in trouble and stays,
    such as with a full disk, gets a moment to recover."""
    job, worker = attempt.job, state.workers.get(attempt.worker_id)
    leaves = worker is not None and worker.state is WorkerState.DRAINING
    if not (leaves and attempt.outcome is Outcome.INTERRUPTED):
        job.losses += 1
    refused = retry.refusal(attempt)
    if refused:
        _give_up(state, attempt, refused)
    elif _stays(state, attempt):
        _pause(state, attempt, retry.trouble_backoff_s(attempt))
    else:
        jobs.enqueue(state, job, f"{attempt.reason}; runs again")


def _stays(state: State, attempt: Attempt) -> bool:
    """Whether the worker that could not run it is one that goes on, and so may be given it again."""
    worker = state.workers.get(attempt.worker_id)
    return attempt.outcome is Outcome.INTERRUPTED and worker is not None and worker.state is WorkerState.ONLINE


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
