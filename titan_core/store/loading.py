"""What a master must know of the stored state to go on where the last one ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from titan_core.scheduler.records import GONE, StoredRun, WorkerRecord
from titan_core.scheduler.recovery import parent_runs
from titan_core.scheduler.schedule_records import FireRecord, StoredSchedule
from titan_core.store.rows import read_runs, read_workers
from titan_core.store.schedule_rows import read_due_alerts, read_schedules

RECENT_RUNS = 100
"""Finished runs that are loaded, the newest first, so that people find what they saw last …"""
RECENT_JOBS = 5000
"""… and the jobs they may have together."""


class Loaded(NamedTuple):
    runs: tuple[StoredRun, ...]
    """Those with a job that is not final; the newest that are over; the parents' runs of all these; by age."""
    workers: tuple[WorkerRecord, ...]
    """By their ids, those that are gone left out."""
    schedules: tuple[StoredSchedule, ...] = ()
    alerts: tuple[FireRecord, ...] = ()
    """Fires of which somebody is still to be told."""


def load(connection: sqlite3.Connection, offset_s: float, now_wall: float) -> Loaded:
    wanted = {row[0] for row in connection.execute("SELECT sequence FROM runs WHERE live_jobs > 0")}
    wanted.update(_recent(connection))
    runs: dict[int, StoredRun] = {}
    while wanted:
        found = read_runs(connection, wanted, offset_s)
        runs.update((stored.run.sequence, stored) for stored in found)
        wanted = _numbers(connection, set().union(*map(parent_runs, found))) - runs.keys()
    in_order = tuple(runs[number] for number in sorted(runs))
    return Loaded(
        in_order,
        read_workers(connection, f"WHERE state <> '{GONE}' ORDER BY worker_id", offset_s),
        read_schedules(connection, now_wall),
        read_due_alerts(connection),
    )


def _recent(connection: sqlite3.Connection) -> list[int]:
    numbers: list[int] = []
    jobs = 0
    rows = connection.execute(
        "SELECT sequence, counts FROM runs WHERE live_jobs = 0 ORDER BY sequence DESC LIMIT ?", (RECENT_RUNS,)
    )
    for number, counts in rows.fetchall():
        jobs += sum(map(int, counts.split()))
        if jobs > RECENT_JOBS:
            break
        numbers.append(number)
    return numbers


def _numbers(connection: sqlite3.Connection, run_ids: Iterable[str]) -> set[int]:
    found = (connection.execute("SELECT sequence FROM runs WHERE run_id = ?", (run_id,)) for run_id in run_ids)
    return {row[0] for rows in found for row in rows}
