"""The tables of `state.db`, how an older one becomes a newer one, and how connections to it are made.

    meta         facts about the home: schema version, cluster, term, whether it was closed
    runs         one row a run                       requests    which submission made, or extended, a run
    jobs         what was asked, never changes       job_states  what became of it
    attempts     one row an attempt                  events      one row a change of a job, with its reason
    services     what is wanted of each service      definitions  what a service was given later to run
    workers      as last seen                        forgotten   runs that were deleted, so that workers can be told
    schedules    what is run when                    fires       the ledger: what became of each slot
    origins      which schedule started a run, and what its jobs are told of that
    leftovers    deleted runs whose rows are still being removed, piece by piece

Keys are the sequence numbers of the model. Instants are unix seconds. Rows of a run lie together, since they
are written, read and deleted together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from titan_core.errors import ConfigError

DATABASE = "state.db"
BUSY_MS = 5000
"""How long a statement waits for another process that has locked the database."""

_FIRST = (
    """CREATE TABLE runs (
        sequence INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, secret BLOB NOT NULL,
        submitted_at REAL NOT NULL, finished_at REAL, state TEXT NOT NULL, live_jobs INTEGER NOT NULL,
        counts TEXT NOT NULL)""",
    "CREATE INDEX live_runs ON runs (sequence) WHERE live_jobs > 0",
    "CREATE TABLE requests (request_id BLOB PRIMARY KEY, run INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX requests_of_run ON requests (run)",
    """CREATE TABLE jobs (
        sequence INTEGER NOT NULL, run INTEGER NOT NULL, job_id TEXT NOT NULL, spec BLOB NOT NULL,
        parents TEXT NOT NULL, args TEXT NOT NULL, service INTEGER NOT NULL, submitted_at REAL NOT NULL,
        spawner_worker_id TEXT NOT NULL,
        PRIMARY KEY (run, sequence)) WITHOUT ROWID""",
    "CREATE INDEX jobs_by_id ON jobs (job_id)",
    "CREATE INDEX service_jobs ON jobs (sequence) WHERE service",
    """CREATE TABLE job_states (
        job INTEGER NOT NULL, run INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
        version INTEGER NOT NULL, failures INTEGER NOT NULL, losses INTEGER NOT NULL, crashes INTEGER NOT NULL,
        attempts_before INTEGER NOT NULL, ending_state TEXT NOT NULL, ending_reason TEXT NOT NULL,
        due_at REAL, started_at REAL, finished_at REAL, satisfied INTEGER NOT NULL, up INTEGER NOT NULL,
        PRIMARY KEY (run, job)) WITHOUT ROWID""",
    "CREATE INDEX dead_jobs ON job_states (job) WHERE state = 'DEAD'",
    """CREATE TABLE attempts (
        job INTEGER NOT NULL, number INTEGER NOT NULL, token BLOB NOT NULL, worker_id TEXT NOT NULL,
        started_at REAL NOT NULL, finished_at REAL, outcome TEXT NOT NULL, exit_code INTEGER NOT NULL,
        reason TEXT NOT NULL, peak_memory INTEGER NOT NULL, stopping INTEGER NOT NULL, up INTEGER NOT NULL,
        counted INTEGER NOT NULL, PRIMARY KEY (job, number)) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX one_counted ON attempts (job) WHERE counted",
    """CREATE TABLE events (
        run INTEGER NOT NULL, version INTEGER NOT NULL, job INTEGER NOT NULL, at REAL NOT NULL,
        before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL, attempt INTEGER NOT NULL,
        PRIMARY KEY (run, version)) WITHOUT ROWID""",
    """CREATE TABLE workers (
        worker_id TEXT PRIMARY KEY, instance BLOB NOT NULL, capabilities TEXT NOT NULL, slots INTEGER NOT NULL,
        max_services INTEGER NOT NULL, permanent INTEGER NOT NULL, facts BLOB, state TEXT NOT NULL,
        held INTEGER NOT NULL, seen_at REAL NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE forgotten (run_id TEXT PRIMARY KEY, wall REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE leftovers (run INTEGER PRIMARY KEY)",
    """CREATE VIEW services AS
        SELECT jobs.run, jobs.sequence AS job, jobs.job_id, job_states.state, job_states.up, job_states.reason
        FROM jobs JOIN job_states ON job_states.run = jobs.run AND job_states.job = jobs.sequence
        WHERE jobs.service""",
)

_SERVICES_STAY_UP = (
    "DROP VIEW services",
    "ALTER TABLE job_states RENAME COLUMN up TO ready",
    "ALTER TABLE attempts RENAME COLUMN up TO ready",
    "ALTER TABLE job_states ADD COLUMN revision INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE attempts ADD COLUMN port INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN instance_of INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE workers ADD COLUMN ephemeral INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE workers ADD COLUMN address TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE services (
        job INTEGER NOT NULL, run INTEGER NOT NULL, wanted INTEGER NOT NULL, revision INTEGER NOT NULL,
        rolling INTEGER NOT NULL, fallback INTEGER NOT NULL, surge INTEGER NOT NULL, note TEXT NOT NULL,
        PRIMARY KEY (run, job)) WITHOUT ROWID""",
    """CREATE TABLE definitions (
        job INTEGER NOT NULL, run INTEGER NOT NULL, revision INTEGER NOT NULL, spec BLOB NOT NULL,
        parents TEXT NOT NULL, args TEXT NOT NULL, PRIMARY KEY (run, job, revision)) WITHOUT ROWID""",
    "INSERT INTO services SELECT sequence, run, 1, 1, 0, 0, 0, '' FROM jobs WHERE service",
    "UPDATE runs SET counts = counts || ' 0'",  # a state was added behind the others
)

