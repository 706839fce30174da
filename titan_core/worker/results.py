"""How attempts ended, kept until the master has acknowledged it.

A result is sent at once when there is a session, after the last of its log. It is kept in any case, and
told again in the registration of the next session until a RESULT_ACK names it; its log is then sent once
more from the start, since nobody knows how much of it arrived. Results live in memory: if the worker is
killed, the master takes its attempts for lost and nothing is counted twice.

`report` is called by slot threads, the rest by the link's reader.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from titan_core.net.stream import encode
from titan_core.protocol.messages import Result
from titan_core.worker.logs import AttemptLog, LogFollower
from titan_core.worker.outbox import Outbox


class Finished(NamedTuple):
    result: Result
    log: AttemptLog | None
    """None: the attempt never printed anything, because no process was made."""


class Results:
    """The results of one worker that the master has not acknowledged."""

    def __init__(self, follower: LogFollower) -> None:
        self._follower = follower
        self._changed = threading.Condition()
        self._kept: dict[bytes, Finished] = {}
        self._outbox: Outbox | None = None

    def __contains__(self, token: bytes) -> bool:
        return token in self._kept

    def kept(self) -> tuple[Result, ...]:
        """Everything that is not acknowledged, oldest first."""
        with self._changed:
            return tuple(finished.result for finished in self._kept.values())

    def report(self, result: Result, log: AttemptLog | None) -> None:
        """An attempt has ended: send the rest of its log, then the result, and keep both."""
        logged_to = None if log is None else self._follower.finish(log)
        finished = Finished(result, log)
        with self._changed:
            self._kept[result.token] = finished
            outbox = self._outbox
        if outbox is None:
            return
        if log is None or logged_to is outbox:
            outbox.put(result)
        else:  # this session began while the log was being finished
            self._owe(finished, 0, tell=True)

    def acknowledge(self, tokens: tuple[bytes, ...]) -> None:
        """The master has these results: forget them."""
        with self._changed:
            for token in tokens:
                self._kept.pop(token, None)
            self._changed.notify_all()

    def attach(self, outbox: Outbox, told: set[bytes], offsets: Mapping[bytes, int]) -> None:
        """A session has begun whose registration named the results in `told`, and its attempts as running
        whose results came since; `offsets` says how much of their logs the master holds."""
        with self._changed:
            self._outbox = outbox
            kept = list(self._kept.values())
        for finished in kept:
            token = finished.result.token
            self._owe(finished, offsets.get(token, 0), tell=token not in told)

    def detach(self) -> None:
        """The session is over."""
        with self._changed:
            self._outbox = None
            self._changed.notify_all()

    def wait_until_acknowledged(self, timeout_s: float) -> bool:
        """Wait until the master has everything; False when that takes longer, or there is no session for it."""
        until_at = time.monotonic() + timeout_s
        with self._changed:
            while self._kept and self._outbox is not None and time.monotonic() < until_at:
                self._changed.wait(until_at - time.monotonic())
            return not self._kept

    def _owe(self, finished: Finished, offset: int, tell: bool) -> None:
        then = encode(finished.result) if tell else b""
        if finished.log is not None:
            self._follower.owe(finished.log, offset, then)
        elif then and self._outbox is not None:
            self._outbox.put_bytes(then)
