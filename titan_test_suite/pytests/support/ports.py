"""Ports for programs that are told theirs, of several suites at once on one machine: nobody else is given them.

They are below those that the system serves (from 32,768) and those of `port: auto` (from 20,000). Each process has a
block of them to itself, as long as it lives, and gives each one only once until it has been through them all: what
listened on a port that was given before may come back to it.
"""

from __future__ import annotations

import atexit
import random
import socket
import threading

_BLOCK = 250
_BLOCKS = range(10_000, 20_000, _BLOCK)


class _Block:
    """Ports of this process; nobody else has them."""

    def __init__(self) -> None:
        # A name that goes with the process, and that is seen by all who share the ports (a network namespace).
        self._name = socket.socket(socket.AF_UNIX)
        atexit.register(self._name.close)
        self._first = next(filter(self._take, random.sample(_BLOCKS, len(_BLOCKS))), 0)
        if not self._first:
            raise RuntimeError(f"{len(_BLOCKS)} other processes have all ports for tests")
        self._given = 0
        self._turn = threading.Lock()

    def _take(self, first: int) -> bool:
        try:
            self._name.bind(f"\0titan-ports-of-tests-{first}")
        except OSError:
            return False
        return True

    def give(self, count: int) -> int:
        """The first of `count` free ports in a row."""
        with self._turn:
            for _ in range(_BLOCK):
                if self._given + count > _BLOCK:
                    self._given = 0
                first = self._first + self._given
                if all(map(_is_free, range(first, first + count))):
                    self._given += count
                    return first
                self._given += 1
        raise RuntimeError(f"of {_BLOCK} ports for tests, {count} in a row are not free")


_ours = _Block()


def free_port() -> int:
    """One that is given to nobody else."""
    return _ours.give(1)


def free_ports(count: int) -> list[int]:
    """As many, wherever they are."""
    return [free_port() for _ in range(count)]


def free_range(count: int) -> tuple[int, int]:
    """The first and the last of as many in a row."""
    first = _ours.give(count)
    return first, first + count - 1


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
