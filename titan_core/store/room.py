"""Room on a disk: whether there is enough of it for new work."""

from __future__ import annotations

import os
from pathlib import Path

from titan_core.errors import Unavailable

_MIB = 1024 * 1024


def check_room(directory: Path, wanted: int) -> None:
    """Raises Unavailable when fewer than `wanted` bytes are free on the disk of `directory`."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < wanted:
        raise Unavailable(
            f"the disk of the master is almost full: {free // _MIB} MiB are free, and {wanted // _MIB} MiB are left "
            "to what runs; make room, or wait for runs to be deleted, and submit again"
        )
