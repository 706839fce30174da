"""Alerts: whoever asked to be told that a fire was missed, or that its run failed, is told by the POST of a webhook.

    put ─▶ waits until it is due ─▶ a try ─▶ a yes, or a no for good ─▶ settled
                  ▲                   │ it failed for now
                  └───── a pause ─────┘ after the last of them: given up, settled

What waits is in the order in which it is due, so that others go in between the tries of one. Where nobody answers,
what was found out by one try, which takes up to 10 s, counts for all that is due there: so the others are held up by
one such try, not by one for each alert that a dead URL has to get.

An alert bears the same id in every try, whichever master makes it, so that whoever gets it twice can tell. When the
master stops, nothing is said of what was neither heard nor given up: the next master puts it again.

Knows nothing of the core, the engine and the schedules. `put` is called by any thread, under the engine's lock;
`on_settled` by the thread `alerter`, which holds no lock then.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from titan_core.errors import Unavailable
from titan_core.instants import utc_text
from titan_core.lifecycle import Component
from titan_core.master.webhook import Failure, Json, Webhook
from titan_core.protocol.checks import shortened

log = logging.getLogger("titan.master")

PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0)
"""Between a try that failed for now and the next one; as often as here it is tried again."""
SETTLE_S = 1.0
"""How long an alert rests when what it tells of could not be written to the disk."""
WAITING_MOST = 10_000
"""Alerts that wait; beyond them one is given up."""
_PASSING = frozenset({408, 425, 429})
"""Answers that are a no for now only, beside those that are so for everybody."""
_NOBODY_THERE = frozenset({0, 429, 502, 503, 504})
"""No answer, or one that would be the same for any alert at this moment."""


@dataclass(frozen=True, slots=True)
class AlertOrder:
    """Somebody is to be told."""

    key: tuple[str, str, int]
    """Schedule, kind of the fire, slot."""
    event: str
    """`missed` or `failure`."""
    url: str
    """As `check_webhook` lets it pass."""
    body: Mapping[str, Json]
    """What is said; `cluster`, `id` and `sent` are added."""


@dataclass(order=True, slots=True)
class _Waiting:
    due_at: float
    number: int
    """Of those that are due at the same time, the lowest goes first."""
    order: AlertOrder = field(compare=False)
    failed: int = field(compare=False, default=0)
    """Tries that were in vain."""


class AlertSender(Component):
    """`on_settled(order, problem)`: what became of an order; an empty problem: it was heard.

    `settle(True)` is called before each try, and returns once what was decided is on disk (as `Engine.settle`).
    """

    def __init__(
        self,
        secret: bytes,
        cluster: bytes,
        on_settled: Callable[[AlertOrder, str], None],
        settle: Callable[[bool], None] = lambda changed: None,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        super().__init__("alerter")
        self._secret = secret
        self._cluster = cluster.hex()
        self._on_settled = on_settled
        self._settle = settle
        self._pauses_s = pauses_s
        self._new: list[AlertOrder] = []
        self._changed = threading.Condition()
        self._waiting: list[_Waiting] = []
        """A heap; the thread's own."""
        self._numbers = itertools.count()
        self._webhook: Webhook | None = None

    def start(self) -> None:
        self.spawn("alerter", self._run)

    def put(self, order: AlertOrder) -> None:
        """Have somebody told. Never waits, and never calls `on_settled`."""
        with self._changed:
            self._new.append(order)
            self._changed.notify()

    def on_stop(self) -> None:
        if self._webhook is not None:
            self._webhook.stop()
        with self._changed:
            self._changed.notify_all()

    # ── its thread: what waits ────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self.stopping.is_set():
            self._take_in(self._until_due_s())
            if self._until_due_s() == 0 and not self.stopping.is_set():
                self._deliver(heapq.heappop(self._waiting))

    def _until_due_s(self) -> float | None:
        """How long nothing is due; None: nothing waits."""
        return max(0.0, self._waiting[0].due_at - time.monotonic()) if self._waiting else None

    def _take_in(self, wait_s: float | None) -> None:
        """Have what was put wait with the others; if there is nothing, wait for it up to `wait_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._new or self.stopping.is_set(), wait_s)
            arrived, self._new = self._new, []
        for order in arrived:
            if len(self._waiting) < WAITING_MOST:
                self._push(_Waiting(time.monotonic(), 0, order))
            elif not self.stopping.is_set():
                self._give_up(order, "too many alerts are waiting")

    def _push(self, waiting: _Waiting) -> None:
        waiting.number = next(self._numbers)
        heapq.heappush(self._waiting, waiting)

    def _take_out(self, url: str) -> list[_Waiting]:
        """All that is due at the host of this URL, in its order."""
        now, host = time.monotonic(), _host(url)
        found = sorted(
            waiting for waiting in self._waiting if _host(waiting.order.url) == host and waiting.due_at <= now
        )
        if found:
            self._waiting = [w for w in self._waiting if _host(w.order.url) != host or w.due_at > now]
            heapq.heapify(self._waiting)
        return found

    # ── its thread: what is due ───────────────────────────────────────────────────────────────────

    def _deliver(self, waiting: _Waiting) -> None:
        try:
            self._settle(True)
        except Unavailable:  # nobody may hear of what could be forgotten; that is no try
            waiting.due_at = time.monotonic() + SETTLE_S
            self._push(waiting)
            return
        self._judge(waiting, self._send(waiting.order))

    def _judge(self, waiting: _Waiting, failure: Failure | None) -> None:
        order = waiting.order
        if failure is None:
            log.info("%s: the alert %r was sent", _fire(order), order.event, extra={"action": "alert.sent"})
            self._on_settled(order, "")
        elif self.stopping.is_set():  # it was cut
            return
        elif failure.passing or failure.status in _PASSING:
            self._try_later(waiting, failure)
        else:
            self._give_up(order, failure.sentence)

    def _send(self, order: AlertOrder) -> Failure | None:
        # Whoever stops sets the Event and then looks for a webhook; so it is there before the Event is looked at.
        self._webhook = Webhook(order.url, self._secret)
        if self.stopping.is_set():
            self._webhook.stop()
        identity = {"cluster": self._cluster, "id": _id(self._cluster, order), "sent": datetime.now(UTC).isoformat()}
        return self._webhook.send(json.dumps({**order.body, **identity}).encode())

    def _try_later(self, tried: _Waiting, failure: Failure) -> None:
        also: list[_Waiting] = []
        if failure.status in _NOBODY_THERE:
            self._take_in(0)
            also = self._take_out(tried.order.url)
        for waiting in (*also, tried):  # the next try there is another one's: it may be only this one that fails
            self._put_back(waiting, failure)

    def _put_back(self, waiting: _Waiting, failure: Failure) -> None:
        waiting.failed += 1
        if waiting.failed > len(self._pauses_s):
            self._give_up(waiting.order, f"given up after {waiting.failed} tries: {failure.sentence}")
        else:
            waiting.due_at = time.monotonic() + self._pauses_s[waiting.failed - 1]
            self._push(waiting)

    def _give_up(self, order: AlertOrder, problem: str) -> None:
        problem = shortened(problem)
        said = (_fire(order), order.event, problem)
        log.warning("%s: the alert %r was not sent: %s", *said, extra={"action": "alert.failed"})
        self._on_settled(order, problem)


def _id(cluster: str, order: AlertOrder) -> str:
    """32 hex digits that are the same whoever makes them."""
    schedule, kind, slot = order.key
    return hashlib.sha256(f"{cluster}|{schedule}|{kind}|{slot}|{order.event}".encode()).hexdigest()[:32]


def _host(url: str) -> tuple[str, str]:
    """Who is called: what is found out about one URL there holds for all."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _fire(order: AlertOrder) -> str:
    schedule, _, slot = order.key
    return f"schedule {schedule}, {utc_text(slot)}"