_SHUTDOWNS_STAY = ("ALTER TABLE workers ADD COLUMN shutting_down INTEGER NOT NULL DEFAULT 0",)

_SCHEDULES = (
    """CREATE TABLE schedules (
        name TEXT PRIMARY KEY, source BLOB NOT NULL, secret BLOB NOT NULL, revision INTEGER NOT NULL,
        paused INTEGER NOT NULL, pause_reason TEXT NOT NULL, created_wall REAL NOT NULL, updated_wall REAL NOT NULL,
        since_wall REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE fires (
        schedule TEXT NOT NULL, kind TEXT NOT NULL, slot INTEGER NOT NULL, outcome TEXT NOT NULL,
        reason TEXT NOT NULL, run_id TEXT NOT NULL, run_state TEXT NOT NULL, decided_wall REAL NOT NULL,
        finished_wall REAL NOT NULL, made_up INTEGER NOT NULL, alert TEXT NOT NULL, until INTEGER NOT NULL,
        early INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (schedule, slot, kind)) WITHOUT ROWID""",
    "CREATE INDEX waiting_fires ON fires (schedule) WHERE outcome = 'QUEUED'",
    "CREATE INDEX due_alerts ON fires (slot) WHERE alert = 'due'",
    "CREATE INDEX triggers ON fires (schedule, slot) WHERE kind = 'trigger'",
    "CREATE INDEX missed_fires ON fires (slot) WHERE outcome = 'MISSED'",
    "CREATE INDEX spans ON fires (until) WHERE until > 0",
    """CREATE TABLE origins (
        run INTEGER PRIMARY KEY, schedule TEXT NOT NULL, kind TEXT NOT NULL, slot INTEGER NOT NULL,
        variables TEXT NOT NULL)""",
)

STEPS: tuple[Sequence[str], ...] = (_FIRST, _SERVICES_STAY_UP, _SHUTDOWNS_STAY, _SCHEDULES)
"""The statements that make version n + 1 of version n; an empty file is version 0. Steps are added, never changed."""


def connect(path: Path) -> sqlite3.Connection:
    """The connection that writes, in WAL mode; every commit is on disk when it returns. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        for pragma in (
            "synchronous = FULL",
            f"busy_timeout = {BUSY_MS}",
            "wal_autocheckpoint = 0",  # who waits for a commit must not wait for a checkpoint: see Store
            f"journal_size_limit = {16 << 20}",
            "secure_delete = OFF",
            "temp_store = MEMORY",
            "cache_size = -4096",  # KiB
        ):
            connection.execute(f"PRAGMA {pragma}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that sees what is committed and can change nothing. Raises sqlite3.Error."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_to_nothing() -> sqlite3.Connection:
    """A database in memory with all tables, and nothing in them."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(connection)
    return connection


def migrate(connection: sqlite3.Connection, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Bring the database to the newest version, one transaction a step. Raises ConfigError when it is newer still."""
    connection.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID")
    version = _known_version(connection, len(steps))
    for number, statements in enumerate(steps[version:], version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        put_meta(connection, "version", number)
        connection.execute("COMMIT")


def check_version(connection: sqlite3.Connection) -> None:
    """Raises ConfigError unless the tables are those that this Titan reads."""
    version = _known_version(connection, len(STEPS))
    if version < len(STEPS):
        raise ConfigError(f"the stored state is of version {version}: start a master of this Titan on it first")


def _known_version(connection: sqlite3.Connection, newest: int) -> int:
    version = int(meta(connection, "version", 0))
    if version > newest:
        raise ConfigError(
            f"the stored state is of version {version}, this Titan knows versions up to {newest}: "
            "start the Titan that wrote it, or a newer one"
        )
    return version


def meta(connection: sqlite3.Connection, key: str, default: Any) -> Any:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return row[0] if row else default


def put_meta(connection: sqlite3.Connection, key: str, value: object) -> None:
    connection.execute(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )
