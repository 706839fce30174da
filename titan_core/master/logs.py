"""The master's copy of every attempt's output, written as the workers send it.

`<home>/.titan/logs/<run id>/<job id>/attempt-<n>.log`; an attempt that printed nothing has no file. A service
has no end, so its log goes into files of SERVICE_LOG_BYTES, of which the last SERVICE_LOG_FILES are kept: the
first is called as above, the others end in the offset at which they begin, `attempt-<n>.log.<15 digits>`.

A batch says where in the log it belongs, so the same batch may come twice. A disk that fails costs log lines,
never a job. Any thread may call; readers may wait for more under the topic ("log", run, job).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from titan_core.master.topics import Topics

log = logging.getLogger("titan.master")

SERVICE_LOG_BYTES = 10 * 1024 * 1024
SERVICE_LOG_FILES = 5
"""So many files of so many bytes are kept of a service, all its attempts together."""
LEAST_FILE_BYTES = 256 * 1024
"""What a smaller file counts for, so that many short attempts do not make very many files."""
CURRENT_FILES = 10_000
"""Services whose current file is remembered; of others it is looked up."""


class LogName(NamedTuple):
    run_id: str
    job_id: str
    attempt: int


class LogFile(NamedTuple):
    """One file of a log: the bytes from offset `base` on. In order of age within a job's directory."""

    attempt: int
    base: int
    path: Path
    size: int = 0

    @property
    def end(self) -> int:
        return self.base + self.size


class LogStore:
    """The logs below `directory`. Publishes to `topics` when a log grows."""

    def __init__(self, directory: Path, topics: Topics) -> None:
        self._directory = directory
        self._topics = topics
        self._rotation_lock = threading.Lock()
        """Held while a piece of a service's log is written."""
        self._current: OrderedDict[LogName, LogFile] = OrderedDict()
        self._awaited: set[LogName] = set()
        directory.mkdir(parents=True, exist_ok=True)

    def append(self, name: LogName, offset: int, data: bytes, rotate: bool = False) -> None:
        """Write `data` at byte `offset` of the log, or at its end if that comes first: what could not be written
        before, or was never sent, leaves no hole. With `rotate`, the log is a service's: old files of it are
        deleted, and what is missing is skipped, so that offsets stay those of the service's output."""
        try:
            if rotate:
                self._append_rotating(name, offset, data)
            else:
                _write(self._path(name), offset, data)
        except OSError as error:
            log.error("log of %s/%s not kept: %s", name.run_id, name.job_id, error, extra={"action": "log.failed"})
        self._topics.publish(("log", name.run_id, name.job_id))

    def await_rest(self, name: LogName) -> None:
        """The attempt is over, and its worker is about to send its log, or what is missing of it."""
        self._awaited.add(name)

    def is_awaited(self, name: LogName) -> bool:
        """Whether the log may still grow though its attempt is over."""
        return name in self._awaited

    def rest_is_here(self, name: LogName) -> None:
        """The log is whole, or nobody is there any more to send what is missing."""
        self._awaited.discard(name)
        self._topics.publish(("log", name.run_id, name.job_id))

    def size(self, name: LogName) -> int:
        """Bytes of the log that are here, or were until they were rotated away."""
        files = self._files_of(name)
        return files[-1].end if files else 0

    def read(self, name: LogName, offset: int, limit: int) -> tuple[int, bytes]:
        """Up to `limit` bytes from `offset` (negative: counted from the end); where they begin, and they. They
        begin later than asked for where what lies between is not kept."""
        files = self._files_of(name)
        start = offset if offset >= 0 else max(0, offset + (files[-1].end if files else 0))
        for file in files:
            if file.size and start < file.end:
                start = max(start, file.base)
                with contextlib.suppress(OSError), open(file.path, "rb") as opened:  # gone: rotated away meanwhile
                    opened.seek(start - file.base)
                    return start, opened.read(limit)
        return start, b""

    def run_ids(self) -> set[str]:
        """The runs of which there are logs."""
        return {path.name for path in self._directory.iterdir()}

    def forget(self, run_id: str) -> None:
        """Delete the logs of a run."""
        with self._rotation_lock:
            for name in [name for name in self._current if name.run_id == run_id]:
                del self._current[name]
        shutil.rmtree(self._directory / run_id, ignore_errors=True)

    def _path(self, name: LogName) -> Path:
        return self._directory / name.run_id / name.job_id / f"attempt-{name.attempt}.log"

    def _files_of(self, name: LogName) -> list[LogFile]:
        """The files of one attempt's log, oldest first."""
        return [file for file in _log_files(self._path(name).parent) if file.attempt == name.attempt]

    # ── services ──────────────────────────────────────────────────────────────────────────────────

    def _append_rotating(self, name: LogName, offset: int, data: bytes) -> None:
        with self._rotation_lock:
            file = self._current.pop(name, None) or self._newest(name)
            if file is not None and offset < file.end:  # it is here already, or its beginning is
                offset, data = file.end, data[file.end - offset :]
            if file is None or offset > file.end or file.size + len(data) > SERVICE_LOG_BYTES:
                file = self._next_file(name, offset)
            if data:
                self._remember(name, file._replace(size=file.size + _write_or_remove(file, data)))

    def _newest(self, name: LogName) -> LogFile | None:
        files = self._files_of(name)
        return files[-1] if files else None

    def _next_file(self, name: LogName, offset: int) -> LogFile:
        """Where a new file of a log begins, after room has been made for it."""
        path = self._path(name)
        room = SERVICE_LOG_BYTES * (SERVICE_LOG_FILES - 1)
        for file in reversed(_log_files(path.parent)):
            room -= max(file.size, LEAST_FILE_BYTES)
            if room < 0:
                file.path.unlink(missing_ok=True)
                self._current.pop(name._replace(attempt=file.attempt), None)
        return LogFile(name.attempt, offset, path if offset == 0 else path.with_name(f"{path.name}.{offset:015}"))

    def _remember(self, name: LogName, file: LogFile) -> None:
        """It is the file that the log goes on in. One that could not be written is looked up again."""
        self._current[name] = file
        while len(self._current) > CURRENT_FILES:
            self._current.popitem(last=False)


def _log_files(directory: Path) -> list[LogFile]:
    """All logs of one job, oldest first."""
    files = []
    with contextlib.suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            number, _, base = entry.name.removeprefix("attempt-").partition(".log")
            with contextlib.suppress(ValueError, FileNotFoundError):  # it is none of ours; it was just rotated away
                files.append(LogFile(int(number), int(base[1:] or 0), Path(entry.path), entry.stat().st_size))
    return sorted(files)


def _write_or_remove(file: LogFile, data: bytes) -> int:
    """Add `data` to a file; how many bytes of it. A new one that nothing could be written to is removed again.
    Raises OSError."""
    try:
        return _write(file.path, file.size, data)
    except OSError:
        if not file.size:
            file.path.unlink(missing_ok=True)
        raise


def _write(path: Path, offset: int, data: bytes) -> int:
    """Write `data` at `offset` of the file, or at its end if that comes first; how many of it. Raises OSError."""
    descriptor = _open(path)
    try:
        return os.pwrite(descriptor, data, min(offset, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)
