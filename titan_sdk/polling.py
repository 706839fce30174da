"""Waiting at the master: a question it answers when something happened, asked again and again.

The first question does not wait: its answer tells what the key means, and that there is a master at
all. From then on each one waits up to 30 s there, and a master that is away for a moment (a restart,
a broken network) is waited for. Ctrl-C ends every wait at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from titan_core.errors import NotFound
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import GetJob, GetRun, JobStatus, ListWorkers, RunStatus, WorkerList, WorkerStatus
from titan_sdk.errors import WaitTimedOut
from titan_sdk.patience import Deadline, ask_patiently
from titan_sdk.transport import Transport

LONG_POLL_S = 30.0
"""The longest the master holds a question back."""
LOOK_S = 0.25
"""How often workers are looked at; the master does not hold back what it knows of them."""


def wait_for(transport: Transport, key: str, timeout_s: float | None) -> RunStatus | JobStatus:
    """The final status of the run `key`, or if there is none, of the job. Raises WaitTimedOut, NotFound."""
    try:
        return wait_for_run(transport, key, timeout_s)
    except NotFound:
        return wait_for_job(transport, key, timeout_s)


def wait_for_run(transport: Transport, key: str, timeout_s: float | None, jobs: bool = True) -> RunStatus:
    """The status of the run, with its jobs or none, once it is final. Raises WaitTimedOut, NotFound."""

    def question(key: str, wait_s: float) -> GetRun:
        return GetRun(key, wait_s, until_final=True, jobs=False)

    status = _until_final(transport, key, timeout_s, question, RunStatus, lambda run: run.run_id)
    return ask_patiently(transport, GetRun(status.run_id), RunStatus) if jobs else status


def wait_for_job(transport: Transport, key: str, timeout_s: float | None) -> JobStatus:
    """The status of the job once it is final. Raises WaitTimedOut, NotFound."""
    return _until_final(transport, key, timeout_s, GetJob, JobStatus, lambda job: f"{job.run_id}/{job.job_id}")


def watch_run(transport: Transport, key: str, timeout_s: float | None = None) -> Iterator[RunStatus]:
    """The run with all its jobs, then, whenever something changed, with those that did; the last is final.

    Raises WaitTimedOut, NotFound.
    """
    deadline = Deadline(timeout_s)
    status = transport.ask(GetRun(key), RunStatus)
    yield status
    while not status.final:
        _check(deadline, status.run_id, status.state, timeout_s)
        wait_s = deadline.left_s(LONG_POLL_S)
        question = GetRun(status.run_id, wait_s, since=status.version)
        answer = ask_patiently(transport, question, RunStatus, wait_s, deadline)
        if answer.final or answer.version != status.version:
            yield answer
        status = answer


def watch_worker(transport: Transport, worker_id: str, timeout_s: float | None = None) -> Iterator[WorkerStatus]:
    """The worker as it is, then whenever something changed; ends when none of its slots is used, or it is gone.

    Raises WaitTimedOut.
    """
    deadline = Deadline(timeout_s)
    told: object = None
    while (worker := _worker(transport, worker_id, deadline)) is not None:
        if told != (told := (worker.state, worker.jobs, worker.services)):
            yield worker
        if not worker.used:
            return
        if deadline.passed:
            raise WaitTimedOut(f"{worker_id} still runs {', '.join(worker.jobs)} after {timeout_s:g} s")
        transport.pause(deadline.left_s(LOOK_S))


def _worker(transport: Transport, worker_id: str, deadline: Deadline) -> WorkerStatus | None:
    workers = ask_patiently(transport, ListWorkers(), WorkerList, deadline=deadline).workers
    return next((worker for worker in workers if worker.worker_id == worker_id), None)


S = TypeVar("S", RunStatus, JobStatus)


def _until_final(
    transport: Transport,
    key: str,
    timeout_s: float | None,
    question: Callable[[str, float], Message],
    reply: type[S],
    full_key: Callable[[S], str],
) -> S:
    deadline = Deadline(timeout_s)
    status = transport.ask(question(key, 0.0), reply)
    while not status.final:
        key = full_key(status)  # `last` may be another run by now
        _check(deadline, key, status.state, timeout_s)
        wait_s = deadline.left_s(LONG_POLL_S)
        status = ask_patiently(transport, question(key, wait_s), reply, wait_s, deadline)
    return status


def _check(deadline: Deadline, key: str, state: str, timeout_s: float | None) -> None:
    if deadline.passed:
        raise WaitTimedOut(f"{key} is still {state} after {timeout_s:g} s")
