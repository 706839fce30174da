"""A master, modelled around the real core: one step after the other, and nothing leaves before it is durable.

It does what `master.engine`, `sessions` and `connections` do with threads: actions wait in the session's
outbox for the ticket of their step, answers wait for all that was decided before them, greetings wait for
nothing. A master dies with all of it; the next one begins with what the store has.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from titan_core.errors import RequestRefused
from titan_core.scheduler import invariants, records, workers
from titan_core.scheduler.actions import (
    AcceptWorker,
    AcknowledgeResult,
    Action,
    Provision,
    SendAlert,
    ShutDownWorker,
    SpawnWorker,
    StartAttempt,
    StopAttempt,
)
from titan_core.scheduler.core import Core
from titan_core.scheduler.events import (
    AttemptReport,
    AttemptsFinished,
    Event,
    ProvisionFailed,
    RunRecalled,
    ScalingDue,
    ServiceReady,
    SpawnFailed,
    StateRecovered,
    TimePassed,
    WallClockSet,
    WorkerDisconnected,
    WorkerRegistered,
    WorkerSaidGoodbye,
    WorkerTroubleChanged,
)
from titan_core.scheduler.model import Attempt
from titan_core.scheduler.settings import Settings
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.desk import Desk
from titan_test_suite.pytests.support.simulation.frames import (
    Acknowledge,
    Beat,
    Frame,
    Goodbye,
    NotSpawned,
    Ready,
    Refused,
    Register,
    Registered,
    Result,
    ShutDown,
    Spawn,
    Start,
    Stop,
    Trouble,
)
from titan_test_suite.pytests.support.simulation.growth import GrowthWitness
from titan_test_suite.pytests.support.simulation.network import DOWN, UP, Connection
from titan_test_suite.pytests.support.simulation.oracle import Oracle
from titan_test_suite.pytests.support.simulation.promises import promised
from titan_test_suite.pytests.support.simulation.store import Store

LOOK_S = 5.0
"""How often it is looked for workers that are silent."""
SCALE_S = 15.0
STALLED_S = 2.0
"""How late what is due may come."""
TOGETHER_S = 0.05
"""How long a result may wait for others."""


def _start(attempt: Attempt) -> Start:
    job = attempt.job
    return Start(attempt.token, job.key, attempt.number, job.spec.service, job.spec.policy.port, job.spec.task.args)


class Session:
    """One registration of one worker; its outbox."""

    def __init__(self, number: int, worker_id: str, connection: Connection, store: Store, now: float) -> None:
        self.number = number
        self.worker_id, self.connection, self.heard_at = worker_id, connection, now
        self.ended = False
        self.reports: list[AttemptReport] = []
        """Results that came, and are taken with those that come next."""
        self._store = store
        self._outbox: list[tuple[int, Frame]] = []

    def put(self, frame: Frame, ticket: int) -> None:
        self._outbox.append((ticket, frame))
        self.flush()

    def flush(self) -> None:
        """Send what is durable, in order."""
        while self._outbox and not self.ended and self._outbox[0][0] <= self._store.committed:
            self.connection.send(DOWN, self._outbox.pop(0)[1])


class Master:
    """Alive from its making to `crash`. Its core's invariants are looked at every `check_each` steps (0: never).
    `provision(capability, count)` asks somebody for workers."""

    def __init__(
        self,
        agenda: Agenda,
        store: Store,
        oracle: Oracle,
        settings: Settings,
        grace_s: float,
        check_each: int,
        provision: Callable[[str, int], None],
    ) -> None:
        self._provision = provision
        self._agenda, self._store, self._oracle, self._settings = agenda, store, oracle, settings
        self._check_each, self._steps = check_each, 0
        self.alive = True
        self.memory: dict[int, dict[str, Any]] = {}
        """What the core knew when, by the ticket of the newest step; kept once it is `watch`ed."""
        self._watched = False
        self._numbers = count(1)
        self._sessions: dict[str, Session] = {}
        self._session_of: dict[Connection, Session] = {}
        self._connections: list[Connection] = []
        self._answers: list[tuple[int, Callable[[], None]]] = []
        self._alarm_at: float | None = None
        self._told_s = 0.0
        """Wall time minus monotonic time, as the core was last told."""
        self.core = Core(settings)
        self.growth = GrowthWitness(settings.scaling, agenda, oracle.was_let_go)
        self.desk = Desk(agenda, store, oracle, self)
        term, recent = store.next_term(), settings.runs_kept
        before = store.rows.recovered(term, grace_s, recent, agenda.wall, agenda.wall_offset_s)
        self.first_new = before.last_sequence + 1
        """The number of the first run, or job, that is its own."""
        self.handle(before)
        store.on_commit = self._on_commit
        self._look_later()
        self._scale_later()

    # ── steps ─────────────────────────────────────────────────────────────────────────────────────

    def handle(self, event: Event) -> list[Action]:
        """One step. Raises RequestRefused."""
        self._oracle.event(event)
        told_s = self._told_s
        actions = self.core.handle(event, self._agenda.now)
        if isinstance(event, WallClockSet | StateRecovered):
            self._told_s = event.offset_s
        self.growth.take(event, actions)
        batch = records.batch(actions, self._agenda.now)
        ticket = self._store.append(batch, event, told_s) if batch else self._store.last
        for action in actions:
            self._hand_out(action, ticket)
        self._check()
        if self._watched:
            self.memory[self._store.last] = promised(self.core)
        self._set_alarm()
        return actions

    def _check(self) -> None:
        if self._check_each and self._steps % self._check_each == 0:
            invariants.check(self.core)
        self._steps += 1

    def known(self, request_id: bytes) -> str | None:
        """The run of this submission, be it in memory or history."""
        return self.core.state.requests.get(request_id) or self._store.rows.request(request_id)

    def recall(self, run_id: str) -> None:
        """Take a run that is history back into memory. Not while something waits for the disk: what has left memory
        was durable long before, as it would be with the thousand runs that a real master keeps."""
        if run_id not in self.core.state.runs and self._store.last == self._store.committed:
            stored = self._store.rows.stored_run(run_id)
            if stored is not None:
                self.handle(RunRecalled(stored))

    def answer(self, say: Callable[[], None]) -> None:
        """Have this said once all that was decided so far is durable."""
        if self._store.last <= self._store.committed:
            say()
        else:
            self._answers.append((self._store.last, say))

    def watch(self) -> None:
        """It will crash soon, and the one after it is to know the same."""
        self._watched = True
        self.memory[self._store.last] = promised(self.core)

    def crash(self, quietly: bool) -> None:
        """All it knew is gone; its peers are told by the kernel, unless the machine vanished."""
        self._agenda.tell("master crashes", "quietly" if quietly else "")
        self.alive = False
        self._answers.clear()
        self._store.on_commit = lambda: None
        for connection in self._connections:
            connection.close(UP, quietly)

    def _hand_out(self, action: Action, ticket: int) -> None:
        match action:
            case StartAttempt(attempt):
                self._send(attempt.worker_id, _start(attempt), ticket)
            case StopAttempt(worker_id, token):
                self._send(worker_id, Stop(token), ticket)
            case AcknowledgeResult(worker_id, token):
                self._send(worker_id, Acknowledge(token), ticket)
            case AcceptWorker(worker_id, _, adopted):
                self._send(worker_id, Registered(self.core.state.term, tuple(a.token for a in adopted)), ticket)
            case ShutDownWorker(worker_id):
                self._send(worker_id, ShutDown(), ticket)
            case SpawnWorker(worker_id, port, capabilities, ephemeral):
                self._send(worker_id, Spawn(port, capabilities, ephemeral), ticket)
            case Provision(capability, count):
                self._provision(capability, count)
            case SendAlert():
                self.desk.alert(action)

    def _send(self, worker_id: str, frame: Frame, ticket: int) -> None:
        session = self._sessions.get(worker_id)
        if session is not None:
            session.put(frame, ticket)

    def _on_commit(self) -> None:
        for session in self._sessions.values():
            session.flush()
        durable = [say for ticket, say in self._answers if ticket <= self._store.committed]
        self._answers = self._answers[len(durable) :]
        for say in durable:
            say()

    # ── the clock ─────────────────────────────────────────────────────────────────────────────────

    def _set_alarm(self) -> None:
        due_at = self.core.next_due_at()
        if due_at is not None and (self._alarm_at is None or due_at < self._alarm_at):
            self._alarm_at = due_at
            late_s = self._agenda.spread(0.001, STALLED_S) if self._agenda.chance(0.02) else 0.0
            self._agenda.after(max(0.0, due_at - self._agenda.now) + late_s, lambda: self._ring(due_at))

    def _ring(self, at: float) -> None:
        """Nothing fires before the core knows the wall clock as it is; that done, it sets its alarm again."""
        if not self.alive or self._alarm_at != at:
            return
        self._alarm_at = None
        if self.desk.following or self.desk.clock_was_set:
            self.desk.follow_clock()
        else:
            self.handle(TimePassed("the disk is full" if self._store.full else ""))

    def _scale_later(self) -> None:
        self._agenda.after(SCALE_S, self._scale)

    def _scale(self) -> None:
        if self.alive:
            self.handle(ScalingDue())
            self._scale_later()

    def on_provision_failed(self, capability: str, count: int) -> None:
        if self.alive:
            self.handle(ProvisionFailed(capability, "the cloud is full", count))

    # ── sessions ──────────────────────────────────────────────────────────────────────────────────

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        if not self.alive:
            return
        if isinstance(frame, Register):
            self._register(connection, frame)
            return
        session = self._session_of[connection]
        session.heard_at = self._agenda.now
        self._oracle.heard(session.worker_id)
        if isinstance(frame, Result):
            session.reports.append(frame.report)
            if self._agenda.chance(0.3):
                self._agenda.after(self._agenda.spread(0.0001, TOGETHER_S), lambda: self._take_reports(session))
                return
        self._take_reports(session)
        match frame:
            case Ready(token, port):
                self.handle(ServiceReady(session.worker_id, token, port))
            case NotSpawned(port, reason):
                self.handle(SpawnFailed(session.worker_id, port, reason))
            case Goodbye():
                self.handle(WorkerSaidGoodbye(session.worker_id))
            case Trouble(text):
                self.handle(WorkerTroubleChanged(session.worker_id, session.number, text))
            case Beat(running):
                kill = workers.strays(self.core.state, session.worker_id, session.number, running)
                if kill:
                    session.put(Beat(kill), self._store.last)
                elif not session.ended:  # a greeting waits for no disk
                    connection.send(DOWN, Beat(()))

    def _take_reports(self, session: Session) -> None:
        """In one step."""
        if self.alive and session.reports:
            reports, session.reports = tuple(session.reports), []
            self.handle(AttemptsFinished(session.worker_id, reports))

    def _register(self, connection: Connection, frame: Register) -> None:
        worker_id = frame.info.worker_id
        self._agenda.tell("registers", frame.info.instance.decode(), *frame.running)
        self._connections = [c for c in self._connections if not c.over] + [connection]
        session = Session(next(self._numbers), worker_id, connection, self._store, self._agenda.now)
        older = self._sessions.get(worker_id)
        self._session_of[connection] = self._sessions[worker_id] = session
        self._oracle.heard(worker_id)
        try:
            self.handle(WorkerRegistered(frame.info, session.number, frame.running, frame.finished))
        except RequestRefused as refusal:
            self._restore(worker_id, older)
            del self._session_of[connection]
            connection.send(DOWN, Refused(refusal.message))
            connection.close(UP)
            return
        self._oracle.registered(worker_id, frame.info.instance)
        if older is not None:  # it is read to its end, which may be a while after
            older.ended = True
            self._agenda.after(self._agenda.spread(0.001, 1.0), lambda: self._end(older))

    def _restore(self, worker_id: str, older: Session | None) -> None:
        del self._sessions[worker_id]
        if older is not None:
            self._sessions[worker_id] = older

    def on_end(self, connection: Connection) -> None:
        if self.alive and connection in self._session_of:
            self._end(self._session_of[connection])

    def _end(self, session: Session) -> None:
        if not self.alive or self._session_of.pop(session.connection, None) is None:
            return
        self._take_reports(session)
        session.ended = True
        session.connection.close(UP)
        if self._sessions.get(session.worker_id) is session:
            del self._sessions[session.worker_id]
        self.handle(WorkerDisconnected(session.worker_id, session.number, session.heard_at))

    def _look_later(self) -> None:
        self._agenda.after(LOOK_S, self._look)

    def _look(self) -> None:
        if not self.alive:
            return
        for session in list(self._sessions.values()):
            if self._agenda.now - session.heard_at >= self._settings.death_s:
                self._end(session)
        self._look_later()
