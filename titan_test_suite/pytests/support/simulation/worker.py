"""A worker, modelled: it runs what it is told to, keeps its results until they are acknowledged, and dies.

Its journal is on its disk and outlives it; its executions do not, but may run on unseen until the next
process of this worker, or of another one on its host, clears them away. What executions do is told to the oracle,
whoever else hears of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from titan_core.scheduler.events import AttemptReport
from titan_core.scheduler.model import WorkerInfo
from titan_core.scheduler.states import Outcome
from titan_test_suite.pytests.support.cluster_model import report
from titan_test_suite.pytests.support.graphs import BAD, FRAIL
from titan_test_suite.pytests.support.simulation.agenda import Agenda
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
from titan_test_suite.pytests.support.simulation.network import DOWN, UP, Connection, Endpoint, Ways
from titan_test_suite.pytests.support.simulation.oracle import Oracle

HEARTBEAT_S = 8.0
REGISTER_S = 15.0
"""How long the answer to a registration may take."""
FAILURES = (
    Outcome.FAILED,
    Outcome.FAILED,
    Outcome.FAILED,
    Outcome.TIMED_OUT,
    Outcome.NOT_STARTED,
    Outcome.INTERRUPTED,
)
NEVER_READY = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.NOT_STARTED)


@dataclass(eq=False)
class Execution:
    start: Start
    up: bool = False
    over: bool = False


class Worker:
    """`listening()` is where to dial: the master's endpoint, or None when nobody is there. `on_spawn` is called when
    it is told to start another worker."""

    def __init__(
        self,
        agenda: Agenda,
        oracle: Oracle,
        info: WorkerInfo,
        listening: Callable[[], Endpoint | None],
        death_s: float,
        on_spawn: Callable[[Worker, Spawn], None] = lambda worker, order: None,
    ) -> None:
        self._on_spawn = on_spawn
        self._agenda, self._oracle, self._listening, self._death_s = agenda, oracle, listening, death_s
        self.info = info
        self.ways = Ways(agenda)
        self.journal: dict[bytes, AttemptReport] = {}
        self.running: dict[bytes, Execution] = {}
        self.alive = False
        self.leaving = False
        self._leftovers: list[Execution] = []
        self._term = 0
        self._processes = 0
        self._connection: Connection | None = None
        self._introduction = Register(info, (), ())
        self._registered = False
        self._heard_at = 0.0

    @property
    def worker_id(self) -> str:
        return self.info.worker_id

    @property
    def host(self) -> str:
        return self.info.host

    @property
    def connected(self) -> bool:
        return self._registered

    # ── its life ──────────────────────────────────────────────────────────────────────────────────

    def start(self, info: WorkerInfo | None = None) -> None:
        """A new process, which ends what the one before it has left, and may be set up differently."""
        if self.alive:
            return
        self.clear_away()
        self._processes += 1
        self.info = replace(info or self.info, instance=f"{self.worker_id}#{self._processes}".encode())
        self.alive, self.leaving = True, False
        self._agenda.tell("worker starts", self.info.instance.decode())
        self._dial_soon()
        self._beat_later(self._processes)

    def clear_away(self) -> None:
        """End what a process of it has left."""
        for execution in self._leftovers:
            self._end_unseen(execution)
        self._leftovers.clear()

    def crash(self, quietly: bool = False, journal_lost: int = 0) -> None:
        """`kill -9`; or `quietly`, the whole machine: nobody is told, and what was written last is not there."""
        if not self.alive:
            return
        self._agenda.tell("worker crashes", self.worker_id, "quietly" if quietly else "")
        self._oracle.worker_failed(self.worker_id, self.info.instance)
        self.alive = False
        self._leftovers += self.running.values()
        self.running.clear()
        for token in list(self.journal)[-journal_lost:] if journal_lost else []:
            del self.journal[token]
        self._drop(quietly)

    def leave(self) -> None:
        """SIGTERM: it takes no more work, interrupts what runs, and is gone."""
        if not self.alive or self.leaving:
            return
        self._agenda.tell("worker leaves", self.worker_id)
        self._oracle.worker_failed(self.worker_id, self.info.instance)
        self.leaving = True
        self._say(Goodbye())
        for execution in list(self.running.values()):
            self._end_in(self._agenda.spread(0.01, 3), execution, Outcome.INTERRUPTED)
        process = self._processes
        self._agenda.after(5.0, lambda: self._be_gone(process))

    def _be_gone(self, process: int) -> None:
        if self.alive and process == self._processes:
            self.alive = False
            self._leftovers += self.running.values()
            self.running.clear()
            self._drop()

    # ── the session ───────────────────────────────────────────────────────────────────────────────

    def _dial_soon(self) -> None:
        process = self._processes
        self._agenda.after(self._agenda.spread(0.05, 2.0), lambda: self._dial(process))

    def _dial(self, process: int) -> None:
        if not self.alive or process != self._processes or self._connection is not None:
            return
        master = self._listening()
        if master is None or not self.ways.free:
            self._dial_soon()
            return
        connection = self.ways.connect(self, master)
        self._connection, self._heard_at = connection, self._agenda.now
        running = tuple(token for token in self.running if token not in self.journal)
        self._introduction = Register(self.info, running, tuple(self.journal.values()))
        connection.send(UP, self._introduction)
        self._agenda.after(REGISTER_S, lambda: self._give_up_registering(connection))

    def _give_up_registering(self, connection: Connection) -> None:
        if connection is self._connection and not self._registered:
            self._redial()

    def on_end(self, connection: Connection) -> None:
        if connection is self._connection:
            self._redial()

    def _redial(self) -> None:
        self._drop()
        if self.alive:
            self._dial_soon()

    def _drop(self, quietly: bool = False) -> None:
        connection, self._connection, self._registered = self._connection, None, False
        if connection is not None:
            connection.close(DOWN, quietly)

    def _say(self, frame: Frame) -> None:
        if self._registered and self._connection is not None:
            self._connection.send(UP, frame)

    def say_trouble(self, text: str) -> None:
        self._say(Trouble(text))

    def _beat_later(self, process: int) -> None:
        self._agenda.after(HEARTBEAT_S * self._agenda.dice.uniform(0.5, 1.0), lambda: self._beat(process))

    def _beat(self, process: int) -> None:
        if not self.alive or process != self._processes:
            return
        if self._registered and self._agenda.now - self._heard_at >= self._death_s:
            self._agenda.tell("worker does not hear the master", self.worker_id)
            self._redial()
        # Another thread may tell a result between the look at what runs and the word of it.
        connection, beat = self._connection, Beat(tuple(self.running))
        self._agenda.after(self._agenda.spread(0.0001, 0.1), lambda: self._say_still(connection, beat))
        self._beat_later(process)

    def _say_still(self, connection: Connection | None, frame: Frame) -> None:
        if connection is self._connection:
            self._say(frame)

    # ── orders ────────────────────────────────────────────────────────────────────────────────────

    def on_frame(self, connection: Connection, frame: Frame) -> None:
        if connection is not self._connection:
            return
        self._heard_at = self._agenda.now
        match frame:
            case Registered(term, adopted):
                self._on_registered(term, set(adopted))
            case Refused():
                self._redial()
            case Start():
                self.on_start(frame)
            case Stop(token):
                if token in self.running:
                    self._end_in(self._agenda.spread(0.01, 3), self.running[token], Outcome.STOPPED)
            case Acknowledge(token):
                self._forget(token)
            case Beat(kill):
                for token in kill:
                    self._give_up(token)
            case ShutDown():
                self.leave()
            case Spawn():
                self._on_spawn(self, frame)

    def _on_registered(self, term: int, adopted: set[bytes]) -> None:
        if term < self._term:
            self._redial()
            return
        self._term, self._registered = term, True
        for token in self._introduction.running:
            if token not in adopted:
                self._give_up(token)
        told = {finished.token for finished in self._introduction.finished}
        for token, finished in self.journal.items():
            if token not in told:
                self._say(Result(finished))
        for token, execution in self.running.items():
            if execution.up:
                self._say(Ready(token, execution.start.port))
        if self.leaving:
            self._say(Goodbye())

    def on_start(self, start: Start) -> None:
        """Run it. The same order twice is one order."""
        if start.token in self.running or start.token in self.journal:
            return
        execution = self.running[start.token] = Execution(start)
        self._oracle.started(start, self.worker_id)
        if self.leaving:
            self._end(execution, Outcome.INTERRUPTED)
        elif start.service:
            self._serve(execution)
        else:
            self._end_in(self._agenda.spread(0.02, 20), execution, self._fate())

    def _serve(self, execution: Execution) -> None:
        """Get ready, after a while; end by itself, maybe, as long as there are faults."""
        kind = execution.start.args[0]
        if kind == BAD:
            self._end_in(self._agenda.spread(0.2, 5), execution, self._agenda.dice.choice(NEVER_READY))
            return
        self._agenda.after(self._agenda.spread(0.05, 5), lambda: self._come_up(execution))
        if not self._agenda.calm and self._agenda.chance(0.9 if kind == FRAIL else 0.2):
            self._end_in(self._agenda.spread(0.05, 6 if kind == FRAIL else 40), execution, self._fate())

    def say_not_spawned(self, port: int, reason: str) -> None:
        self._say(NotSpawned(port, reason))

    def _fate(self) -> Outcome:
        return Outcome.SUCCEEDED if self._agenda.chance(0.8) else self._agenda.dice.choice(FAILURES)

    def _give_up(self, token: bytes) -> None:
        """Nobody wants its result any more."""
        self._forget(token)
        execution = self.running.pop(token, None)
        if execution is not None:
            self._end_unseen(execution)

    def _forget(self, token: bytes) -> None:
        if self.journal.pop(token, None) is not None:
            self._oracle.forgotten(token)

    # ── executions ────────────────────────────────────────────────────────────────────────────────

    def _come_up(self, execution: Execution) -> None:
        if not execution.over:
            execution.up = True
            self._oracle.came_up(execution.start.token)
            if self._is_mine(execution):
                self._say(Ready(execution.start.token, execution.start.port))

    def _end_in(self, delay_s: float, execution: Execution, outcome: Outcome) -> None:
        self._agenda.after(delay_s, lambda: self._end(execution, outcome))

    def _end(self, execution: Execution, outcome: Outcome) -> None:
        """It ended by itself or because it was stopped; a worker that is there writes its journal, then says so."""
        if execution.over:
            return
        execution.over = True
        token = execution.start.token
        self._oracle.ended(token, outcome)
        if self._is_mine(execution):
            del self.running[token]
            self.journal[token] = report(token, outcome)
            self._say(Result(self.journal[token]))

    def _end_unseen(self, execution: Execution) -> None:
        if not execution.over:
            execution.over = True
            self._oracle.killed(execution.start.token)

    def _is_mine(self, execution: Execution) -> bool:
        return self.alive and self.running.get(execution.start.token) is execution
