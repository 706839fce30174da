"""The master's copy of every attempt's output: one file each, written as the workers send it.

`<home>/.titan/logs/<run id>/<job id>/attempt-<n>.log`; an attempt that printed nothing has no file.
A batch says where in the log it belongs, so the same batch may come twice. A disk that fails costs
log lines, never a job. Any thread may call; readers may wait for more under the topic ("log", run, job).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from pathlib import Path
from typing import NamedTuple

from titan_core.master.topics import Topics

log = logging.getLogger("titan.master")


class LogName(NamedTuple):
    run_id: str
    job_id: str
    attempt: int


class LogStore:
    """The logs below `directory`. Publishes to `topics` when a log grows."""

    def __init__(self, directory: Path, topics: Topics) -> None:
        self._directory = directory
        self._topics = topics
        directory.mkdir(parents=True, exist_ok=True)

    def append(self, name: LogName, offset: int, data: bytes) -> None:
        """Write `data` at byte `offset` of the log, or at its end if that comes first: what could not be written
        before, or was never sent, leaves no hole."""
        path = self._path(name)
        try:
            descriptor = _open(path)
            try:
                os.pwrite(descriptor, data, min(offset, os.fstat(descriptor).st_size))
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("log of %s/%s not kept: %s", name.run_id, name.job_id, error, extra={"action": "log.failed"})
        self._topics.publish(("log", name.run_id, name.job_id))

    def size(self, name: LogName) -> int:
        """Bytes of the log that are here."""
        try:
            return self._path(name).stat().st_size
        except OSError:
            return 0

    def read(self, name: LogName, offset: int, limit: int) -> tuple[int, bytes]:
        """Up to `limit` bytes from `offset` (negative: counted from the end); where they begin, and they."""
        start = offset if offset >= 0 else max(0, self.size(name) + offset)
        with contextlib.suppress(OSError), open(self._path(name), "rb") as file:
            file.seek(start)
            return start, file.read(limit)
        return start, b""

    def forget(self, run_id: str) -> None:
        """Delete the logs of a run."""
        shutil.rmtree(self._directory / run_id, ignore_errors=True)

    def _path(self, name: LogName) -> Path:
        return self._directory / name.run_id / name.job_id / f"attempt-{name.attempt}.log"


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)
