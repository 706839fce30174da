"""Where the measured clusters and peers keep their files.

In memory if that is possible: every job makes files, and how fast a disk's file system makes one depends on
what was deleted from it in the last minutes; what it costs would be measured instead of what is run on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30


def default_directory() -> Path:
    """MEMORY if programs may be run from it and there is room; else the system's directory for such files."""
    return MEMORY if _is_fit(MEMORY) else Path(tempfile.gettempdir())


@contextmanager
def room_in(directory: Path) -> Iterator[None]:
    """All temporary files of this process are in one directory in there; afterwards it is gone, whatever happened."""
    with tempfile.TemporaryDirectory(prefix="titan-bench-", dir=directory.resolve()) as room:
        tempfile.tempdir = room
        try:
            yield
        finally:
            tempfile.tempdir = None


def described(directory: Path) -> str:
    """The directory, and its kind of file system."""
    return f"{directory} ({_file_system(directory.resolve())})"


def _is_fit(directory: Path) -> bool:
    if not os.access(directory, os.W_OK):
        return False
    runs_programs = not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return runs_programs and shutil.disk_usage(directory).free >= ROOM_BYTES


def _file_system(directory: Path) -> str:
    mounts = {Path(partition.mountpoint): partition.fstype for partition in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in (directory, *directory.parents) if parent in mounts), "unknown")
