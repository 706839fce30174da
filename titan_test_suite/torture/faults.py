"""Kills: `kill -9` of the master or a worker every few seconds, and a new process in its place at once.

A thread of its own makes them. It also sees when a program ends that nobody killed, which none may.
"""

from __future__ import annotations

import random
import threading
from typing import NamedTuple

from titan_test_suite.torture.programs import Member, Programs


class Kill(NamedTuple):
    member: str
    """`master`, or the name of a worker."""
    wall: float
    """When, in seconds since the epoch."""


class Killer:
    """`between_s`: the shortest and the longest time between two kills. `master_share`: the part of them that
    hits the master; the rest is the workers'."""

    def __init__(
        self, programs: Programs, chance: random.Random, between_s: tuple[float, float], master_share: float
    ) -> None:
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

    def count(self, master: bool) -> int:
        return sum((kill.member == "master") is master for kill in self.kills)

    def _rage(self) -> None:
        while not self._calm.wait(self._chance.uniform(*self._between_s)):
            self.look_after()
            self._kill(self._victim())

    def _victim(self) -> Member:
        if self._chance.random() < self._master_share:
            return self._programs.master
        return self._chance.choice(self._programs.workers)

    def _kill(self, member: Member) -> None:
        self.kills.append(Kill(member.name, member.kill()))
        member.start()

    def look_after(self) -> None:
        """Start again what ended by itself, and write that down."""
        for member in self._programs.all:
            code = member.exit_code()
            if code is not None:
                self.ended.append(f"{member.name} ended by itself with exit code {code}:\n{member.tail()}")
                member.start()
