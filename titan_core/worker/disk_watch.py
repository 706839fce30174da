"""Whether this worker can write: the trouble it has with its disk, and its end.

    a write failed · less than LOW_BYTES are free ─▶ trouble, which is told at once
    every PROBE_S: a file can be written, ROOM_BYTES are free, what fell behind has caught up ─▶ no trouble

A worker in trouble takes no jobs, as it could keep neither their files nor their logs; those that run go on.
The thread sleeps while there is no trouble. `suspect` and `could_not_write` are called by the slot threads and
the link's reader, `look` before each heartbeat of the session. Knows nothing of jobs and the master.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from titan_core.lifecycle import Component

log = logging.getLogger("titan.worker")

PROBE_S = 1.0
PROBE_BYTES = 64 * 1024
LOW_BYTES = 1024 * 1024
ROOM_BYTES = 2 * LOW_BYTES
"""More than LOW_BYTES, so that a disk on the brink is one trouble, not a hundred."""
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class DiskWatch(Component):
    """Watches the disk under `directory`. `on_change()` follows each change of `trouble`, but not those by `look`."""

    def __init__(self, directory: Path, on_change: Callable[[], object] = lambda: None) -> None:
        super().__init__("disk-watch")
        self._directory = directory
        self._on_change = on_change
        self._catch_up: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """A sentence that says what can not be written; empty: everything can."""
        return self._trouble

    def before_relief(self, catch_up: Callable[[], None]) -> None:
        """Trouble is not over before `catch_up` does not raise OSError."""
        self._catch_up.append(catch_up)

    def start(self) -> None:
        self.look()
        self.spawn("disk-watch", self._run)

    def on_stop(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def look(self) -> None:
        """Whether there is room. A trouble that is found here is for the caller to tell."""
        try:
            if _free_bytes(self._directory) < LOW_BYTES:
                self._set(f"can not write to {self._directory}: less than 1 MiB is free")
        except OSError as error:
            self._set(self._sentence(error))

    def suspect(self, error: OSError) -> None:
        """Something failed; if it was for the disk, that is trouble, and told when this returns."""
        number = _number(error)
        if number in _DISK_ERRORS:
            self.could_not_write(OSError(number, os.strerror(number)))

    def could_not_write(self, error: OSError) -> None:
        """This could not be written, for whatever reason."""
        if self._set(self._sentence(error)):
            self._on_change()

    def _set(self, trouble: str) -> bool:
        """Whether that is a change: the first trouble stays until it is over."""
        with self._changed:
            if bool(trouble) == bool(self._trouble):
                return False
            self._trouble = trouble
            self._changed.notify_all()
        if trouble:
            log.error("this worker %s; it takes no jobs until it can", trouble, extra={"action": "disk.trouble"})
        else:
            log.info("this worker can write again", extra={"action": "disk.relieved"})
        return True

    def _sentence(self, error: OSError) -> str:
        return f"can not write to {self._directory}: {error.strerror or error}"

    # ── its thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while self._wait_for_trouble():
            if not self.stopping.wait(PROBE_S) and self._is_over() and self._set(""):
                self._on_change()

    def _wait_for_trouble(self) -> bool:
        """Sleep while there is none; False = stop."""
        with self._changed:
            while not self._trouble and not self.stopping.is_set():
                self._changed.wait()
        return not self.stopping.is_set()

    def _is_over(self) -> bool:
        try:
            self._probe()
            for catch_up in self._catch_up:
                catch_up()
            return _free_bytes(self._directory) >= ROOM_BYTES
        except OSError:
            return False

    def _probe(self) -> None:
        """Write a file, which has no name or loses it at once. Raises OSError."""
        with tempfile.TemporaryFile(dir=self._directory, buffering=0) as file:
            if file.write(bytes(PROBE_BYTES)) != PROBE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())  # some disks say only then that they are full, or broken


def _number(error: OSError) -> int:
    """Its errno; of what shutil makes of many errors, the first of theirs; 0 = nobody knows."""
    if error.errno is not None:
        return error.errno
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return int(found[1]) if found else 0


def _free_bytes(directory: Path) -> float:
    """What may still be written; infinite where the file system does not say."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize if found.f_blocks else float("inf")
