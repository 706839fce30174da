"""Between the records of the model and the rows of the tables.

Instants are monotonic on one side and unix seconds on the other; the statements themselves add the
difference. Rows are written many to a statement: sqlite3 lets go of the interpreter around each one, and
each time it may have to wait for its turn to get it back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from sys import intern
from typing import Any

from titan_core import collector
from titan_core.protocol import messages
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.records import (
    AttemptRecord,
    Batch,
    DefinitionRecord,
    EventRecord,
    JobRecord,
    RequestRecord,
    RunRecord,
    ServiceRecord,
    StateRecord,
    StoredJob,
    StoredRun,
    StoredService,
    WorkerRecord,
)
from titan_core.scheduler.schedule_records import FireRecord, OriginRecord, ScheduleRecord
from titan_core.store.schedule_rows import origin_row, read_line, read_origins, retract_missed, write_schedules
from titan_core.store.specs import SpecReader, SpecRow, SpecWriter

_SIZES = (128, 64, 32, 16, 12, 10, 8, 7, 6, 5, 4, 3, 2, 1)
"""Rows a statement: few statements for any number of rows, one for the few of a usual step, of so few texts that all
stay in the cache."""
_SIZE_FOR = [next((size for size in _SIZES if size <= count), 0) for count in range(_SIZES[0] + 1)]
"""The largest of them for so many rows, or fewer."""

_JOB_COLUMNS = (
    "sequence", "run", "job_id", *SpecRow._fields, "service", "submitted_at", "spawner_worker_id", "instance_of"
)  # fmt: skip
_WAITS = (0, 0, 0, 0, "", "", None, None, None, False, False, 1)
"""A StateRecord, after `version`, of a job to which nothing has happened yet but that it waits."""
_TOLD = len(StateRecord._fields) - len(_WAITS)
"""How many columns of such jobs differ."""
_DEFINITION_COLUMNS = ("job", "run", "revision", *SpecRow._fields)
_INSTANTS = {"submitted_at", "finished_at", "due_at", "started_at", "seen_at", "at"}


class Pending:
    """Batches made one: of each thing the latest row, of what never changes all rows."""

    def __init__(self) -> None:
        self.runs: dict[int, RunRecord] = {}
        self.requests: list[RequestRecord] = []
        self.jobs: list[JobRecord] = []
        self.states: dict[int, StateRecord] = {}
        self.attempts: dict[tuple[int, int], AttemptRecord] = {}
        self.events: list[EventRecord] = []
        self.workers: dict[str, WorkerRecord] = {}
        self.services: dict[int, ServiceRecord] = {}
        self.definitions: list[DefinitionRecord] = []
        self.origins: dict[int, OriginRecord] = {}
        self.schedules: dict[str, ScheduleRecord] = {}
        self.fires: dict[tuple[str, int, str], FireRecord] = {}
        self.retractions: list[tuple[dict[tuple[str, int, str], FireRecord], float]] = []
        """See `retract_missed`; each with the lines that are written before it."""

    def __len__(self) -> int:
        """Rows."""
        kept = (self.runs, self.requests, self.jobs, self.states, self.attempts, self.events, self.fires)
        return sum(map(len, (*kept, *(earlier for earlier, _ in self.retractions))))

    def add(self, batch: Batch) -> None:
        for run in batch.runs:
            self.runs[run.sequence] = run
        self.requests += batch.requests
        self.jobs += batch.jobs
        for state in batch.states:
            self.states[state.job] = state
        for attempt in batch.attempts:
            self.attempts[attempt.job, attempt.number] = attempt
        self.events += batch.events
        for worker in batch.workers:
            self.workers[worker.worker_id] = worker
        for service in batch.services:
            self.services[service.job] = service
        self.definitions += batch.definitions
        if batch.retracted_after is not None:
            self.retractions.append((self.fires, batch.retracted_after))
            self.fires = {}
        for origin in batch.origins:
            self.origins[origin.run] = origin
        for schedule in batch.schedules:
            self.schedules[schedule.name] = schedule
        for fire in batch.fires:
            self.fires[fire.schedule, fire.slot, fire.kind] = fire


class Writer:
    """Writes records through a connection; `offset_s` is wall time minus monotonic time."""

    def __init__(self, connection: sqlite3.Connection, offset_s: float) -> None:
        self._connection = connection
        self._specs = SpecWriter()
        self._statements = {
            "runs": _upserts("runs", RunRecord._fields, ("sequence",), offset_s),
            "requests": _inserts("requests", RequestRecord._fields, offset_s),
            "jobs": _inserts("jobs", _JOB_COLUMNS, offset_s),
            "states": _upserts("job_states", StateRecord._fields, ("run", "job"), offset_s),
            "waiting": _upserts("job_states", StateRecord._fields, ("run", "job"), offset_s, _WAITS),
            "attempts": _upserts("attempts", AttemptRecord._fields, ("job", "number"), offset_s),
            "events": _inserts("events", EventRecord._fields, offset_s),
            "workers": _upserts("workers", WorkerRecord._fields, ("worker_id",), offset_s),
            "services": _upserts("services", ServiceRecord._fields, ("run", "job"), offset_s),
            "definitions": _inserts("definitions", _DEFINITION_COLUMNS, offset_s),
            "origins": _upserts("origins", OriginRecord._fields, ("run",), offset_s),
            "fires": _upserts("fires", FireRecord._fields, ("schedule", "slot", "kind"), offset_s),
        }

    def write(self, pending: Pending) -> None:
        """All rows, within the open transaction. IntegrityError: the records contradict what is stored."""
        self._put("runs", list(map(_run_row, pending.runs.values())))
        self._put("requests", pending.requests)
        self._put("jobs", list(map(self._job_row, pending.jobs)))
        self._put_states(pending.states.values())
        self._put("attempts", list(pending.attempts.values()))
        self._put("events", pending.events)
        self._put("workers", list(map(_worker_row, pending.workers.values())))
        self._put("services", list(pending.services.values()))
        self._put("definitions", list(map(self._definition_row, pending.definitions)))
        for earlier, after_wall in pending.retractions:
            self._put("fires", list(earlier.values()))
            retract_missed(self._connection, after_wall)
        write_schedules(self._connection, pending.schedules.values())
        self._put("origins", list(map(origin_row, pending.origins.values())))
        self._put("fires", list(pending.fires.values()))

    def _job_row(self, job: JobRecord) -> tuple[Any, ...]:
        sequence, run, job_id, spec, submitted_at, spawner, instance_of = job
        return (sequence, run, job_id, *self._specs.row(spec), spec.service, submitted_at, spawner, instance_of)

    def _definition_row(self, definition: DefinitionRecord) -> tuple[Any, ...]:
        return (*definition[:-1], *self._specs.row(definition.spec))

    def _put_states(self, states: Iterable[StateRecord]) -> None:
        waiting, others = [], []
        for state in states:
            if state[_TOLD:] == _WAITS:
                waiting.append(state[:_TOLD])
            else:
                others.append(state)
        self._put("waiting", waiting)
        self._put("states", others)

    def _put(self, name: str, rows: Sequence[tuple[Any, ...]]) -> None:
        done, count, statements = 0, len(rows), self._statements[name]
        while done < count:
            size = _SIZE_FOR[min(count - done, _SIZES[0])]
            values = list(chain.from_iterable(rows[done : done + size]))
            self._connection.execute(statements[size], values)
            done += size


def _inserts(
    table: str, columns: Sequence[str], offset_s: float, tail: str = "", last: Sequence[str | int | None] = ()
) -> dict[int, str]:
    """Statements, by how many rows each is for. The `last` columns have these values in all rows, and are not bound:
    to bind a value costs more than to store it."""
    bound = columns[: len(columns) - len(last)]
    values = [f"? + {offset_s!r}" if column in _INSTANTS else "?" for column in bound]
    row = f"({', '.join([*values, *map(_literal, last)])})"
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES"
    return {size: f"{head} {', '.join([row] * size)}{tail}" for size in _SIZES}


def _upserts(
    table: str, columns: Sequence[str], key: Sequence[str], offset_s: float, last: Sequence[str | int | None] = ()
) -> dict[int, str]:
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return _inserts(table, columns, offset_s, f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}", last)


def _literal(value: str | int | None) -> str:
    """Of what is in _WAITS."""
    return "NULL" if value is None else f"'{value}'" if isinstance(value, str) else f"{int(value)}"


def _run_row(run: RunRecord) -> tuple[Any, ...]:
    return (*run[:-1], " ".join(map(str, run.counts)))


def _worker_row(worker: WorkerRecord) -> tuple[Any, ...]:
    facts = worker.facts
    body = None if facts is None else replace(facts, running=(), finished=()).encode()
    return worker._replace(capabilities=",".join(worker.capabilities), facts=body)  # type: ignore[arg-type]


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def read_runs(connection: sqlite3.Connection, sequences: Iterable[int], offset_s: float) -> tuple[StoredRun, ...]:
    """The runs with these numbers, whole, in order of submission; those there are none of are left out.

    Where somebody else may write, within a transaction.
    """
    wanted = (json.dumps(sorted(sequences)),)
    some = "IN (SELECT value FROM json_each(?))"
    with collector.paused():
        runs = read_run_rows(connection, f"WHERE sequence {some} ORDER BY sequence", wanted, offset_s)
        requests: dict[int, list[bytes]] = {}
        for request_id, run in connection.execute(f"SELECT request_id, run FROM requests WHERE run {some}", wanted):
            requests.setdefault(run, []).append(request_id)
        jobs = _read_jobs(connection, some, wanted, offset_s)
        services = _read_services(connection, some, wanted, jobs)
        origins = read_origins(connection, some, wanted)
        fires = {run: read_line(connection, origin) for run, origin in origins.items()}
        return tuple(
            StoredRun(
                run,
                tuple(requests.get(run.sequence, ())),
                tuple(jobs.get(run.sequence, ())),
                tuple(services.get(run.sequence, ())),
                origins[run.sequence].variables if run.sequence in origins else (),
                fires.get(run.sequence),
            )
            for run in runs
        )


def read_run_rows(
    connection: sqlite3.Connection, where: str, values: Sequence[object], offset_s: float
) -> list[RunRecord]:
    rows = connection.execute(f"{_select('runs', RunRecord._fields, offset_s)} {where}", values)
    return [RunRecord._make((*row[:-1], tuple(map(int, row[-1].split())))) for row in rows]


def read_workers(connection: sqlite3.Connection, where: str, offset_s: float) -> tuple[WorkerRecord, ...]:
    rows = connection.execute(f"{_select('workers', WorkerRecord._fields, offset_s)} {where}")
    return tuple(_worker(WorkerRecord._make(row)) for row in rows)


def _read_jobs(
    connection: sqlite3.Connection, some: str, wanted: tuple[str], offset_s: float
) -> dict[int, list[StoredJob]]:
    """By run, in order of submission."""
    attempts = _read_attempts(connection, some, wanted, offset_s)
    asked = connection.execute(
        f"{_select('jobs', _JOB_COLUMNS, offset_s)} WHERE run {some} ORDER BY run, sequence", wanted
    )
    became = connection.execute(
        f"{_select('job_states', StateRecord._fields, offset_s)} WHERE run {some} ORDER BY run, job", wanted
    )
    jobs: dict[int, list[StoredJob]] = {}
    specs = SpecReader()
    for job, state in zip(asked, became, strict=True):
        sequence, run, job_id, body, parents, args, _, submitted_at, spawner, instance_of = job
        spec = specs.spec(job_id, body, parents, args)
        stored = StoredJob(
            JobRecord(sequence, run, job_id, spec, submitted_at, spawner, instance_of),
            _state(*state),
            tuple(attempts.pop(sequence, ())),
        )
        jobs.setdefault(run, []).append(stored)
    return jobs


def _read_services(
    connection: sqlite3.Connection, some: str, wanted: tuple[str], jobs: Mapping[int, Sequence[StoredJob]]
) -> dict[int, list[StoredService]]:
    """By run, in order of submission."""
    wants = connection.execute(
        f"{_select('services', ServiceRecord._fields, 0.0)} WHERE run {some} ORDER BY job", wanted
    )
    found = [ServiceRecord._make(row)._replace(rolling=bool(row[4])) for row in wants]
    if not found:
        return {}
    definitions = _read_definitions(connection, some, wanted, jobs)
    services: dict[int, list[StoredService]] = {}
    for record in found:
        stored = StoredService(record, tuple(definitions.get(record.job, ())))
        services.setdefault(record.run, []).append(stored)
    return services


def _read_definitions(
    connection: sqlite3.Connection, some: str, wanted: tuple[str], jobs: Mapping[int, Sequence[StoredJob]]
) -> dict[int, list[tuple[int, JobSpec]]]:
    """By job, in order of their revisions."""
    names = {stored.asked.sequence: stored.asked.job_id for of_run in jobs.values() for stored in of_run}
    rows = connection.execute(
        f"{_select('definitions', _DEFINITION_COLUMNS, 0.0)} WHERE run {some} ORDER BY job, revision", wanted
    )
    definitions: dict[int, list[tuple[int, JobSpec]]] = {}
    specs = SpecReader()
    for job, _, revision, body, parents, args in rows:
        definitions.setdefault(job, []).append((revision, specs.spec(names[job], body, parents, args)))
    return definitions


def _read_attempts(
    connection: sqlite3.Connection, some: str, wanted: tuple[str], offset_s: float
) -> dict[int, list[AttemptRecord]]:
    """By job, in order of their numbers."""
    rows = connection.execute(
        f"{_select('attempts', AttemptRecord._fields, offset_s)} WHERE job IN"
        f" (SELECT job FROM job_states WHERE run {some}) ORDER BY job, number",
        wanted,
    )
    attempts: dict[int, list[AttemptRecord]] = {}
    for row in rows:
        attempts.setdefault(row[0], []).append(_attempt(*row))
    return attempts


def _state(job: int, run: int, state: str, reason: str, *others: Any) -> StateRecord:
    *values, satisfied, ready, revision = others
    return StateRecord._make((job, run, intern(state), intern(reason), *values, satisfied == 1, ready == 1, revision))


def _attempt(job: int, number: int, token: bytes, worker_id: str, *others: Any) -> AttemptRecord:
    started_at, finished_at, outcome, exit_code, reason, peak_memory, stopping, ready, counted, port = others
    return AttemptRecord(
        job, number, token, intern(worker_id), started_at, finished_at, intern(outcome), exit_code, intern(reason),
        peak_memory, stopping == 1, ready == 1, counted == 1, port,
    )  # fmt: skip


def _select(table: str, columns: Sequence[str], offset_s: float) -> str:
    shown = (f"{column} - {offset_s!r}" if column in _INSTANTS else column for column in columns)
    return f"SELECT {', '.join(shown)} FROM {table}"


def _worker(row: WorkerRecord) -> WorkerRecord:
    return row._replace(
        capabilities=tuple(filter(None, str(row.capabilities).split(","))),
        permanent=bool(row.permanent),
        held=bool(row.held),
        ephemeral=bool(row.ephemeral),
        shutting_down=bool(row.shutting_down),
        facts=None if row.facts is None else messages.Register.decode(row.facts),
    )
