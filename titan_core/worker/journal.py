"""Results on the worker's own disk until the master has acknowledged them: a killed worker's successor tells them.

One file, `titan_workspace/results/<port>-<host name>/journal`, to which records are appended:

     0           4           8
     |  length   |  CRC-32   |  Record …        (both big-endian, and of the record)

A record keeps a result, or strikes out results that were acknowledged. What can not be read — a record that was
being written when the worker was killed — ends the file, and is cut off. The file is emptied when nothing is
left in it, and written anew, without what was struck out, when that makes up more than DEAD_BYTES.

Nothing is flushed (fsync): what the kernel was given outlives the worker, and a machine that loses its power loses
the worker's processes as well. Whatever it had not told is then an attempt that was lost, and is run again.

When the disk does not take a record, the journal is *behind*: `on_failure` is told, results live in memory only, and
every further change, and `mend`, tries to write the whole file anew.

`add` is called by the slot threads, `strike_out` by the link's reader, `mend` by the disk watch.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from titan_core.errors import BadBody, ConfigError
from titan_core.frozen import dataclass
from titan_core.protocol.codec import Message, tag
from titan_core.protocol.messages import Result

log = logging.getLogger("titan.worker")

DEAD_BYTES = 1024 * 1024
"""So much of the file may be records that nobody needs."""
RECORD_BYTES = 1024 * 1024
"""No record is longer; a length beyond it was not written by us."""
_HEADER = struct.Struct(">II")


@dataclass(frozen=True, slots=True)
class Record(Message):
    kept: tuple[Result, ...] = tag(1, ())
    """At most one."""
    log: bytes = tag(2, b"")
    """Absolute path, as the system has it, of what the attempt printed; empty: there is none."""
    service: bool = tag(3, False)
    """Whether it was a service, whose log is kept otherwise."""
    struck_out: tuple[bytes, ...] = tag(4, ())
    """Tokens whose results the master has."""


class Kept(NamedTuple):
    result: Result
    log: str
    """Path of what the attempt printed; empty: there is none."""
    service: bool


class Journal:
    """The journal in `directory`. Raises ConfigError when another worker uses it."""

    def __init__(self, directory: Path, on_failure: Callable[[OSError], object] = lambda error: None) -> None:
        self._directory = directory
        self._path = directory / "journal"
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._file = -1
        self._size = 0
        self._live: dict[bytes, bytes] = {}
        """The records that keep something, by token; oldest first."""
        self._live_size = 0
        self._behind = False
        self._claim = self._make_claim()

    def recover(self) -> list[Kept]:
        """What a predecessor kept, oldest first. To be called once, before anything else."""
        with self._lock:
            kept = self._read()
            failure = self._try(self._write_anew) if self._behind or self._size != self._live_size else None
        if failure is not None:
            self._on_failure(failure)
        return kept

    def add(self, kept: Kept) -> None:
        """Keep a result. Does not raise."""
        record = _encode_kept(kept)
        with self._lock:
            self._keep(kept.result.token, record)
            failure = self._try(self._note, record)
        if failure is not None:
            self._on_failure(failure)

    def strike_out(self, tokens: tuple[bytes, ...]) -> None:
        """The master has the results of those tokens that are here. Does not raise."""
        with self._lock:
            known = tuple(token for token in tokens if token in self._live)
            for token in known:
                self._live_size -= len(self._live.pop(token))
            if not known:
                return
            failure = self._try(self._strike_out, known) if self._live else self._try(self._empty)
        if failure is not None:
            self._on_failure(failure)

    def mend(self) -> None:
        """Catch up, if the journal is behind. Raises OSError while the disk does not take it."""
        with self._lock:
            failure = self._try(self._write_anew) if self._behind else None
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Give the journal up; one that keeps nothing leaves nothing."""
        with self._lock:
            if self._claim >= 0 and _is_empty(self._path):
                with contextlib.suppress(OSError):
                    shutil.rmtree(self._directory)
            for descriptor in (self._file, self._claim):
                if descriptor >= 0:
                    os.close(descriptor)
            self._file = self._claim = -1

    # ── the file; under the lock ──────────────────────────────────────────────────────────────────

    def _keep(self, token: bytes, record: bytes) -> None:
        self._live_size += len(record) - len(self._live.pop(token, b""))
        self._live[token] = record

    def _try(self, write: Callable[..., None], *args: object) -> OSError | None:
        """Do that; what went wrong, which leaves the journal behind."""
        try:
            write(*args)
        except OSError as error:
            self._behind = True
            return error
        return None

    def _strike_out(self, tokens: tuple[bytes, ...]) -> None:
        self._note(_encode(Record(struck_out=tokens)))

    def _note(self, record: bytes) -> None:
        if self._behind or self._size + len(record) - self._live_size > DEAD_BYTES:
            self._write_anew()
        else:
            self._append(record)

    def _append(self, record: bytes) -> None:
        if self._file < 0:
            self._file = _open(self._path)
        _write(self._file, record)
        self._size += len(record)

    def _empty(self) -> None:
        """This needs no room on the disk."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
        else:
            self._path.unlink(missing_ok=True)
        self._size = 0
        self._behind = False

    def _write_anew(self) -> None:
        """A file with exactly what is kept takes the place of this one, at once: there is always one of the two."""
        fresh = self._path.with_name("journal.new")
        self._directory.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        file = _open(fresh)
        try:
            _write(file, b"".join(self._live.values()))
            fresh.rename(self._path)
        except OSError:
            os.close(file)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file = file
        self._size = self._live_size
        self._behind = False

    def _read(self) -> list[Kept]:
        """What the file keeps; `_live` and `_size` (its own, with all that can not be read) as well."""
        kept: dict[bytes, Kept] = {}
        try:
            with open(self._path, "rb") as file:
                self._size = os.fstat(file.fileno()).st_size
                for record in self._records(file):
                    for result in record.kept:
                        kept[result.token] = Kept(result, os.fsdecode(record.log), record.service)
                    for token in record.struck_out:
                        kept.pop(token, None)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.error("the journal %s can not be read: %s", self._path, error, extra={"action": "journal.cut"})
        for token, entry in kept.items():
            self._keep(token, _encode_kept(entry))
        return list(kept.values())

    def _records(self, file: BinaryIO) -> Iterator[Record]:
        """The records up to the first that can not be read, which the log tells."""
        read = 0
        while (record := _next_record(file)) is not None:
            read = file.tell()
            yield record
        if read < self._size:
            log.warning(
                "the journal %s can not be read from byte %d on: what follows is cut off",
                self._path,
                read,
                extra={"action": "journal.cut"},
            )

    def _make_claim(self) -> int:
        """The descriptor that holds the lock, which ends with its process; -1 = the disk does not take it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._behind = True
            return -1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigError(
                f"another worker uses {self._directory}: give this one another port or --hostname"
            ) from None
        return descriptor


def _is_empty(path: Path) -> bool:
    try:
        return not path.stat().st_size
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _encode_kept(kept: Kept) -> bytes:
    return _encode(Record((kept.result,), os.fsencode(kept.log), kept.service))


def _encode(record: Record) -> bytes:
    body = record.encode()
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def _next_record(file: BinaryIO) -> Record | None:
    """The record that begins here; None = the file ends, or what is here is none."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    if length > RECORD_BYTES:
        return None
    body = file.read(length)
    if len(body) < length or zlib.crc32(body) != checksum:
        return None
    try:
        return Record.decode(body)
    except BadBody:
        return None


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _write(descriptor: int, data: bytes) -> None:
    """All of `data`. Raises OSError, also when there is room for a part only."""
    written = os.write(descriptor, data)
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
