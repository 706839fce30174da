"""Room on a disk: whether there is enough of it for new work, and whether the want of it made SQLite fail."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from titan_core.errors import Unavailable

_MIB = 1024 * 1024
_FLUSHES = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_PROBE_BYTES = 256 * 1024


def check_room(directory: Path, wanted: int) -> None:
    """Raises Unavailable when fewer than `wanted` bytes are free on the disk of `directory`."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < wanted:
        raise Unavailable(
            f"the disk of the master is almost full: {free // _MIB} MiB are free, and {wanted // _MIB} MiB are left "
            "to what runs; make room, or wait for runs to be deleted, and submit again"
        )


def is_full(error: sqlite3.Error, directory: Path) -> bool:
    """Whether it is for want of room. SQLite says so of most full disks, but calls a quota an input/output error."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_FULL:
        return True
    if code & 0xFF not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) or code in _FLUSHES:
        return False
    probe = directory / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(bytes(_PROBE_BYTES))
    except OSError as refused:
        return refused.errno in _NO_ROOM
    finally:
        probe.unlink(missing_ok=True)
    return False
