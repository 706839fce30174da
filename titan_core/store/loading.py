"""What a master must know of the stored state to go on where the last one ended."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from titan_core.scheduler.model import FINAL
from titan_core.scheduler.records import GONE, StoredRun, WorkerRecord
from titan_core.store.rows import read_runs, read_workers

RECENT_RUNS = 100
"""Finished runs that are loaded, the newest first, so that people find what they saw last …"""
RECENT_JOBS = 5000
"""… and the jobs they may have together."""
_FINAL = {state.value for state in FINAL}


def load(connection: sqlite3.Connection, offset_s: float) -> tuple[tuple[StoredRun, ...], tuple[WorkerRecord, ...]]:
    """Runs with a job that is not final; the newest that are over; those whose jobs a live job waits for.

    Runs in order of submission, workers by their ids, those that are gone left out.
    """
    live = [row[0] for row in connection.execute("SELECT sequence FROM runs WHERE live_jobs > 0")]
    runs = read_runs(connection, [*live, *_recent(connection)], offset_s)
    parents = _numbers(connection, _parent_runs(runs)) - {stored.run.sequence for stored in runs}
    if parents:
        runs = tuple(sorted(runs + read_runs(connection, parents, offset_s), key=lambda stored: stored.run.sequence))
    return runs, read_workers(connection, f"WHERE state <> '{GONE}' ORDER BY worker_id", offset_s)


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


def _parent_runs(runs: Iterable[StoredRun]) -> set[str]:
    """The ids of the other runs in which jobs that are not final have parents."""
    return {
        parent.partition("/")[0]
        for stored in runs
        if stored.run.live_jobs
        for job in stored.jobs
        if job.asked.spec.parents and job.became.state not in _FINAL
        for parent in job.asked.spec.parents
        if "/" in parent
    }


def _numbers(connection: sqlite3.Connection, run_ids: Iterable[str]) -> set[int]:
    found = (connection.execute("SELECT sequence FROM runs WHERE run_id = ?", (run_id,)) for run_id in run_ids)
    return {row[0] for rows in found for row in rows}
