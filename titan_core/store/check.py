"""What is true of the stored state of a home, stopped or running; each thing that is not is one sentence.

    python -m titan_core.store.check HOME [--json]    exit 0: all is as it must be · 1: something is not · 2: no home

Reads in one transaction, so that it sees the state after some whole step, and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from titan_core.errors import TitanError
from titan_core.scheduler.states import EDGES, FINAL, JobState
from titan_core.store import schema

NAMED = 10
"""Problems of one kind that are told; of the others only how many there are."""
CLOCK_S = 1.0
"""How far the instants of two processes may contradict each other: somebody may have set the clock meanwhile."""

_FINAL = ", ".join(f"'{state.value}'" for state in FINAL)
_EDGES = {(before.value, after.value) for before, afters in EDGES.items() for after in afters}
_KEPT = "NOT IN (SELECT run FROM leftovers)"
_STATES = "jobs JOIN job_states ON job_states.run = jobs.run AND job_states.job = jobs.sequence"
_JOB = "(SELECT run_id FROM runs WHERE sequence = jobs.run) || '/' || job_id"


class Report(NamedTuple):
    problems: list[str]
    """Sentences; empty: all is as it must be."""
    runs: int
    jobs: int
    attempts: int


def examine_file(path: Path) -> Report:
    """All of the database at `path`, beside whoever uses it. Raises sqlite3.Error, ConfigError (another version)."""
    with closing(schema.connect_to_read(path)) as connection:
        schema.check_version(connection)
        return examine(connection)


def examine(connection: sqlite3.Connection) -> Report:
    """Everything that is checked, and how much there was to check."""
    connection.execute("BEGIN")
    try:
        found = problems(connection)
        counts = [_one(connection, f"SELECT count(*) FROM {table}") for table in ("runs", "jobs", "attempts")]
    finally:
        connection.execute("ROLLBACK")
    return Report(found, *counts)


def problems(connection: sqlite3.Connection) -> list[str]:
    """One sentence for each thing that is not as it must be."""
    found = damage(connection, NAMED)
    if found:
        return [f"the database is damaged: {line}" for line in found]
    return [sentence for check in _CHECKS for sentence in _some(check(connection))]


def damage(connection: sqlite3.Connection, most: int) -> list[str]:
    """What SQLite finds wrong with the file itself, at most so many things; empty: every page and index is right."""
    rows = connection.execute(f"PRAGMA integrity_check({most})")
    return [line for row in rows for line in str(row[0]).splitlines() if line != "ok" and not line.startswith("***")]


def _some(sentences: Iterable[str]) -> Iterator[str]:
    left = 0
    for number, sentence in enumerate(sentences):
        if number < NAMED:
            yield sentence
        else:
            left += 1
    if left:
        yield f"… and {left} more of this kind"


def _one(connection: sqlite3.Connection, text: str) -> int:
    return int(connection.execute(text).fetchone()[0])


# ── what is checked ───────────────────────────────────────────────────────────────────────────────


def _rows_belong_together(connection: sqlite3.Connection) -> Iterator[str]:
    queries = {
        "job {} has no run": f"SELECT job_id FROM jobs WHERE run NOT IN (SELECT sequence FROM runs) AND run {_KEPT}",
        "job {} has no state": f"SELECT {_JOB} FROM jobs LEFT JOIN job_states"
        f" ON job_states.run = jobs.run AND job = sequence WHERE job IS NULL AND jobs.run {_KEPT}",
        "the state of job {} belongs to no job": "SELECT job FROM job_states LEFT JOIN jobs"
        f" ON jobs.run = job_states.run AND sequence = job WHERE sequence IS NULL AND job_states.run {_KEPT}",
        "attempts of job {} belong to no job": "SELECT DISTINCT job FROM attempts"
        " WHERE job NOT IN (SELECT sequence FROM jobs)",
        "service {} belongs to no job": "SELECT job FROM services LEFT JOIN jobs"
        " ON jobs.run = services.run AND sequence = job WHERE sequence IS NULL",
        "job {} is an instance of no service": f"SELECT {_JOB} FROM jobs WHERE service AND jobs.run {_KEPT} AND"
        " NOT EXISTS (SELECT 1 FROM services WHERE services.run = jobs.run"
        " AND services.job IN (jobs.sequence, jobs.instance_of))",
        "a request made run {}, which is not there": "SELECT run FROM requests"
        " WHERE run NOT IN (SELECT sequence FROM runs)",
        "events belong to run {}, which is not there": "SELECT DISTINCT run FROM events"
        f" WHERE run NOT IN (SELECT sequence FROM runs) AND run {_KEPT}",
    }
    for sentence, text in queries.items():
        for row in connection.execute(text):
            yield sentence.format(row[0])


def _runs_count_right(connection: sqlite3.Connection) -> Iterator[str]:
    counted: dict[int, dict[str, int]] = {}
    for run, state, count in connection.execute("SELECT run, state, count(*) FROM job_states GROUP BY run, state"):
        counted.setdefault(run, {})[state] = count
    for run, run_id, counts, live_jobs in connection.execute("SELECT sequence, run_id, counts, live_jobs FROM runs"):
        jobs = counted.get(run, {})
        expected = [jobs.get(state.value, 0) for state in JobState]
        if list(map(int, counts.split())) != expected:
            yield f"run {run_id} counts its jobs as {counts}, they are {' '.join(map(str, expected))}"
        live = sum(count for state, count in jobs.items() if JobState(state) not in FINAL)
        if live != live_jobs:
            yield f"run {run_id} says that {live_jobs} of its jobs are not final, {live} are"


def _ends_are_there(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute(
        f"SELECT {_JOB}, state, finished_at FROM {_STATES}"
        f" WHERE (state IN ({_FINAL})) <> (finished_at IS NOT NULL) AND jobs.run {_KEPT}"
    )
    for job, state, finished_at in rows:
        yield f"job {job} is {state} and has {'no' if finished_at is None else 'an'} end"


def _attempts_fit(connection: sqlite3.Connection) -> Iterator[str]:
    """Numbered 1 to n; at most the last is not over, and that one is not if the job is RUNNING; one counted."""
    rows = connection.execute(
        f"SELECT {_JOB}, state, ifnull(n, 0), ifnull(last, 0), ifnull(unfinished, 0), ifnull(last_unfinished, 0),"
        " ifnull(counted, 0), ifnull(last_counted, 0)"
        f" FROM {_STATES} LEFT JOIN"
        " (SELECT job, count(*) n, max(number) last, sum(outcome = '') unfinished, sum(counted) counted,"
        "  max(CASE WHEN outcome = '' THEN number END) last_unfinished, max(CASE WHEN counted THEN number END)"
        "  last_counted FROM attempts GROUP BY job) a ON a.job = jobs.sequence"
        f" WHERE jobs.run {_KEPT}"
    )
    for job, state, n, last, unfinished, last_unfinished, counted, last_counted in rows:
        if n != last:
            yield f"job {job} has {n} attempts, and the last has number {last}"
        if state == JobState.RUNNING.value and (unfinished != 1 or last_unfinished != last):
            yield f"job {job} is RUNNING, and {unfinished} of its {n} attempts are not over"
        if state != JobState.RUNNING.value and unfinished:
            yield f"job {job} is {state}, and {unfinished} of its {n} attempts are not over"
        if counted != (state == JobState.COMPLETED.value) or (counted and last_counted != last):
            yield f"job {job} is {state}, and {counted} of its {n} attempts count"


def _events_follow_the_edges(connection: sqlite3.Connection) -> Iterator[str]:
    """Each begins where the one before it ended, and goes along an edge or stays."""
    rows = connection.execute(
        f"SELECT {_JOB}, service, before, after, version,"
        " lag(after, 1, 'BLOCKED') OVER (PARTITION BY events.job ORDER BY version) FROM events"
        " JOIN jobs ON jobs.run = events.run AND jobs.sequence = events.job"
    )
    for job, service, before, after, version, previous in rows:
        revived = before == JobState.COMPLETED.value and not service
        if before != after and ((before, after) not in _EDGES or revived):
            yield f"event {version} says that job {job} went from {before} to {after}, where there is no way"
        if before != previous:
            yield f"event {version} says that job {job} was {before}, the one before it left it {previous}"


def _events_end_where_jobs_are(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute(
        f"SELECT {_JOB}, state, after FROM {_STATES}"
        " LEFT JOIN (SELECT run, job, after, max(version) FROM events GROUP BY run, job) last"
        " ON last.run = jobs.run AND last.job = jobs.sequence"
        f" WHERE state <> ifnull(after, 'BLOCKED') AND jobs.run {_KEPT}"
    )
    for job, state, after in rows:
        yield f"job {job} is {state}, its last event left it {after or 'BLOCKED'}"


def _children_came_after_parents(connection: sqlite3.Connection) -> Iterator[str]:
    """A job began when its parents were done: COMPLETED, or services that were ready."""
    children = connection.execute(
        "SELECT run_id, jobs.run, job_id, parents, min(version), min(at) FROM jobs"
        " JOIN runs ON runs.sequence = jobs.run"
        " JOIN events ON events.run = jobs.run AND events.job = jobs.sequence AND after = 'RUNNING'"
        " WHERE parents <> '' GROUP BY jobs.run, jobs.sequence"
    ).fetchall()
    done = _done(connection) if children else {}
    for run_id, run, job_id, parents, version, at in children:
        for parent in json.loads(parents):
            found = done.get(parent if "/" in parent else f"{run_id}/{parent}")
            if found is None:
                continue  # its run was deleted
            parent_run, parent_version, parent_at = found
            if parent_version is None:
                yield f"job {run_id}/{job_id} began, and its parent {parent} is not done"
            elif parent_version > version if parent_run == run else parent_at > at + CLOCK_S:
                yield f"job {run_id}/{job_id} began before its parent {parent} was done"


def _done(connection: sqlite3.Connection) -> dict[str, tuple[int, int | None, float]]:
    """Of each job `<run id>/<job id>`: its run's number, the run's version when children might begin (None: not yet),
    and the instant. A service is done by whichever of its instances is ready first."""
    rows = connection.execute(
        "WITH parts AS (SELECT run, sequence whole, sequence part FROM jobs"
        " UNION ALL SELECT run, instance_of, sequence FROM jobs WHERE instance_of > 0)"
        f" SELECT {_JOB}, jobs.run, min(version), min(at) FROM jobs"
        " JOIN parts ON parts.run = jobs.run AND parts.whole = jobs.sequence"
        " LEFT JOIN events ON events.run = parts.run AND events.job = parts.part AND"
        " (after = 'COMPLETED' OR (jobs.service AND before = after"
        " AND (events.reason LIKE 'ready on %' OR events.reason LIKE 'up on %')))"
        " GROUP BY jobs.run, jobs.sequence"
    )
    return {job: (run, version, at) for job, run, version, at in rows}


def _ledgers_fit(connection: sqlite3.Connection) -> Iterator[str]:
    """A run belongs to one line, which says what the run is; what waits belongs to a schedule."""
    queries = {
        "run {} was started by several fires": "SELECT run_id FROM fires WHERE run_id <> '' GROUP BY run_id"
        " HAVING count(*) > 1",
        "a fire of schedule {} names a run that it has not, or the other way round": "SELECT DISTINCT schedule"
        " FROM fires WHERE (outcome = 'RAN') <> (run_state <> '')"
        " OR (outcome IN ('RAN', 'QUEUED')) <> (run_id <> '')",
        "a fire waits for schedule {}, which is not there": "SELECT DISTINCT schedule FROM fires"
        " WHERE outcome = 'QUEUED' AND schedule NOT IN (SELECT name FROM schedules)",
        "run {} is not what the line of its fire says": "SELECT fires.run_id FROM fires JOIN runs USING (run_id)"
        " WHERE run_state <> state",
        "a schedule started run {}, which is not there": "SELECT run FROM origins"
        f" WHERE run NOT IN (SELECT sequence FROM runs) AND run {_KEPT}",
    }
    for sentence, text in queries.items():
        for row in connection.execute(text):
            yield sentence.format(row[0])


_CHECKS: tuple[Callable[[sqlite3.Connection], Iterable[str]], ...] = (
    _rows_belong_together,
    _runs_count_right,
    _ends_are_there,
    _attempts_fit,
    _events_follow_the_edges,
    _events_end_where_jobs_are,
    _children_came_after_parents,
    _ledgers_fit,
)


# ── the command ───────────────────────────────────────────────────────────────────────────────────


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m titan_core.store.check", description="Check a home's state.")
    parser.add_argument("home", type=Path, help="the directory of .titan/")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    asked = parser.parse_args(arguments)
    path = asked.home / ".titan" / schema.DATABASE
    if not path.is_file():
        print(f"there is no stored state in {asked.home}: {path} does not exist", file=sys.stderr)
        return 2
    try:
        report = examine_file(path)
    except (sqlite3.Error, TitanError) as error:
        report = Report([f"the stored state can not be read: {error}"], 0, 0, 0)
    _print(report, asked.json)
    return 1 if report.problems else 0


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report._asdict()))
        return
    for sentence in report.problems:
        print(sentence)
    print(f"{report.runs} runs, {report.jobs} jobs, {report.attempts} attempts: {len(report.problems)} problems")


if __name__ == "__main__":
    sys.exit(main())
