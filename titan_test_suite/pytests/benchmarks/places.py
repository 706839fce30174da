"""Where the measured clusters and peers keep their files.

In memory if that is possible: every job makes files, and how fast a disk's file system makes one depends on
what was deleted from it in the last minutes; what it costs would be measured instead of what is run on it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
ROOM_BYTES = 1 << 30


def default_directory() -> Path:
    """MEMORY if programs may be run from it and there is room; else the system's directory for such files."""
    return MEMORY if _is_fit(MEMORY) else Path(tempfile.gettempdir())


def use(directory: Path) -> None:
    """Make this the directory of all temporary files of this process."""
    tempfile.tempdir = str(directory.resolve(strict=True))


def described() -> str:
    """The directory in use, and its kind of file system."""
    directory = tempfile.gettempdir()
    return f"{directory} ({_file_system(Path(directory))})"


def _is_fit(directory: Path) -> bool:
    if not os.access(directory, os.W_OK):
        return False
    runs_programs = not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return runs_programs and shutil.disk_usage(directory).free >= ROOM_BYTES


def _file_system(directory: Path) -> str:
    mounts = {Path(partition.mountpoint): partition.fstype for partition in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in (directory, *directory.parents) if parent in mounts), "unknown")
