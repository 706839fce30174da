"""What is stored, for those who ask: runs that memory no longer holds, events, what is dead.

Reads what is committed, through a connection of its own, and never holds up the writer. Any thread may ask;
they take turns. Raises Unavailable once the store has ended.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar

from titan_core.errors import Unavailable
from titan_core.scheduler.records import RunRecord, StoredRun
from titan_core.scheduler.schedule_records import OriginRecord
from titan_core.scheduler.states import JobState, RunState
from titan_core.store import schema
from titan_core.store.rows import read_run_rows, read_runs
from titan_core.store.schedule_rows import read_origins

CANDIDATES = 20
"""At most so many runs are named to somebody whose key fits several."""

P = ParamSpec("P")
T = TypeVar("T")


class StoredEvent(NamedTuple):
    version: int
    wall: float
    job_id: str
    before: str
    after: str
    reason: str
    attempt: int
    """The latest attempt at that instant; 0 = none had begun."""
    worker_id: str
    """Where that attempt was."""


class History:
    """The readable side of the database at `path`; `offset_s` is wall time minus monotonic time."""

    def __init__(self, path: Path | str, offset_s: float) -> None:
        self._offset_s = offset_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = (
            schema.connect_to_read(path) if isinstance(path, Path) else schema.connect_to_nothing()
        )

    def read(self, what: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What this function finds with the connection; all its queries see the state after the same step."""
        with self._lock:
            if self._connection is None:
                raise Unavailable("the master is stopping; ask again when it is back")
            self._connection.execute("BEGIN")
            try:
                return what(self._connection, *args, **named)
            finally:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────

    def run(self, run_id: str) -> StoredRun | None:
        """The run of exactly this id, whole; its instants are monotonic."""
        number = self._number("SELECT sequence FROM runs WHERE run_id = ?", run_id)
        found = () if number is None else self.read(read_runs, [number], self._offset_s)
        return found[0] if found else None

    def has_run(self, run_id: str) -> bool:
        """Whether there is a run of exactly this id."""
        return self._number("SELECT sequence FROM runs WHERE run_id = ?", run_id) is not None

    def had_run(self, run_id: str) -> bool:
        """Whether there is a run of this id, or one that was deleted: workers may still be told to forget it."""
        return self.has_run(run_id) or bool(self._one("SELECT run_id FROM forgotten WHERE run_id = ?", run_id))

    def find_run_ids(self, key: str) -> list[str]:
        """The run of this id; else the newest of this name; else those, newest first, whose id begins so.

        Several: the key fits several, of which at most `CANDIDATES` are named.
        """
        exact = self._one("SELECT run_id FROM runs WHERE run_id = ?", key)
        # Run ids begin with the name and a dash, which spares an index of names.
        low, high = _range(f"{key}-")
        named = exact or self._one(
            "SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? AND name = ? ORDER BY sequence DESC LIMIT 1",
            low, high, key,
        )  # fmt: skip
        if named or not key:
            return named
        return self._one(
            "SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY sequence DESC LIMIT ?",
            *_range(key), CANDIDATES,
        )  # fmt: skip

    def newest_run_with_job(self, job_id: str) -> str | None:
        """The id of the newest run that has a job of exactly this id."""
        found = self._one(
            "SELECT run_id FROM runs WHERE sequence IN (SELECT run FROM jobs WHERE job_id = ?)"
            " ORDER BY sequence DESC LIMIT 1",
            job_id,
        )
        return found[0] if found else None

    def request(self, request_id: bytes) -> str | None:
        """The id of the run that this submission made, or extended."""
        found = self._one(
            "SELECT run_id FROM requests JOIN runs ON runs.sequence = requests.run WHERE request_id = ?", request_id
        )
        return found[0] if found else None

    def runs(
        self,
        limit: int,
        state: str = "",
        name_prefix: str = "",
        from_sequence: int = 0,
        from_wall: float = 0.0,
        until_wall: float = 0.0,
    ) -> list[RunRecord]:
        """At most `limit` runs in this state, named so, newest first, none with a lower number than `from_sequence`,
        that went on between two instants (0.0 = no bound); their own instants are monotonic."""
        where = ["sequence >= ?"]
        values: list[object] = [from_sequence]
        if state:
            where.append("state = ?")
            values.append(RunState(state).value)
        if name_prefix:
            where.append("name >= ? AND name < ?")
            values += _range(name_prefix)
        if from_wall:
            where.append("(live_jobs > 0 OR finished_at IS NULL OR finished_at >= ?)")
            values.append(from_wall)
        if until_wall:
            where.append("submitted_at < ?")
            values.append(until_wall)
        text = f"WHERE {' AND '.join(where)} ORDER BY sequence DESC LIMIT ?"
        return self.read(read_run_rows, text, [*values, limit], self._offset_s)

    def origins(self, sequences: Iterable[int]) -> dict[int, OriginRecord]:
        """What started those of the runs with these numbers that no client did."""
        wanted = (json.dumps(list(sequences)),)
        return self.read(read_origins, "IN (SELECT value FROM json_each(?))", wanted)

    # ── jobs and events ───────────────────────────────────────────────────────────────────────────

    def jobs(self, state: str, limit: int, services_only: bool = False) -> tuple[list[tuple[str, str]], int]:
        """(run id, job id) of the newest jobs in this state, and how many there are."""
        wanted = f"job_states.state = '{JobState(state).value}'"  # no parameter, so that the index of DEAD is used
        text = (
            "FROM job_states JOIN jobs ON jobs.run = job_states.run AND jobs.sequence = job_states.job"
            f" JOIN runs ON runs.sequence = jobs.run WHERE {wanted}{' AND jobs.service' * services_only}"
        )
        rows = self.read(_all, f"SELECT run_id, job_id {text} ORDER BY job_states.job DESC LIMIT ?", limit)
        return [(row[0], row[1]) for row in rows], self.read(_all, f"SELECT count(*) {text}")[0][0]

    def events(self, run_id: str, job_id: str | None, after: int, limit: int) -> list[StoredEvent]:
        """The events of the run, or of one job of it, with a greater version than `after`, oldest first."""
        rows = self.read(
            _all,
            "SELECT events.version, at, job_id, before, after, events.reason, attempt, ifnull(worker_id, '')"
            " FROM events JOIN jobs ON jobs.run = events.run AND jobs.sequence = events.job"
            " LEFT JOIN attempts ON attempts.job = events.job AND attempts.number = events.attempt"
            " WHERE events.run = (SELECT sequence FROM runs WHERE run_id = ?) AND events.version > ?"
            " AND (? IS NULL OR job_id = ?) ORDER BY events.version LIMIT ?",
            run_id, after, job_id, job_id, limit,
        )  # fmt: skip
        return list(map(StoredEvent._make, rows))

    def worker_seen_wall(self, worker_id: str) -> float | None:
        """When the worker last registered, or was given up; None = it never came."""
        rows = self.read(_all, "SELECT seen_at FROM workers WHERE worker_id = ?", worker_id)
        return float(rows[0][0]) if rows else None

    def _number(self, text: str, *values: object) -> int | None:
        rows = self.read(_all, text, *values)
        return int(rows[0][0]) if rows else None

    def _one(self, text: str, *values: object) -> list[str]:
        return [row[0] for row in self.read(_all, text, *values)]


def _all(connection: sqlite3.Connection, text: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
    return connection.execute(text, values).fetchall()


def _range(prefix: str) -> tuple[str, str]:
    """What begins with `prefix` is at least the first and less than the second."""
    return prefix, prefix + chr(0x10FFFF)
