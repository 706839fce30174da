"""How attempts ended, kept until the master has acknowledged it.

A result goes into the journal first, then the rest of its log and the result are sent, if there is a session.
It is kept in any case, and told in the registration of the next session, so that it counts at once; its log is
then sent once more from the start, since nobody knows how much of it arrived, and the result after it. Only the
RESULT_ACK of that lets it be forgotten: the one of the registration came before the log. A worker that is
killed has a successor that finds the results in the journal (`restore`).

`report` is called by slot threads, `restore` before there are any, the rest by the link's reader.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from titan_core.failpoints import reach
from titan_core.net.stream import encode
from titan_core.protocol.messages import Result
from titan_core.worker.journal import Journal, Kept
from titan_core.worker.logs import AttemptLog, LogFollower
from titan_core.worker.outbox import Outbox
from titan_core.worker.turn import TURN


class Finished(NamedTuple):
    result: Result
    log: AttemptLog | None
    """None: the attempt never printed anything, because no process was made."""


class Results:
    """The results of one worker that the master has not acknowledged."""

    def __init__(self, follower: LogFollower, journal: Journal) -> None:
        self._follower = follower
        self._journal = journal
        self._changed = threading.Condition()
        self._kept: dict[bytes, Finished] = {}
        self._told: set[bytes] = set()
        """Those that the registration named, and that have not been acknowledged for it yet."""
        self._outbox: Outbox | None = None

    def __contains__(self, token: bytes) -> bool:
        return token in self._kept

    def kept(self) -> tuple[Result, ...]:
        """Everything that is not acknowledged, oldest first."""
        with self._changed:
            return tuple(finished.result for finished in self._kept.values())

    def restore(self, result: Result, log: AttemptLog | None) -> None:
        """This one is in the journal, of a worker that was here before."""
        with self._changed:
            self._kept[result.token] = Finished(result, log)

    def report(self, result: Result, log: AttemptLog | None) -> None:
        """An attempt has ended: keep the result, send the rest of its log, then the result."""
        reach("worker.before_journal")
        if log is not None:  # before the journal names it: a successor reads only what is whole
            log.end()
        self._journal.add(_to_be_kept(result, log))
        logged_to = None if log is None else self._follower.finish(log)
        finished = Finished(result, log)
        with self._changed:
            self._kept[result.token] = finished
            outbox = self._outbox
        reach("worker.before_result_sent")
        if outbox is None:
            return
        if log is None or logged_to is outbox:
            outbox.add(result)
            TURN.afterwards(outbox.flush)
        else:  # this session began while the log was being finished
            self._owe(finished, 0)

    def acknowledge(self, tokens: tuple[bytes, ...]) -> None:
        """The master has these results; and their logs, unless it has them from the registration."""
        reach("worker.after_result_sent")
        with self._changed:
            whole = tuple(token for token in tokens if token not in self._told)
            self._told.difference_update(tokens)
        self.forget(whole)

    def forget(self, tokens: tuple[bytes, ...]) -> None:
        """The master has these results, or does not want them."""
        self._journal.strike_out(tokens)
        with self._changed:
            for token in tokens:
                self._kept.pop(token, None)
            self._changed.notify_all()

    def attach(self, outbox: Outbox, told: set[bytes], offsets: Mapping[bytes, int]) -> None:
        """A session has begun whose registration named the results in `told`, and its attempts as running
        whose results came since; `offsets` says how much of their logs the master holds."""
        with self._changed:
            self._outbox, self._told = outbox, told & self._kept.keys()
            kept = list(self._kept.values())
        for finished in kept:
            self._owe(finished, offsets.get(finished.result.token, 0))

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

    def _owe(self, finished: Finished, offset: int) -> None:
        """Send the log from `offset`, then the result."""
        if finished.log is not None:
            self._follower.owe(finished.log, offset, encode(finished.result))
        elif self._outbox is not None:
            self._outbox.put(finished.result)


def _to_be_kept(result: Result, log: AttemptLog | None) -> Kept:
    if log is None:
        return Kept(result, "", False)
    return Kept(result, log.path, log.service)
