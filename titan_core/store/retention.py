"""Deleting runs that are over: which, and how without anybody having to wait for it.

A run disappears at once, in the transaction that deletes its row; its jobs, attempts and events follow in pieces,
each a short transaction. What is left when the process ends is in `leftovers`, and goes on at the next start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from titan_core.store import schema

KNOWN_S = 30 * 86400.0
"""How long it is known that a run was deleted: a worker may be away for so long and is still told."""
PIECE_RUNS = 50
"""What is deleted in one transaction: rows of so many runs, else so many jobs with all they have, else events."""
PIECE_JOBS = 250
PIECE_EVENTS = 1000
PIECE_PAGES = 100
"""About how many pages a piece changes, for the WAL."""


def expired(connection: sqlite3.Connection, now_wall: float, keep_days: float, keep_runs: int) -> list[str]:
    """Ids of runs over for more than `keep_days`, or beyond the `keep_runs` that ended last; 0 = no bound."""
    too_old = connection.execute(
        "SELECT run_id FROM runs WHERE live_jobs = 0 AND finished_at < ?", (now_wall - keep_days * 86400.0,)
    )
    too_many = connection.execute(
        "SELECT run_id FROM runs WHERE live_jobs = 0 ORDER BY finished_at DESC, sequence DESC LIMIT -1 OFFSET ?",
        (keep_runs,),
    )
    found = dict.fromkeys(row[0] for row in too_old) if keep_days else {}
    if keep_runs:
        found |= dict.fromkeys(row[0] for row in too_many)
    return list(found)


def forgotten_since(connection: sqlite3.Connection, wall: float) -> list[str]:
    return [row[0] for row in connection.execute("SELECT run_id FROM forgotten WHERE wall >= ?", (wall,))]


def last_sequence(connection: sqlite3.Connection) -> int:
    """The highest number that a run or job has, or had: numbers are not given twice."""
    highest = connection.execute(
        "SELECT max(max(sequence, ifnull((SELECT max(sequence) FROM jobs WHERE run = runs.sequence), 0))) FROM runs"
    ).fetchone()[0]
    return max(int(highest or 0), int(schema.meta(connection, "last_sequence", 0)))


def sweep(connection: sqlite3.Connection, condemned: Sequence[str], now_wall: float) -> bool:
    """Make the condemned runs disappear, else delete a piece of what earlier ones left; whether more is left."""
    if condemned:
        schema.put_meta(connection, "last_sequence", last_sequence(connection))
        for run_id in condemned:
            _remove(connection, run_id, now_wall)
        connection.execute("DELETE FROM forgotten WHERE wall < ?", (now_wall - KNOWN_S,))
        return True
    row = connection.execute("SELECT run FROM leftovers LIMIT 1").fetchone()
    if row is None:
        return False
    if not (_delete_jobs(connection, row[0]) or _delete_events(connection, row[0])):
        connection.execute("DELETE FROM leftovers WHERE run = ?", row)
    return True


def _remove(connection: sqlite3.Connection, run_id: str, now_wall: float) -> None:
    """Unless it was revived meanwhile."""
    row = connection.execute("SELECT sequence FROM runs WHERE run_id = ? AND live_jobs = 0", (run_id,)).fetchone()
    if row is None:
        return
    connection.execute("DELETE FROM runs WHERE sequence = ?", row)
    for table in ("requests", "services", "definitions", "origins"):
        connection.execute(f"DELETE FROM {table} WHERE run = ?", row)
    connection.execute("INSERT INTO leftovers (run) VALUES (?)", row)
    connection.execute(
        "INSERT INTO forgotten (run_id, wall) VALUES (?, ?) ON CONFLICT (run_id) DO UPDATE SET wall = excluded.wall",
        (run_id, now_wall),
    )


def _delete_jobs(connection: sqlite3.Connection, run: int) -> bool:
    last = connection.execute(
        "SELECT max(sequence) FROM (SELECT sequence FROM jobs WHERE run = ? ORDER BY sequence LIMIT ?)",
        (run, PIECE_JOBS),
    ).fetchone()[0]
    if last is None:
        return False
    connection.execute(
        "DELETE FROM attempts WHERE job IN (SELECT sequence FROM jobs WHERE run = ? AND sequence <= ?)", (run, last)
    )
    connection.execute("DELETE FROM job_states WHERE run = ? AND job <= ?", (run, last))
    connection.execute("DELETE FROM jobs WHERE run = ? AND sequence <= ?", (run, last))
    return True


def _delete_events(connection: sqlite3.Connection, run: int) -> bool:
    last = connection.execute(
        "SELECT max(version) FROM (SELECT version FROM events WHERE run = ? ORDER BY version LIMIT ?)",
        (run, PIECE_EVENTS),
    ).fetchone()[0]
    if last is not None:
        connection.execute("DELETE FROM events WHERE run = ? AND version <= ?", (run, last))
    return last is not None
