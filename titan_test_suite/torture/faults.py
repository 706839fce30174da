"""Kills: `kill -9` of the master or a worker every few seconds, and a new process in its place at once.

The master is killed when a schedule is due, more often than not; and now and then nobody starts another one for a
while.

A worker that another one has started is killed as well, and nothing comes in its place. What it ran goes on until a
worker is started in its home: so whoever has the same home is killed, and started, once more before all is calm.

A thread of its own makes them. It also sees when a program ends that nobody killed, which none may.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from titan_test_suite.torture import spawned
from titan_test_suite.torture.programs import Member, Programs
from titan_test_suite.torture.spawned import Spawned

_PERIOD_S, _SPARED_S = 60.0, 30.0
"""In the second half of each period the master is spared: a cluster whose master has just started does not grow.
It is hit as much more often in the first."""
NEAR_S = 0.05
"""How near to when a schedule is due such a kill comes, before it or after it."""
_AWAY_SHARE, _AWAY_S = 0.3, (0.5, 3.5)
"""The part of the master's kills after which nobody starts another one at once, and for how long."""
_SPAWNED_SHARE = 0.25
"""The part of the workers' kills that hits one that another one has started, if there is one."""


class Kill(NamedTuple):
    member: str
    """`master`, the name of a worker, or `host:port` of one that another one has started."""
    wall: float
    """When, in seconds since the epoch."""
    again_wall: float = 0.0
    """When another one was started in its place; 0 = at once."""


class Killer:
    """`between_s`: the shortest and the longest time between two kills. `master_share`: the part of them that
    hits the master; the rest is the workers'. `list_spawned()` are those that workers have started. `next_due(wall)`
    says when a schedule is due next; `due_share` is the part of the master's kills that comes just then."""

    def __init__(
        self,
        programs: Programs,
        chance: random.Random,
        between_s: tuple[float, float],
        master_share: float,
        list_spawned: Callable[[], list[Spawned]],
        next_due: Callable[[float], int | None],
        due_share: float,
    ) -> None:
        self._next_due = next_due
        self._due_share = due_share
        self._list_spawned = list_spawned
        self._littered: set[str] = set()
        """Names of the workers in whose homes one has left what it ran."""
        self.spawned: set[tuple[str, int]] = set()
        """`host:port` and pid of those that were ever seen."""
        self._programs = programs
        self._chance = chance
        self._between_s = between_s
        self._master_share = master_share
        self._calm = threading.Event()
        self._thread = threading.Thread(target=self._rage, name="killer")
        self.kills: list[Kill] = []
        self.ended: list[str] = []
        """Sentences about programs that ended by themselves."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No more kills; every program runs, or has been started again. Idempotent."""
        self._calm.set()
        if self._thread.is_alive():
            self._thread.join()
        for member in self._programs.workers:
            if member.name in self._littered:
                self._kill(member)

    def count(self, master: bool) -> int:
        return sum((kill.member == "master") is master for kill in self.kills)

    def walls_of_master(self) -> list[float]:
        """When the master was killed."""
        return [kill.wall for kill in self.kills if kill.member == "master"]

    def _rage(self) -> None:
        began_at = time.monotonic()
        while not self._calm.wait(self._chance.uniform(*self._between_s)):
            self.look_after()
            present = self._list_spawned()
            self.spawned |= {(one.worker_id, one.pid) for one in present}
            if self._chance.random() < self._share_of_master(time.monotonic() - began_at):
                if not self._until_due():
                    return
                self._kill_master()
            elif present and self._chance.random() < _SPAWNED_SHARE:
                self._kill_spawned(self._chance.choice(present))
            else:
                self._kill(self._chance.choice(self._programs.workers))

    def _share_of_master(self, passed_s: float) -> float:
        """The part of the kills that hits the master just now; over a whole period it is what was asked for."""
        struck_s = _PERIOD_S - _SPARED_S
        return self._master_share * _PERIOD_S / struck_s if passed_s % _PERIOD_S < struck_s else 0.0

    def _until_due(self) -> bool:
        """Wait for a moment that is near a due one, if it is to be such a kill; False: all is to be calm now."""
        due = self._next_due(time.time() + NEAR_S)
        if due is None or self._chance.random() >= self._due_share:
            return True
        near_s = self._chance.uniform(-NEAR_S, NEAR_S)
        return not self._calm.wait(max(0.0, due + near_s - time.time()))

    def _kill_master(self) -> None:
        killed_wall = self._programs.master.kill()
        if self._chance.random() < _AWAY_SHARE:
            self._calm.wait(self._chance.uniform(*_AWAY_S))
        self.kills.append(Kill("master", killed_wall, time.time()))
        self._programs.master.start()

    def _kill(self, member: Member) -> None:
        self._littered.discard(member.name)
        self.kills.append(Kill(member.name, member.kill()))
        member.start()

    def _kill_spawned(self, worker: Spawned) -> None:
        at_wall = time.time()
        command = spawned.kill(worker, self._programs.home)
        if command:
            self.kills.append(Kill(worker.worker_id, at_wall))
            self._littered |= {n for n, home in self._programs.worker_homes.items() if str(home) in command.split()}

    def look_after(self) -> None:
        """Start again what ended by itself, and write that down."""
        for member in self._programs.all:
            code = member.exit_code()
            if code is not None:
                self.ended.append(f"{member.name} ended by itself with exit code {code}:\n{member.tail()}")
                member.start()
