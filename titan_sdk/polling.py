"""Waiting at the master: a question it answers when something happened, asked again and again.

The first question does not wait: its answer tells what the key means, and that there is a master at
all. From then on each one waits up to 30 s there, and a master that is away for a moment (a restart,
a broken network) is waited for. Ctrl-C ends every wait at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from titan_core.errors import ConnectionFailed, ConnectionLost, NotFound, Unavailable
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import GetJob, GetRun, JobStatus, RunStatus
from titan_sdk.errors import WaitTimedOut
from titan_sdk.transport import Transport

LONG_POLL_S = 30.0
"""The longest the master holds a question back."""
PATIENCE_S = 60.0
"""How long a master that answered before may be away."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

M = TypeVar("M", bound=Message)


class Deadline:
    """The caller's own time-out; None = never."""

    def __init__(self, timeout_s: float | None) -> None:
        self._at = None if timeout_s is None else time.monotonic() + timeout_s

    def left_s(self, most: float) -> float:
        """Seconds left, from 0 to `most`."""
        return most if self._at is None else min(most, max(0.0, self._at - time.monotonic()))

    @property
    def passed(self) -> bool:
        return self._at is not None and time.monotonic() >= self._at


def ask_patiently(
    transport: Transport, message: Message, reply: type[M], wait_s: float, deadline: Deadline | None = None
) -> M:
    """Like `transport.ask`, but a master that is away is tried again for PATIENCE_S (or until `deadline`)."""
    give_up = Deadline(wait_s + PATIENCE_S)
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return transport.ask(message, reply, wait_s=wait_s)
        except (ConnectionFailed, ConnectionLost, Unavailable):
            if give_up.passed or (deadline is not None and deadline.passed):
                raise
        transport.pause(pause_s if deadline is None else deadline.left_s(pause_s))
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def wait_for(transport: Transport, key: str, timeout_s: float | None) -> RunStatus | JobStatus:
    """The final status of the run `key`, or if there is none, of the job. Raises WaitTimedOut, NotFound."""
    try:
        return wait_for_run(transport, key, timeout_s)
    except NotFound:
        return wait_for_job(transport, key, timeout_s)


def wait_for_run(transport: Transport, key: str, timeout_s: float | None) -> RunStatus:
    """The status of the run, with its jobs, once it is final. Raises WaitTimedOut, NotFound."""

    def question(key: str, wait_s: float) -> GetRun:
        return GetRun(key, wait_s, until_final=True, jobs=False)

    status = _until_final(transport, key, timeout_s, question, RunStatus, lambda run: run.run_id)
    return transport.ask(GetRun(status.run_id), RunStatus)


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
