"""The one lock: around the core, its timers and the map of sessions.

Any thread calls `submit`; the core decides, what is to be kept goes to the store, and the actions are
handed out before the lock is let go, so that every session gets them in the order they were decided.
Nothing here does I/O, formats or waits for a peer: rows and frames are put into queues, watchers are
woken, and that is all.

Nothing leaves the master that is not on disk. An action bears the ticket of its step, and is sent once
that is written; an answer waits in `settle`, outside the lock, for all that it may be made of.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from titan_core.clock import Clock
from titan_core.errors import Unavailable
from titan_core.master.sessions import Session
from titan_core.master.topics import Topics
from titan_core.scheduler import records, runs, workers
from titan_core.scheduler.actions import (
    AcceptWorker,
    AcknowledgeResult,
    Action,
    DeleteRun,
    ForgetRun,
    Provision,
    RecordChange,
    RecordJobsAdded,
    RecordRunFinished,
    RecordService,
    Release,
    SendAlert,
    ShutDownWorker,
    SpawnWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import Event, WorkerDisconnected, WorkerRegistered
from titan_core.scheduler.model import Attempt
from titan_core.scheduler.state import State
from titan_core.scheduler.states import FINAL
from titan_core.store.durability import Durability

KEPT_S = 10.0
"""How long somebody who changed something waits for a disk that takes nothing."""
_LOOK_S = 0.5
CLOCK_STEP_S = 0.001
"""By how much wall and monotonic time may disagree with what they were before it is said that the clock was set."""

T = TypeVar("T")


class Engine:
    """The core and its lock.

    `topics` tells of changes: ("run", run id), ("run over", run id), ("job", run id, job id) at the job's end,
    and ("log", run id, job id), under which the LogStore tells that there is more to read.
    """

    def __init__(
        self,
        core: Core,
        clock: Clock,
        store: Durability,
        on_forget: Callable[[str], None] = lambda run_id: None,
    ) -> None:
        self.condition = threading.Condition(threading.Lock())
        """The lock; notified when the next timer is due earlier than it was."""
        self.topics = Topics()
        self.on_provision: Callable[[Provision | Release], None] = lambda action: None
        """Told, under the lock, what the provisioner is to do; must not wait."""
        self.on_alert: Callable[[SendAlert], None] = lambda action: None
        """Told, under the lock, who is to be told of a fire; must not wait."""
        self.clock = clock
        self._core = core
        self._on_forget = on_forget
        self._store = store
        self._sessions: dict[str, Session] = {}

    # ── events ────────────────────────────────────────────────────────────────────────────────────

    def submit(self, event: Event) -> list[Action]:
        """Tell the core; what it decided, handed out already. Raises what it refuses with (RequestRefused)."""
        with self.condition:
            return self._handle(event)

    def read(self, look: Callable[[State], T]) -> T:
        """What `look` makes of the state; it must be quick, and keep nothing that changes."""
        with self.condition:
            return look(self._core.state)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What is found meanwhile stays whole, also when it is forgotten."""
        with self.condition:
            generation = runs.begin_reading(self._core.state)
        try:
            yield
        finally:
            with self.condition:
                runs.end_reading(self._core.state, generation)

    def check_writable(self) -> None:
        """Raises Unavailable while nothing can be written, so that nothing may be changed."""
        if self._store.trouble:
            raise Unavailable(self._store.trouble)

    def settle(self, changed: bool = False) -> None:
        """Wait until all that was decided so far is on disk. Called without the lock, before an answer is sent.

        While the disk takes nothing, whoever only looked is answered all the same. Whoever `changed` something is
        told after KEPT_S (Unavailable) that it can not be promised yet.
        """
        ticket, until_at = self._store.last, time.monotonic() + KEPT_S
        while not self._store.wait(ticket, _LOOK_S):
            if self._store.trouble and not changed:
                return
            if time.monotonic() >= until_at:
                why = self._store.trouble or "the master is slow to write to its disk"
                raise Unavailable(f"{why}; whether this will be kept can not be promised: send it again")

    def kill_strays(self, session: Session, running: tuple[bytes, ...]) -> None:
        """Have a worker end those of the attempts it says it runs that are not its to run."""
        with self.condition:
            strays = workers.strays(self._core.state, session.worker_id, session.number, running)
            if strays:
                session.kill(strays, self._store.last)

    def open_session(self, session: Session, event: WorkerRegistered) -> None:
        """A worker registers over `session`, which takes the place of an older one."""
        with self.condition:
            older = self._sessions.get(session.worker_id)
            self._sessions[session.worker_id] = session
            try:
                session.know([a for token in _tokens(event) if (a := _attempt(self._core.state, token))])
                session.expect_logs(report.token for report in event.finished)
                self._handle(event)
            except BaseException:
                session.expect_no_more()
                self._restore(session.worker_id, older)
                raise
        if older is not None:
            older.end("replaced by a newer session")

    def close_session(self, session: Session, last_heard_at: float) -> None:
        """The session is over."""
        with self.condition:
            if self._sessions.get(session.worker_id) is session:
                del self._sessions[session.worker_id]
            self._handle(WorkerDisconnected(session.worker_id, session.number, last_heard_at))

    def sessions(self) -> list[Session]:
        with self.condition:
            return list(self._sessions.values())

    # ── the clock watcher's side ──────────────────────────────────────────────────────────────────

    def next_due_at(self) -> float | None:
        """When a TimePassed is wanted. The caller holds the condition."""
        return self._core.next_due_at()

    def clock_was_set(self) -> bool:
        """Whether the wall clock is not where the core has it."""
        return abs(self.clock.offset_s() - self._core.state.offset_s) > CLOCK_STEP_S

    # ── handing out ───────────────────────────────────────────────────────────────────────────────

    def _handle(self, event: Event) -> list[Action]:
        due_at, now = self._core.next_due_at(), self.clock.monotonic()
        actions = self._core.handle(event, now)
        batch = records.batch(actions, now)
        ticket = self._store.append(batch) if batch else self._store.last
        for action in actions:
            self._hand_out(action, ticket)
        next_due_at = self._core.next_due_at()
        if next_due_at is not None and (due_at is None or next_due_at < due_at):
            self.condition.notify_all()
        return actions

    def _hand_out(self, action: Action, ticket: int) -> None:
        match action:
            case RecordChange(job, _, after):
                self.topics.publish(("run", job.run.run_id))
                self.topics.publish(("log", job.run.run_id, job.job_id))  # whoever follows it may be at its end
                if after in FINAL:
                    self.topics.publish(("job", job.run.run_id, job.job_id))
            case StartAttempt(attempt):
                self._send(attempt.worker_id, action, ticket)
            case StopAttempt() | AcknowledgeResult() | AcceptWorker() | ShutDownWorker() | SpawnWorker():
                self._send(action.worker_id, action, ticket)
            case RecordJobsAdded(run):
                self.topics.publish(("run", run.run_id))
            case RecordService(service):
                self.topics.publish(("run", service.head.run.run_id))
            case RecordRunFinished(run):
                self.topics.publish(("run over", run.run_id))
            case ForgetRun(run_id):
                self._on_forget(run_id)
            case DeleteRun(run_id):
                self._store.forget([run_id])
            case Provision() | Release():
                self.on_provision(action)
            case SendAlert():
                self.on_alert(action)

    def _send(self, worker_id: str, action: Action, ticket: int) -> None:
        """A worker without a session learns what it must know when it registers again."""
        session = self._sessions.get(worker_id)
        if session is not None:
            session.put(action, ticket)

    def _restore(self, worker_id: str, older: Session | None) -> None:
        del self._sessions[worker_id]
        if older is not None:
            self._sessions[worker_id] = older


def _tokens(event: WorkerRegistered) -> Iterator[bytes]:
    yield from event.running
    yield from (report.token for report in event.finished)


def _attempt(state: State, token: bytes) -> Attempt | None:
    return state.attempts.get(token) or state.lost.get(token)
