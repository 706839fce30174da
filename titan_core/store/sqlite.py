"""The store of a master: what it knows of runs, jobs, attempts and workers, in SQLite, on disk before it counts.

The engine hands over a `Batch` a step, under its lock, and gets a ticket; whoever acts on the step waits until the
ticket is committed, or is told (`tell`). One thread, `store`, is the only writer: it takes all that is queued, writes
it in one transaction, so that one flush to disk serves all that wait, and begins again. Nothing is delayed to be
grouped.

A full disk is `trouble`: the rows are kept and tried again until there is room. Anything else that keeps
rows from the disk ends the thread, and with it the master: after a flush that failed nobody knows what is there.

`append`, `forget`, `wait`, `tell` and what `history` offers are called by any thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from titan_core.clock import Clock
from titan_core.errors import ConfigError, Unavailable
from titan_core.failpoints import reach
from titan_core.lifecycle import Component
from titan_core.scheduler.records import Batch
from titan_core.store import loading, retention, schema
from titan_core.store.check import damage
from titan_core.store.history import History
from titan_core.store.lock import HomeLock
from titan_core.store.room import is_full
from titan_core.store.rows import Pending, Writer
from titan_core.store.schedule_rows import shorten_ledgers

RETRY_S = 0.5
"""Between two tries to write to a full disk."""
IDLE_S = 1.0
"""Without work for so long, the store moves what the WAL holds into the database and empties it."""
CHECKPOINT_PAGES = 2000
"""About how much the WAL takes before it is moved into the database; 8 MB."""
_PAGES_A_COMMIT = 8
_ROWS_A_PAGE = 8

log = logging.getLogger("titan.store")

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REMEDY = "restore a backup that `titan backup` wrote, or move this file away to begin anew"


class Store(Component):
    """The stored state of a home, in `directory` (made if need be, 0700), from its making until it has stopped.

    Raises ConfigError when another master holds the home, or its state can not be used.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        super().__init__("store")
        self._directory = directory
        self._clock = clock
        self.committed = 0
        """The last ticket that is on disk, with all before it."""
        self.last = 0
        """The last ticket that was handed out."""
        self.trouble = ""
        """Why nothing can be written at present; empty: it can."""
        self._queue: list[Batch] = []
        self._to_tell: list[tuple[int, Callable[[], None]]] = []
        self._condemned: list[str] = []
        self._sweeping = True
        """Rows of deleted runs may be there, also from before this start; or ledgers are to be shortened."""
        self._ledgers: tuple[str, float] | None = None
        """Those behind this name are to be shortened, by what is older than this; None: none is."""
        self._pending = Pending()
        self._pending_ticket = 0
        self._wal_pages = 0
        """About how many pages the WAL holds that are not in the database."""
        self._wal_empty = False
        self._started = self._ended = False
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._progress = threading.Condition(self._lock)
        self._open()

    # ── before the start ──────────────────────────────────────────────────────────────────────────

    def load(self, now_wall: float) -> loading.Loaded:
        """What a master must know to go on at this wall time. Called once, before `start`."""
        reach("store.loading")
        return loading.load(self._connection, self._offset_s, now_wall)

    def start(self) -> None:
        with self._lock:
            if self._ended:
                return
            self._started = True
        self.spawn("store", self._run)

    def _open(self) -> None:
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._home_lock = HomeLock(self._directory / "lock")
        except OSError as error:
            raise ConfigError(f"the state of this home can not be kept in {self._directory}: {error}") from None
        try:
            self._connect()
        except BaseException:
            self._home_lock.release()
            raise

    def _connect(self) -> None:
        path = self._directory / schema.DATABASE
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = schema.connect(path)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from None
        try:
            self._begin()
            self.history = History(path, self._offset_s)
        except sqlite3.Error as error:
            self._connection.close()
            raise _unusable(path, error) from None
        except BaseException:
            self._connection.close()
            raise
        _flush_directory(self._directory)

    def _begin(self) -> None:
        connection = self._connection
        schema.migrate(connection)
        if schema.meta(connection, "open", 0):
            _check_whole(connection)
        self._offset_s = self._clock.to_wall(0.0)
        self._writer = Writer(connection, self._offset_s)
        connection.execute("BEGIN IMMEDIATE")
        self.cluster = bytes(schema.meta(connection, "cluster", b"") or secrets.token_bytes(16))
        """16 random bytes, made with the home."""
        self.term = max(schema.meta(connection, "term", 0) + 1, int(self._clock.wall()))
        """Greater than that of every earlier start."""
        for key, value in (("cluster", self.cluster), ("term", self.term), ("open", 1)):
            schema.put_meta(connection, key, value)
        connection.execute("COMMIT")
        self.last_sequence = retention.last_sequence(connection)
        """The highest number that a run or job was ever given."""

    # ── from any thread ───────────────────────────────────────────────────────────────────────────

    def append(self, batch: Batch) -> int:
        """Queue the batch; its ticket. Never waits for the disk."""
        with self._lock:
            self.last += 1
            self._queue.append(batch)
            self._work.notify()
            return self.last

    def wait(self, ticket: int, timeout_s: float | None = None) -> bool:
        """Wait until the ticket, and all before it, are on disk; False when that takes longer than `timeout_s`.

        Raises Unavailable when the store ended before.
        """
        if self.committed >= ticket:
            return True
        until_at = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while self.committed < ticket:
                if self._ended:
                    raise Unavailable("the master is stopping, and did not store this; ask again when it is back")
                left_s = None if until_at is None else until_at - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return False
                self._progress.wait(left_s)
        return True

    def tell(self, ticket: int, told: Callable[[], None]) -> bool:
        """Have `told()`, which must not wait, called by the thread once the ticket, and all before it, are on disk;
        never, if it ends before. False, and it is not called, when they are already."""
        if ticket <= self.committed:
            return False
        with self._lock:
            if ticket <= self.committed:
                return False
            if not self._ended:
                self._to_tell.append((ticket, told))
            return True

    def forget(self, run_ids: Iterable[str]) -> None:
        """Delete these runs, those of them that are over, soon and in pieces; what is live is not touched."""
        with self._lock:
            self._condemned += run_ids
            self._sweeping = True
            self._work.notify()

    def shorten_ledgers(self, oldest_wall: float) -> None:
        """Delete lines of ledgers that are kept no longer, soon and in pieces: see `schedule_rows`."""
        with self._lock:
            self._ledgers, self._sweeping = ("", oldest_wall), True
            self._work.notify()

    def expired(self, now_wall: float, keep_days: float, keep_runs: int) -> list[str]:
        """Which runs are over and kept for too long, or too many; 0 = no bound."""
        return self.history.read(retention.expired, now_wall, keep_days, keep_runs)

    def forgotten_since(self, wall: float) -> list[str]:
        """The ids of the runs that were deleted since; known for 30 days."""
        return self.history.read(retention.forgotten_since, wall)

    def snapshot(self, path: Path) -> None:
        """Write a copy of all that is committed now to `path` (0600), a new file. Raises OSError, sqlite3.Error."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with contextlib.closing(schema.connect_to_read(self._directory / schema.DATABASE)) as source:
            with contextlib.closing(sqlite3.connect(path)) as copy:
                source.backup(copy)

    # ── the thread ────────────────────────────────────────────────────────────────────────────────

    def on_stop(self) -> None:
        with self._lock:
            self._ended = self._ended or not self._started
            self._work.notify()
        if not self._started:
            self._close()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            with self._lock:
                self._ended = True
                self._progress.notify_all()
            self._close()

    def _serve(self) -> None:
        """Until everything that was queued before the stop is on disk, or can not be put there."""
        while True:
            self._take()
            if self._pending_ticket > self.committed:
                done = self._commit()
            elif self.stopping.is_set():
                break
            else:
                done = self._sweep() if self._sweeping else self._checkpoint("TRUNCATE")
            if not done and self.stopping.is_set():
                return
            if not done:
                self._checkpoint("PASSIVE")  # a WAL that is moved can be written over: that may be room enough
                self.stopping.wait(RETRY_S)
            elif self._wal_pages >= CHECKPOINT_PAGES:
                self._checkpoint("PASSIVE")
        self._transaction(lambda: schema.put_meta(self._connection, "open", 0))

    def _take(self) -> None:
        """Make pending all that is queued; waits until there is something to do."""
        with self._lock:
            if not (self._queue or self._pending_ticket > self.committed or self._sweeping or self.stopping.is_set()):
                self._work.wait(None if self._wal_empty else IDLE_S)
            queue, self._queue = self._queue, []
            self._pending_ticket = self.last
        for batch in queue:
            self._pending.add(batch)

    def _commit(self) -> bool:
        """Whether all that is pending is on disk now, and everybody was told."""
        if not self._transaction(self._write):
            return False
        reach("store.after_commit")
        self._wal_pages += _PAGES_A_COMMIT + len(self._pending) // _ROWS_A_PAGE
        self._pending = Pending()
        with self._lock:
            self.committed = self._pending_ticket
            self._progress.notify_all()
            due = [told for ticket, told in self._to_tell if ticket <= self.committed]
            self._to_tell = [(ticket, told) for ticket, told in self._to_tell if ticket > self.committed]
        for told in due:
            told()
        return True

    def _write(self) -> None:
        self._writer.write(self._pending)
        reach("store.before_commit")

    def _sweep(self) -> bool:
        """One piece of what is to be deleted; what waits to be stored comes between the pieces."""
        with self._lock:
            condemned = self._condemned[: retention.PIECE_RUNS]
            del self._condemned[: retention.PIECE_RUNS]
        left: list[bool] = []
        now_wall = self._clock.to_wall(self._clock.monotonic())  # as all instants are kept
        if not self._transaction(lambda: left.append(self._sweep_piece(condemned, now_wall))):
            with self._lock:
                self._condemned[:0] = condemned
            return False
        self._wal_pages += retention.PIECE_PAGES
        with self._lock:
            self._sweeping = left[0] or bool(self._condemned) or self._ledgers is not None
            self._progress.notify_all()
        return True

    def _sweep_piece(self, condemned: list[str], now_wall: float) -> bool:
        """Whether more is left."""
        if retention.sweep(self._connection, condemned, now_wall):
            return True
        if self._ledgers is not None:
            name, oldest_wall = self._ledgers
            name = shorten_ledgers(self._connection, name, self._clock.wall(), oldest_wall)
            self._ledgers = (name, oldest_wall) if name else None
        return self._ledgers is not None

    def _transaction(self, work: Callable[[], None]) -> bool:
        """Do `work` and commit it. False, and nothing has changed, when the disk is full."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            work()
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if not is_full(error, self._directory):
                raise
            self._set_trouble(
                f"the disk of {self._directory.parent} is full: nothing can be stored until there is room"
            )
            return False
        self._wal_empty = False
        self._set_trouble("")
        return True

    def _set_trouble(self, trouble: str) -> None:
        if trouble == self.trouble:
            return
        if trouble:
            log.warning("%s", trouble, extra={"action": "store.trouble"})
        else:
            log.info("there is room again, what waited is stored", extra={"action": "store.relieved"})
        with self._lock:
            self.trouble = trouble
            self._progress.notify_all()

    def _checkpoint(self, mode: str) -> bool:
        """Move what the WAL holds into the database, as far as readers and the disk allow."""
        if self._wal_empty:
            return True
        connection = self._connection
        connection.execute("PRAGMA busy_timeout = 0")  # a reader is waited for by nobody
        try:
            busy, pages, moved = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.Error as error:
            if not is_full(error, self._directory):
                raise
            busy, pages, moved = 1, 1, 0
        finally:
            connection.execute(f"PRAGMA busy_timeout = {schema.BUSY_MS}")
        self._wal_pages = 0 if pages == moved else CHECKPOINT_PAGES // 2
        self._wal_empty = mode == "TRUNCATE" and not busy
        return True

    def _close(self) -> None:
        self.history.close()
        self._connection.close()
        self._home_lock.release()


def _check_whole(connection: sqlite3.Connection) -> None:
    """The last process on this home did not close it: is everything readable, and every index right?"""
    found = damage(connection, 3)
    if found:
        raise ConfigError(f"the stored state is damaged ({'; '.join(found)}): {_REMEDY}")


def _unusable(path: Path, error: OSError | sqlite3.Error) -> ConfigError:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        return ConfigError(f"the stored state, {path}, is damaged ({error}): {_REMEDY}")
    return ConfigError(f"the stored state, {path}, can not be opened: {error}")


def _flush_directory(directory: Path) -> None:
    """The names of new files, too, are to survive."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
