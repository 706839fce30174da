"""Reads what the jobs wrote (see scripts): the only witness of what ran."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    what: str
    """`start` or `end`."""
    run_id: str
    job_id: str
    number: int
    """Of the attempt."""
    token: str
    wall: float
    pid: int
    exit_code: int
    worker: str
    """`host:port`; the name of the file."""
    schedule: str = ""
    """What the job was told of the schedule that has started it; empty: nothing."""
    slot: int = 0
    """Likewise: for when, in seconds since the epoch."""

    @property
    def key(self) -> str:
        return f"{self.run_id}/{self.job_id}"

    def __str__(self) -> str:
        return f"{self.wall:.3f} {self.what} attempt {self.number} on {self.worker} pid {self.pid} {self.exit_code}"


class Ledger:
    """Starts and ends by the full key of their job, oldest first."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.starts: dict[str, list[Line]] = defaultdict(list)
        self.ends: dict[str, list[Line]] = defaultdict(list)
        for line in sorted(lines, key=lambda line: line.wall):
            (self.starts if line.what == "start" else self.ends)[line.key].append(line)

    @classmethod
    def read(cls, directory: Path) -> Ledger:
        """All files of the directory. A last line that is not whole, of a job just killed, is left out."""
        return cls(_parse(path.name, text) for path in directory.iterdir() for text in _whole_lines(path))

    def end_of(self, key: str, number: int) -> Line | None:
        """How the attempt ended by itself; None: it never did."""
        return next((line for line in self.ends.get(key, ()) if line.number == number), None)

    def of(self, key: str) -> list[Line]:
        """All lines of a job, oldest first."""
        return sorted([*self.starts.get(key, ()), *self.ends.get(key, ())], key=lambda line: line.wall)


def _whole_lines(path: Path) -> list[str]:
    return path.read_text().split("\n")[:-1]


def _parse(worker: str, text: str) -> Line:
    what, run_id, job_id, number, token, wall, pid, exit_code, *fire = text.split(" ")
    line = Line(what, run_id, job_id, int(number), token, float(wall), int(pid), int(exit_code), worker)
    return line._replace(schedule=fire[0], slot=_instant(fire[1])) if fire else line


def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())
