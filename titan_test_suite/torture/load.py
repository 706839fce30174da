"""The clients of a storm, and the book of what they were told.

Each client is a thread with chance of its own. It submits runs at a steady rate as long as not too many of its
runs are open, cancels what is to be cancelled, and looks after the open ones until they are final. A request
that gets no answer is sent again, a submission with the same request id, for as long as it takes. Now and then
it sends one again though it was answered, as if it had not been, at once or when the master is another one.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from titan_core.protocol.messages import (
    Ack,
    AssetContent,
    CancelJob,
    Cancelled,
    GetRun,
    RunStatus,
    StopService,
    SubmitRun,
    Submitted,
)
from titan_sdk.access import Access
from titan_sdk.contents import Contents
from titan_sdk.errors import ClientClosed, Conflict, TitanError
from titan_sdk.jobs import job_spec
from titan_sdk.transport import Transport
from titan_test_suite.torture import plans, services
from titan_test_suite.torture.plans import Plan
from titan_test_suite.torture.promises import Promise
from titan_test_suite.torture.scripts import Scripts

ANSWER_S = 6.0
"""How long an answer may take; a request that got none is then sent again."""
_PAUSE_S = 0.1
_REPEATED = 0.1
"""The part of the submissions that is sent once more though they were answered …"""
_REPEATED_AFTER_S = 5.0
"""… after so long, on average."""
_DISTURBED_S = 4.0
"""How often a client wants something of a service that lasts, on average."""
_SETTLED_S = 60.0
T = TypeVar("T")


class Book:
    """What the clients were told; each client has one of its own."""

    def __init__(self) -> None:
        self.promises: list[Promise] = []
        self.refused: list[str] = []
        """Sentences about requests that were refused and should not have been."""
        self.counts: Counter[str] = Counter()
        """`submitted`, `resent`, `repeated`, `cancelled`; of services `restarted`, `scaled`, `refused`."""


class Client:
    """`rate`: jobs per second that it tries to submit. `most_open`: runs it keeps open at most."""

    def __init__(
        self, name: str, access: Access, chance: random.Random, scripts: Scripts, rate: float, most_open: int
    ) -> None:
        self.name = name
        self.book = Book()
        self._chance = chance
        self._scripts = scripts
        self._rate = rate
        self._most_open = most_open
        self._transport = Transport(access, ANSWER_S)
        self._open: list[Promise] = []
        self._lasting: list[Promise] = []
        self._repetitions: list[tuple[float, SubmitRun, Promise]] = []
        """What is to be sent once more, and when."""
        self._number = 0
        self._disturb_at = 0.0
        self._calm = threading.Event()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name)

    def start(self) -> None:
        self._thread.start()

    def calm(self) -> None:
        """Submit nothing more; look after what is open."""
        self._calm.set()

    def leave(self) -> None:
        """Do nothing more. Idempotent."""
        self.calm()
        self._leave.set()
        self._transport.close()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def at_rest(self) -> bool:
        """It has submitted its last run, and all are over."""
        return not self._thread.is_alive()

    # ── on its thread ─────────────────────────────────────────────────────────────────────────────

    def _work(self) -> None:
        try:
            for plan in plans.lasting(self._scripts):
                self._submit(plan)
            self._submit_for_a_while()
            self._settle()
            while self._open or self._repetitions:
                self._repeat()
                if self._open:
                    self._look_after(self._open[0])
                self._leave.wait(_PAUSE_S / 5)
        except ClientClosed:
            pass  # it is to leave

    def _submit_for_a_while(self) -> None:
        due_at = time.monotonic()
        while not self._calm.is_set():
            if len(self._open) < self._most_open and time.monotonic() >= due_at:
                plan = plans.make(self._chance, self._scripts)
                self._submit(plan)
                # What was missed while nobody answered is not made up for: that would be a load of its own.
                due_at = max(due_at, time.monotonic() - 1.0) + len(plan.jobs) / self._rate
            elif self._open:
                self._look_after(self._chance.choice(self._open))
            self._repeat()
            self._disturb()
            self._calm.wait(max(0.001, min(_PAUSE_S, due_at - time.monotonic())))

    def _submit(self, plan: Plan) -> None:
        self._number += 1
        name = f"{plan.kind}-{self.name}-{self._number}"
        contents = Contents()
        specs = tuple(job_spec(job, contents) for job in plan.jobs)
        files = tuple(AssetContent(file.sha256, file.data or b"") for file in contents.by_sha256.values())
        request = SubmitRun(name, specs, self._chance.randbytes(16), contents=files)
        sent_wall = time.time()
        submitted = self._patiently(lambda: self._transport.ask(request, Submitted))
        if submitted is None:
            return
        promise = Promise(plan, name, submitted.run_id, sent_wall)
        if plan.end_after_s is not None:
            promise.end_at = time.monotonic() + plan.end_after_s
        self.book.promises.append(promise)
        self.book.counts["submitted"] += len(plan.jobs)
        (self._lasting if plan.lasts else self._open).append(promise)
        if self._chance.random() < _REPEATED:
            at = time.monotonic() + self._chance.expovariate(1 / _REPEATED_AFTER_S)
            self._repetitions.append((at, request, promise))

    def _disturb(self) -> None:
        """Now and then somebody wants something of a service that is to last."""
        disturbable = [promise for promise in self._lasting if promise.plan.kind != "lasting"]
        if disturbable and time.monotonic() >= self._disturb_at:
            self._disturb_at = time.monotonic() + self._chance.expovariate(1 / _DISTURBED_S)
            promise = self._chance.choice(disturbable)
            self.book.counts[services.disturb(self._chance, self._transport, promise, self._patiently)] += 1

    def _settle(self) -> None:
        """The last wish of each service."""
        for promise in self._lasting:
            until_at = time.monotonic() + _SETTLED_S
            while not services.settle(self._transport, promise, self._patiently) and time.monotonic() < until_at:
                self._leave.wait(_PAUSE_S)

    def _repeat(self) -> None:
        """Send again what is due; it must be taken for what it is."""
        for repetition in [repetition for repetition in self._repetitions if repetition[0] <= time.monotonic()]:
            self._repetitions.remove(repetition)
            self._send_again(*repetition[1:])

    def _send_again(self, request: SubmitRun, promise: Promise) -> None:
        again = self._patiently(lambda: self._transport.ask(request, Submitted))
        self.book.counts["repeated"] += 1
        if again is not None and again.run_id != promise.run_id:
            promise.doubled.append(again.run_id)

    def _look_after(self, promise: Promise) -> None:
        if promise.end_at is not None and time.monotonic() >= promise.end_at:
            promise.end_at = None
            self._end(promise)
        status = self._patiently(lambda: self._transport.ask(GetRun(promise.run_id), RunStatus))
        if status is not None:
            self._note(promise, status)
        if status is None or (status.final and promise.end_at is None):
            promise.over = True
            self._open.remove(promise)

    def _end(self, promise: Promise) -> None:
        """Stop what serves; cancel what does not."""
        key = f"{promise.run_id}/{promise.plan.jobs[0].job_id}"
        try:
            if promise.plan.serves:
                self._patiently(lambda: self._transport.ask(StopService(key), Ack), Conflict)
                return
            request = CancelJob(promise.run_id, "the storm wants it")
            promise.cancelled = bool(self._patiently(lambda: self._transport.ask(request, Cancelled), Conflict))
            self.book.counts["cancelled"] += promise.cancelled
        except Conflict:
            pass  # it is over; perhaps because of this very request, the answer to which was lost

    def _note(self, promise: Promise, status: RunStatus) -> None:
        for job in status.jobs:
            known = promise.seen_final.get(job.job_id)
            if known is None and job.final:
                promise.seen_final[job.job_id] = job.state
            elif known is not None and known != job.state:
                promise.changed.append(f"{status.run_id}/{job.job_id} was {known}, and then {job.state}")

    def _patiently(self, ask: Callable[[], T], *allowed: type[TitanError]) -> T | None:
        """The answer; None when there was a refusal that is none of the `allowed` ones, which is written down."""
        while True:
            try:
                return ask()
            except ClientClosed:
                raise
            except allowed:
                raise
            except TitanError as error:
                if not error.retryable:
                    self.book.refused.append(f"{type(error).__name__}: {error}")
                    return None
                self.book.counts["resent"] += 1
            self._leave.wait(self._chance.uniform(0.02, _PAUSE_S))
