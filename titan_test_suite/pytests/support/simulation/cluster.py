"""One history of a cluster, from a seed: load and faults for a while, then no more faults, then judgement.

simulate(7)            raises Broken, with the story, if anything was not as it was promised
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from titan_core.scheduler.model import WorkerInfo
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.figures import Figures, figures_of
from titan_test_suite.pytests.support.simulation.fire_rules import LATE_S
from titan_test_suite.pytests.support.simulation.load import People
from titan_test_suite.pytests.support.simulation.master import Master
from titan_test_suite.pytests.support.simulation.network import DOWN, UP
from titan_test_suite.pytests.support.simulation.newcomers import Newcomers
from titan_test_suite.pytests.support.simulation.oracle import Oracle
from titan_test_suite.pytests.support.simulation.planners import Planners
from titan_test_suite.pytests.support.simulation.promises import differences, promised
from titan_test_suite.pytests.support.simulation.settings import DEATH_S, settings_of
from titan_test_suite.pytests.support.simulation.store import Rows, Store
from titan_test_suite.pytests.support.simulation.worker import Worker

CAPABILITIES = frozenset({"GENERAL", "GPU"})
ALL_RUNS = 1000
"""More than there are in a history."""
CHAOS_S = 120.0
CALM_S = 100.0
"""In which everybody has found each other, or has been given up."""
LONGEST_S = 25.0
"""Longer than an execution that is no service takes, and its orders and results."""
REST_S = 3000.0
"""How long everything may take to its end once faults have stopped."""
KEPT_S = 150.0
"""How long it may take, once all workers can run anything, until services are as people want them."""
SCALED_S = 200.0
"""How long until a cluster that has nothing to do has only workers that somebody else has started."""
STORY_LINES = 120


class Broken(AssertionError):
    """Something was not as it was promised; the message has the story that led there."""


def simulate(seed: int, check_each: int = 1, runs_kept: int = ALL_RUNS, rows: Rows | None = None) -> Figures:
    """Live through the history of this seed. The core's invariants, which read everything, are looked at after every
    `check_each`-th step (0: never); the judge looks at each. `runs_kept`: finished runs that stay in memory.
    `rows`: where all is kept, if not in plain dictionaries."""
    cluster = Cluster(seed, check_each, runs_kept, rows or Rows())
    try:
        return cluster.live()
    except Exception as error:
        story = cluster.agenda.story(STORY_LINES)
        raise Broken(f"seed {seed}, at {cluster.agenda.now:.3f}: {error!r}\n{story}") from error


class Cluster:
    def __init__(self, seed: int, check_each: int, runs_kept: int, rows: Rows) -> None:
        self.agenda = agenda = Agenda(seed)
        self._check_each = check_each
        self._grace_s = agenda.dice.choice([20.0, 60.0])
        self._settings = settings_of(agenda, runs_kept)
        self.store = Store(agenda, rows, lambda step: self.oracle.durable(step))
        self.oracle = Oracle(agenda, rows, min(DEATH_S, self._grace_s))
        self.master: Master | None = None
        self.workers = [self._new_worker(number) for number in range(agenda.dice.randint(2, 4))]
        self.newcomers = Newcomers(agenda, self.workers, self._worker)
        self.people = People(
            agenda,
            self.oracle,
            self._serving,
            lambda: [worker.worker_id for worker in self.workers],
            again=runs_kept == ALL_RUNS,
        )
        self.planners = Planners(agenda, self._serving)
        self._memory: dict[str, Any] | None = None
        """What the master before this one knew at its last durable step; None: nobody looked."""
        self._compared = 0
        self._faults_until = 0.0

    # ── the history ───────────────────────────────────────────────────────────────────────────────

    def live(self) -> Figures:
        agenda = self.agenda
        self._start_master()
        for worker in self.workers:
            worker.start()
        self._faults_until = agenda.now + CHAOS_S
        self._again(0.3, 8.0, self.people.submit)
        self._again(1.0, 12.0, self.people.ask)
        self._again(0.8, 8.0, self.people.ask_about_services)
        self._again(4.0, 40.0, self.people.ask_about_workers)
        self._again(0.5, 6.0, self.people.look)
        self._again(0.5, 8.0, self.planners.ask)
        self._again(4.0, 40.0, self._set_clock)
        self._again(1.0, 15.0, self._something_fails)
        self._again(20.0, 60.0, self._start_dead_workers)
        agenda.run_until(self._faults_until)
        self._faults_stop()
        self._equip_workers()
        self._check_services()
        self._check_schedules()
        self._come_to_rest()
        self._check_at_rest()
        return self._figures()

    def _figures(self) -> Figures:
        return figures_of(self.oracle, self._compared, self.newcomers.born)

    def _again(self, low_s: float, high_s: float, what: Callable[[], None]) -> None:
        """Have it happen at random as long as there is load."""

        def happen() -> None:
            if self.agenda.now < self._faults_until:
                what()
                self._again(low_s, high_s, what)

        self.agenda.after(self.agenda.spread(low_s, high_s), happen)

    def _faults_stop(self) -> None:
        """Everybody is there, and can be reached. After a while what is RUNNING runs, and nothing else does."""
        self.agenda.tell("faults stop")
        self.agenda.calm = True
        self.store.full = False
        self._tell_clock()
        if self.master is None:
            self._start_master()
        for worker in self.workers:
            worker.ways.slowness = 1.0
            worker.ways.free_again()
            worker.say_trouble("")
        self._start_dead_workers()
        self.agenda.run_until(self.agenda.now + CALM_S)
        before = self._differing()
        self.agenda.run_until(self.agenda.now + LONGEST_S)
        differing = [token for token in self._differing() if token in before]
        assert not differing, f"RUNNING and not run, or run and not RUNNING: {self.oracle.described(differing)}"

    def _differing(self) -> list[bytes]:
        """Attempts that are on their way to begin or to end, or stuck there."""
        running = {token for worker in self.workers for token in worker.running}
        return sorted(running.symmetric_difference(self.oracle.running()))

    def _equip_workers(self) -> None:
        """New processes, which can run anything; whoever was bound to one of them is served."""
        for worker in self._lasting():
            worker.crash()
            self._begin(worker, replace(worker.info, capabilities=CAPABILITIES))

    def _check_services(self) -> None:
        """After a while services are as people want them."""
        until_at = self.agenda.now + KEPT_S
        while (unkept := self._unkept()) and self.agenda.now < until_at:
            self.people.release_workers()
            self._start_dead_workers()
            self.agenda.run_until(self.agenda.now + 5.0)
        assert not unkept, "services are not as they are wanted:\n" + "\n".join(unkept)

    def _unkept(self) -> list[str]:
        return self.oracle.wants.unkept({worker.worker_id for worker in self._lasting()})

    def _check_schedules(self) -> None:
        """Every slot up to now has its line; then nothing more is to be due."""
        wall = self.agenda.wall
        self.agenda.run_until(self.agenda.now + LATE_S)
        self.oracle.timekeeper.check_complete(wall)
        self.planners.wind_up()

    def _come_to_rest(self) -> None:
        until_at = self.agenda.now + REST_S
        while self.agenda.now < until_at:
            self.people.release_workers()
            self.people.stop_services()
            self.people.give_up_bound_jobs()
            self._start_dead_workers()  # people may have shut one down in the last moment
            self.agenda.run_until(self.agenda.now + 5.0)
            if not self.people.waiting and not self.oracle.open_jobs() and not self.oracle.timekeeper.untold():
                break
        self.agenda.run_until(self.agenda.now + 10.0)  # the last acknowledgements
        self._scale_down()

    def _scale_down(self) -> None:
        until_at = self.agenda.now + SCALED_S
        while (left := self._ephemeral()) and self.agenda.now < until_at:
            self.agenda.run_until(self.agenda.now + 5.0)
        assert not left, f"{left} are left, and there is nothing to do"

    def _ephemeral(self) -> list[str]:
        return [worker.worker_id for worker in self.workers if worker.alive and worker.info.ephemeral]

    def _check_at_rest(self) -> None:
        self.oracle.check_end()
        assert not self.people.waiting, f"not answered: {self.people.waiting}"
        assert self.master is not None
        state = self.master.core.state
        assert not state.attempts, f"on workers are {list(state.attempts.values())}"
        assert not state.lost, f"given up, but still good are {list(state.lost.values())}"
        assert all(worker.free_slots == worker.info.slots for worker in state.workers.values())
        for worker in self.workers:
            assert not worker.running, f"{worker.worker_id} runs {worker.running}"
            assert not worker.journal or not worker.alive, f"{worker.worker_id} keeps {worker.journal}"

    # ── the master ────────────────────────────────────────────────────────────────────────────────

    def _serving(self) -> Master | None:
        """A master that takes requests; one whose disk is full refuses what would change anything."""
        return None if self.store.full else self.master

    def _start_master(self) -> None:
        self.agenda.tell("master starts")
        self.master = Master(
            self.agenda,
            self.store,
            self.oracle,
            self._settings,
            self._grace_s,
            self._check_each,
            self._provision,
        )
        self.oracle.recovered(self.store.term)
        if self._memory is not None:
            self._compare(self._memory)

    def _compare(self, before: dict[str, Any]) -> None:
        """The new master knows what the old one knew at its last durable step."""
        assert self.master is not None
        after = promised(self.master.core, self.master.first_new)
        wrong = differences(before, after, edges=self._settings.runs_kept == ALL_RUNS)
        assert not wrong, "recovered is not what was durable:\n" + "\n".join(wrong)
        self._compared += 1

    def _provision(self, capability: str, count: int) -> None:
        master = self.master
        assert master is not None
        self.newcomers.provision(capability, count, master.on_provision_failed)

    def _crash_master(self) -> None:
        master = self.master
        if master is None:
            return
        master.watch()
        self.agenda.after(self.agenda.spread(0.01, 1.0), lambda: self._kill(master))

    def _kill(self, master: Master) -> None:
        if self.master is not master:
            return
        master.crash(quietly=self.agenda.chance(0.2))
        self.master = None
        self.oracle.master_crashes += 1
        self.store.crash()
        self._memory = master.memory.get(self.store.committed)
        self.agenda.after(self.agenda.spread(0.2, 40.0), self._restart_master)

    def _restart_master(self) -> None:
        if self.master is None:
            self._start_master()

    # ── faults ────────────────────────────────────────────────────────────────────────────────────

    def _something_fails(self) -> None:
        self.agenda.dice.choice(self._FAULTS)(self)

    def _cut_connections(self) -> None:
        self._any_worker().ways.break_connections()

    def _block_ways(self) -> None:
        """Nothing comes through, in one direction or in both, for a moment or for long."""
        ways = self._any_worker().ways
        for way in self.agenda.dice.choice([(UP,), (DOWN,), (UP, DOWN), (UP, DOWN)]):
            ways.blocked[way] = True
        self.agenda.after(self.agenda.spread(0.2, 90.0), ways.free_again)

    def _slow_down(self) -> None:
        ways = self._any_worker().ways
        ways.slowness = 100.0

        def hurry() -> None:
            ways.slowness = 1.0

        self.agenda.after(self.agenda.spread(1.0, 20.0), hurry)

    def _crash_worker(self) -> None:
        worker, quietly = self._any_worker(), self.agenda.chance(0.3)
        worker.crash(quietly, journal_lost=self.agenda.dice.randrange(3) if quietly else 0)
        if worker.info.ephemeral and not worker.info.parent:
            worker.clear_away()  # a machine of its own, which is gone with it
        self._start_again(worker)

    def _worker_leaves(self) -> None:
        worker = self._any_worker()
        worker.leave()
        self.agenda.after(6.0, lambda: self._start_again(worker))

    def _worker_in_trouble(self) -> None:
        worker = self._any_worker()
        worker.say_trouble("its disk is full")
        self.agenda.after(self.agenda.spread(1.0, 20.0), lambda: worker.say_trouble(""))

    def _fill_disk(self) -> None:
        self.store.full = True

        def make_room() -> None:
            self.store.full = False

        self.agenda.after(self.agenda.spread(0.5, 20.0), make_room)

    def _set_clock(self) -> None:
        """Somebody sets the clock of the master's machine; mostly the master is told at once, if there is one."""
        forward_s = self.agenda.spread(0.01, 900.0) * self.agenda.dice.choice([1, -1])
        self.agenda.tell("clock is set", forward_s)
        self.agenda.wall_offset_s += forward_s
        late_s = self.agenda.spread(0.0005, 20.0 if self.agenda.chance(0.1) else 0.01)
        self.agenda.after(late_s, self._tell_clock)

    def _tell_clock(self) -> None:
        if self.master is not None:
            self.master.desk.follow_clock()

    def _start_again(self, worker: Worker) -> None:
        """Somebody does, and may set it up differently; nobody does it for one that the cluster made for itself."""
        if worker.info.ephemeral:
            return
        offers = self.agenda.dice.choice([frozenset({"GENERAL"}), CAPABILITIES])
        info = replace(worker.info, capabilities=offers, slots=self.agenda.dice.randint(1, 3))
        self.agenda.after(self.agenda.spread(0.1, 50.0), lambda: self._start(worker, info))

    def _start(self, worker: Worker, info: WorkerInfo) -> None:
        if self.agenda.now < self._faults_until:
            self._begin(worker, info)

    def _start_dead_workers(self) -> None:
        for worker in self._lasting():
            self._begin(worker, worker.info)

    def _begin(self, worker: Worker, info: WorkerInfo) -> None:
        """A new process, which ends what dead workers of its home have left."""
        if not worker.alive:
            for other in self.workers:
                if other.host == worker.host and not other.alive:
                    other.clear_away()
            worker.start(info)

    def _lasting(self) -> list[Worker]:
        """Those that somebody starts again."""
        return [worker for worker in self.workers if not worker.info.ephemeral]

    _FAULTS: tuple[Callable[[Cluster], None], ...] = (
        _cut_connections,
        _cut_connections,
        _block_ways,
        _block_ways,
        _slow_down,
        _crash_worker,
        _crash_worker,
        _worker_leaves,
        _worker_in_trouble,
        _fill_disk,
        _crash_master,
        _crash_master,
        _crash_master,
        _crash_master,
    )

    # ── its parts ─────────────────────────────────────────────────────────────────────────────────

    def _new_worker(self, number: int) -> Worker:
        """Two on one host, the others on their own."""
        offers = CAPABILITIES if number == 0 else frozenset({"GENERAL"})
        name = f"h{max(0, number - 1)}:{8080 + (number == 1)}"
        return self._worker(
            WorkerInfo(name, b"", offers, self.agenda.dice.randint(1, 3), permanent=number == 1, cpu_count=2)
        )

    def _worker(self, info: WorkerInfo) -> Worker:
        return Worker(
            self.agenda,
            self.oracle,
            info,
            lambda: self.master,
            DEATH_S,
            lambda parent, order: self.newcomers.spawn(parent, order),
        )

    def _any_worker(self) -> Worker:
        return self.agenda.dice.choice(self.workers)
