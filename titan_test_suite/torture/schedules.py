"""The schedules of a storm: when each is due, who makes them, and what somebody wants of them now and then.

They are due from a few seconds after they were made until the storm is over, at instants that are known beforehand.
While it blows a thread of its own fires one of them by hand, or pauses it for a while.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from titan_core.instants import utc_text
from titan_core.protocol.messages import (
    Ack,
    FireStatus,
    ListSchedules,
    PauseSchedule,
    RemoveSchedule,
    ScheduleList,
    ScheduleStatus,
    Triggered,
    TriggerSchedule,
)
from titan_sdk import TitanClient, TitanJob
from titan_sdk.access import Access
from titan_sdk.errors import ClientClosed, Conflict, NotFound, TitanError
from titan_sdk.schedules import history
from titan_sdk.transport import Transport
from titan_test_suite.torture.scripts import Scripts

LEAD_S = 3
"""From making them to the first instant at which one may be due."""
_ANSWER_S = 6.0
_PAUSE_S = 0.1
_WANTED_EVERY_S = 5.0
"""How often somebody wants something of one, on average."""
_PAUSED_S = (1.0, 4.0)
_STOP_GRACE_S = 0.3
_LOOKED_AT = 200
"""Lines of a ledger that may still change."""


@dataclass(frozen=True)
class Timed:
    """A schedule to be. Its jobs work for `work_s` one time in `each`, and else no time at all."""

    name: str
    period_s: int
    overlap: str
    catch_up: str
    work_s: float
    each: int
    jitter_s: int = 0
    cron: str = ""
    """Due at multiples of the period; empty: it is an `every`, which counts from the first instant."""
    steps: int = 1
    """Jobs, one after the other."""

    @property
    def jobs(self) -> tuple[str, ...]:
        return tuple(f"step-{number}" for number in range(self.steps))

    def slots(self, first: int, last: int) -> range:
        """When it is due if that begins at `first` and ends at `last`."""
        return range(first + (-first % self.period_s if self.cron else 0), last + 1, self.period_s)


SCHEDULES = (
    Timed("second", 1, "skip", "last", 0.4, 5),
    Timed("queue", 2, "queue", "all", 3.0, 6),
    Timed("allow", 2, "allow", "none", 2.5, 3, steps=2),
    Timed("replace", 5, "replace", "last", 8.0, 2),
    Timed("cron", 3, "skip", "all", 1.5, 3, cron="*/3 * * * * *"),
    Timed("jitter", 4, "queue", "none", 0.5, 2, jitter_s=2),
)


class Keeper:
    """Makes schedules through `direct`, and wants something of them through `access`."""

    def __init__(
        self, access: Access, direct: Access, chance: random.Random, planned: Sequence[Timed] = SCHEDULES
    ) -> None:
        self.planned = planned
        self.first = self.last = 0
        """When they begin and end to be due …"""
        self.until = 0
        """… and up to when they were there for sure: a storm that is interrupted removes them."""
        self.counts: Counter[str] = Counter()
        """Of what somebody wanted: `fired`, `paused`, `refused`, `unanswered`."""
        self._direct = direct
        self._chance = chance
        self._transport = Transport(access, _ANSWER_S)
        self._calm = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keeper")

    def make(self, scripts: Scripts, url: str, duration_s: float) -> None:
        """All of them, by a master that answers; they end when the storm has lasted so long. `url` is told of what
        was missed, and what has failed."""
        self.first = int(time.time()) + LEAD_S
        self.last = self.until = max(self.first + 1, int(time.time() + duration_s) - 1)
        begin, end = utc_text(self.first), utc_text(self.last)
        with TitanClient(self._direct.host, self._direct.port, token=self._direct.find_token()) as client:
            for timed in self.planned:
                when = {"cron": timed.cron, "seconds": True} if timed.cron else {"every": timed.period_s}
                client.schedule(
                    timed.name,
                    _jobs(timed, scripts),
                    **when,
                    start=begin,
                    end=end,
                    jitter=timed.jitter_s,
                    overlap=timed.overlap,
                    catch_up=timed.catch_up,
                    on_missed=url,
                    on_failure=url,
                )

    def next_due(self, after_wall: float) -> int | None:
        """When one of them is due next; None: not any more."""
        return min(
            (slot for timed in self.planned for slot in _later(timed.slots(self.first, self.last), after_wall)),
            default=None,
        )

    def is_due_near(self, wall: float, within_s: float) -> bool:
        """Whether one of them is due within so many seconds of an instant."""
        due = self.next_due(wall - within_s)
        return due is not None and due <= wall + within_s

    def start(self) -> None:
        self._thread.start()

    def calm(self) -> None:
        """Want nothing more, and have them be due no more; those that are paused go on."""
        self._calm.set()

    def leave(self) -> None:
        """Do nothing more. Idempotent."""
        self.calm()
        self._leave.set()
        self._transport.close()
        if self._thread.is_alive():
            self._thread.join()

    def at_rest(self) -> bool:
        """Whether nothing is due any more, nothing waits, nothing runs, and everybody was told."""
        if self._thread.is_alive():
            return False
        with contextlib.closing(Transport(self._direct, _ANSWER_S)) as transport:
            try:
                statuses = transport.ask(ListSchedules(), ScheduleList).schedules
                if any(status.state != "FINISHED" or status.queued for status in statuses):
                    return False
                ledgers = [history(transport, timed.name, _LOOKED_AT) for timed in self.planned]
            except TitanError:
                return False
        return all(is_over(line) for ledger in ledgers for line in ledger)

    # ── on its thread ─────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        with contextlib.suppress(ClientClosed):  # it is to leave
            while not self._calm.wait(self._chance.expovariate(1 / _WANTED_EVERY_S)):
                timed = self._chance.choice(self.planned)
                (self._fire if self._chance.random() < 0.6 else self._pause)(timed.name)
            self._end()

    def _fire(self, name: str) -> None:
        """Once; where the answer is lost, it is not known whether it was fired."""
        try:
            self._transport.ask(TriggerSchedule(name), Triggered, repeatable=False)
            self.counts["fired"] += 1
        except ClientClosed:
            raise
        except Conflict:
            self.counts["refused"] += 1
        except TitanError:
            self.counts["unanswered"] += 1

    def _pause(self, name: str) -> None:
        self._surely(lambda: self._transport.ask(PauseSchedule(name, reason="the storm wants it"), ScheduleStatus))
        self._calm.wait(self._chance.uniform(*_PAUSED_S))
        self._surely(lambda: self._transport.ask(PauseSchedule(name, undo=True), ScheduleStatus))
        self.counts["paused"] += 1

    def _end(self) -> None:
        """A storm that was interrupted leaves them before their time."""
        if time.time() < self.last - 1:
            self.until = int(time.time()) - 1 - max(timed.jitter_s for timed in self.planned)
            for timed in self.planned:
                self._surely(lambda name=timed.name: self._remove(name))  # type: ignore[misc]

    def _remove(self, name: str) -> None:
        with contextlib.suppress(NotFound):  # it was removed, and the answer lost
            self._transport.ask(RemoveSchedule(name), Ack, repeatable=False)

    def _surely(self, ask: Callable[[], object]) -> None:
        """Until there is an answer."""
        while True:
            try:
                ask()
                return
            except ClientClosed:
                raise
            except TitanError as error:
                if not error.retryable:
                    raise
            self._leave.wait(_PAUSE_S)


def is_over(line: FireStatus) -> bool:
    """Whether nothing more comes of a fire."""
    goes_on = line.outcome == "QUEUED" or (line.outcome == "RAN" and not line.finished_wall)
    return not goes_on and line.alert != "due"


def _jobs(timed: Timed, scripts: Scripts) -> list[TitanJob]:
    arguments = (f"{timed.work_s:g}", f"{timed.each}")
    return [
        TitanJob(name, scripts.tick, parents=before, args=arguments, env=scripts.env, stop_grace=_STOP_GRACE_S)
        for name, before in zip(timed.jobs, ((), *((name,) for name in timed.jobs)), strict=False)
    ]


def _later(slots: range, wall: float) -> range:
    """The first of them that is later than an instant, if there is one."""
    passed = max(0, int(wall - slots.start) // slots.step + 1) if wall >= slots.start else 0
    return slots[passed : passed + 1]
