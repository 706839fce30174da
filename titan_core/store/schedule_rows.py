"""Rows of schedules, their ledgers, and of what started a run. All instants are wall time, as slots are.

Functions of a connection; those that write do so within the transaction that is open.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import floor
from typing import Any

from titan_core.errors import InvalidRequest
from titan_core.protocol.messages import ScheduleSpec, Timing
from titan_core.scheduler.schedule_model import Definition
from titan_core.scheduler.schedule_records import FireRecord, OriginRecord, ScheduleRecord, StoredSchedule
from titan_core.store.definitions import definition

log = logging.getLogger("titan.store")

NEWEST_KEPT = 20
"""Lines of a ledger that are kept, however old they are …"""
FIRES_KEPT = 1000
"""… and those that may be kept."""
PIECE = 50
"""Schedules whose ledgers are shortened in one transaction."""

_COLUMNS = ", ".join(FireRecord._fields)
_NAMES = (
    "WITH RECURSIVE names (name) AS (SELECT min(schedule) FROM fires UNION ALL"
    " SELECT (SELECT min(schedule) FROM fires WHERE schedule > name) FROM names WHERE name IS NOT NULL)"
)
"""Every schedule that has a line, be it there or removed; one look into the index each."""
_LONG_AGO = "1970-01-01"
_NEEDED = "outcome = 'QUEUED' OR alert = 'due' OR (run_id <> '' AND run_id IN (SELECT run_id FROM runs))"
"""Lines that are kept as long as this is so: what waits, and what a run may still change."""


# ── writing ───────────────────────────────────────────────────────────────────────────────────────


def write_schedules(connection: sqlite3.Connection, schedules: Iterable[ScheduleRecord]) -> None:
    for record in schedules:
        if record.removed:
            connection.execute("DELETE FROM schedules WHERE name = ?", (record.name,))
            continue
        row = record._replace(source=record.source.encode())[:-1]
        connection.execute(f"INSERT OR REPLACE INTO schedules VALUES ({', '.join('?' * len(row))})", row)


def retract_missed(connection: sqlite3.Connection, after_wall: float) -> None:
    """The clock was set back to here: no later slot was MISSED, and those that were decided on for good are early.

    Before an early one others come that are not decided on; so it does not say up to where its schedule has come.
    """
    connection.execute("DELETE FROM fires WHERE outcome = 'MISSED' AND slot > ?", (after_wall,))
    connection.execute("DELETE FROM fires WHERE until > 0 AND slot > ?", (after_wall,))
    connection.execute("UPDATE fires SET until = ? WHERE until > 0 AND until > ?", (floor(after_wall), after_wall))
    connection.execute(
        f"{_NAMES} UPDATE fires SET early = 1"
        " WHERE schedule IN (SELECT name FROM names) AND slot > ? AND kind = 'schedule' AND NOT early",
        (after_wall,),
    )


def origin_row(origin: OriginRecord) -> tuple[Any, ...]:
    return (*origin[:-1], json.dumps(origin.variables))


def shorten_ledgers(connection: sqlite3.Connection, after: str, now_wall: float, oldest_wall: float) -> str:
    """Delete what is kept no longer of the next few schedules after this name; the last of them, empty: none is left.

    Of each the newest lines stay, of slots and of triggers each by themselves, unless it was removed: then
    those that are older than `oldest_wall` go. What lies ahead, since the clock was set back, is never deleted.
    """
    for _ in range(PIECE):
        row = connection.execute("SELECT min(schedule) FROM fires WHERE schedule > ?", (after,)).fetchone()
        if row[0] is None:
            return ""
        after = row[0]
        for kinds in ("= 'trigger'", "<> 'trigger'"):
            _shorten(connection, after, kinds, now_wall, oldest_wall)
    return after


def _shorten(connection: sqlite3.Connection, name: str, kinds: str, now_wall: float, oldest_wall: float) -> None:
    there = connection.execute("SELECT 1 FROM schedules WHERE name = ?", (name,)).fetchone() is not None
    past = f"schedule = :name AND kind {kinds} AND slot <= :now"
    newest = f"(SELECT slot FROM fires WHERE {past} ORDER BY slot DESC LIMIT 1 OFFSET :offset)"
    for extra, offset in (("", FIRES_KEPT), (" AND decided_wall < :oldest", NEWEST_KEPT if there else 0)):
        connection.execute(
            f"DELETE FROM fires WHERE {past} AND NOT ({_NEEDED}) AND slot <= {newest}{extra}",
            {"name": name, "now": now_wall, "offset": offset, "oldest": oldest_wall},
        )


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def read_schedules(connection: sqlite3.Connection, now_wall: float) -> tuple[StoredSchedule, ...]:
    """Every schedule, by name."""
    waiting: dict[str, list[FireRecord]] = {}
    for fire in _fires(connection, "WHERE outcome = 'QUEUED' ORDER BY slot, kind", ()):
        waiting.setdefault(fire.schedule, []).append(fire)
    rows = connection.execute("SELECT * FROM schedules ORDER BY name").fetchall()
    return tuple(_stored(connection, row, now_wall, tuple(waiting.get(row[0], ()))) for row in rows)


def _stored(
    connection: sqlite3.Connection, row: Sequence[Any], now_wall: float, waiting: tuple[FireRecord, ...]
) -> StoredSchedule:
    record = ScheduleRecord(*row)
    record = record._replace(source=ScheduleSpec.decode(record.source), paused=bool(record.paused))
    last = connection.execute(
        "SELECT max(slot, until) FROM fires WHERE schedule = ? AND kind <> 'trigger' AND NOT early AND slot <= ?"
        " ORDER BY slot DESC LIMIT 1",
        (record.name, now_wall),
    ).fetchone()
    cursor = max(floor(record.since_wall), last[0] if last else 0)
    ahead = decided_ahead(connection, record.name, min(cursor, now_wall))
    made, trouble = _definition(record.source)
    return StoredSchedule(record, made, cursor, ahead, waiting, last_trigger(connection, record.name), trouble)


def _definition(source: ScheduleSpec) -> tuple[Definition, str]:
    """The definition, or one that is never due, and why: of a zone that is not there any more, a schedule can be
    looked at and mended, and no other is kept from starting."""
    try:
        return definition(source), ""
    except InvalidRequest as error:
        log.warning("schedule %s starts nothing: %s", source.name, error, extra={"action": "schedule.trouble"})
        never = definition(replace(source, timing=Timing(at=_LONG_AGO)))
        return replace(never, source=source, timing=source.timing), error.message


def decided_ahead(connection: sqlite3.Connection, name: str, after_wall: float) -> tuple[int, ...]:
    """Slots later than this that were decided on, but for those that were MISSED."""
    rows = connection.execute(
        "SELECT slot FROM fires WHERE schedule = ? AND kind = 'schedule' AND slot > ? AND outcome <> 'MISSED'",
        (name, after_wall),
    )
    return tuple(row[0] for row in rows)


def last_trigger(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute(
        "SELECT slot FROM fires WHERE schedule = ? AND kind = 'trigger' ORDER BY slot DESC LIMIT 1", (name,)
    ).fetchone()
    return row[0] if row else 0


def read_due_alerts(connection: sqlite3.Connection) -> tuple[FireRecord, ...]:
    return tuple(_fires(connection, "WHERE alert = 'due' ORDER BY slot", ()))


def read_fires(
    connection: sqlite3.Connection, name: str, before_wall: float, outcome: str, limit: int
) -> list[FireRecord]:
    """Lines of the ledger with a slot earlier than this, newest first; only of this outcome, unless it is empty."""
    where = "WHERE schedule = ? AND slot < ? AND ? IN ('', outcome) ORDER BY slot DESC, kind DESC LIMIT ?"
    return _fires(connection, where, (name, before_wall, outcome, limit))


def read_fires_between(connection: sqlite3.Connection, name: str, first: int, last: int) -> list[FireRecord]:
    """Lines for slots from the first to the last, neither spans nor what people asked for."""
    where = "WHERE schedule = ? AND slot BETWEEN ? AND ? AND kind = 'schedule' ORDER BY slot"
    return _fires(connection, where, (name, first, last))


def read_origins(connection: sqlite3.Connection, some: str, wanted: tuple[str]) -> dict[int, OriginRecord]:
    """What started these runs, where that was no client; by run."""
    rows = connection.execute(f"SELECT {', '.join(OriginRecord._fields)} FROM origins WHERE run {some}", wanted)
    found = (OriginRecord._make((*row[:-1], tuple(map(tuple, json.loads(row[-1]))))) for row in rows)
    return {origin.run: origin for origin in found}


def read_line(connection: sqlite3.Connection, origin: OriginRecord) -> FireRecord | None:
    """The line of the ledger for the fire that started a run, if it was one, and is kept."""
    key = (origin.schedule, origin.slot, origin.kind)
    return next(iter(_fires(connection, "WHERE schedule = ? AND slot = ? AND kind = ?", key)), None)


def _fires(connection: sqlite3.Connection, where: str, values: Sequence[object]) -> list[FireRecord]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM fires {where}", values)
    return [FireRecord._make(row)._replace(made_up=bool(row[9])) for row in rows]
