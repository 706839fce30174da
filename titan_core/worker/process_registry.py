"""Which executions live, on disk: what a worker that is killed leaves for its successor to end.

One small file, `titan_workspace/process_registry/<port>/executions-<host name>`, with a line for each:

    <token> <pid> <started not before> <and not after>        instants in clock ticks since boot

The token is written before the process is made: alone, it says that it may have been started or not. The line of
an execution that is over is blank, and the next one's. Nothing is flushed to disk: the processes do not outlive the
machine either. A process is ended only if it was started when the recorded one was, if it is in that one's session,
if it carries a token that is here in its environment, or if it descends from such a process; whoever has merely got
a recorded pid since is not touched.

A worker holds a lock (flock) on `lock-<host name>` in its directory as long as it lives. Whoever starts
ends the leftovers in every directory of the home whose lock is free: a killed worker's port may never be
used again. What workers of other machines that share the home have there is theirs.

Beside the lock, `cgroup-<host name>` holds the path of the worker's cgroup, if it has one: whatever is in
it was started by that worker, also if it bears no mark any more.

`open`, and what it gives, are called by the slot threads, `end_leftovers` and then `make_cgroup` once,
before they exist.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import NamedTuple

from titan_core.errors import ConfigError
from titan_core.worker import cgroup, procfs, sigkill
from titan_core.worker.cgroup import WorkerCgroup
from titan_core.worker.procfs import Process

log = logging.getLogger("titan.worker")

_ROUNDS = 1_000
LINE_BYTES = 128
"""Room for a token of 32 characters and three numbers of 20 digits."""


class Entry:
    """The line of one execution. Raises OSError when the disk does not take it."""

    def __init__(self, file: int, line: int, token: str, free: list[int]) -> None:
        self._file = file
        self._line = line
        self._token = token
        self._free = free
        self._write(token)
        self._made_ticks = procfs.boot_ticks()

    def record(self, pid: int) -> None:
        """Say which process it is; it has been started since the entry was made."""
        with contextlib.suppress(OSError):  # a full disk: the token in its environment still tells
            self._write(f"{self._token} {pid} {self._made_ticks} {procfs.boot_ticks()}")

    def remove(self) -> None:
        """It is over."""
        with contextlib.suppress(OSError):  # as above: nothing is left that the token could be of
            self._write("")
        self._free.append(self._line)

    def _write(self, text: str) -> None:
        os.pwrite(self._file, f"{text:<{LINE_BYTES - 1}}\n".encode(), self._line * LINE_BYTES)


class ProcessRegistry:
    """The live executions of the worker on one port. Raises ConfigError when there is no place for them."""

    def __init__(self, workspace: Path, port: int) -> None:
        self._port = port
        self._directory = workspace / "process_registry" / str(port)
        self._hostname = socket.gethostname()
        self._file = -1
        self._lines = 0
        self._free: list[int] = []
        """Lines of executions that are over."""
        self._lines_lock = threading.Lock()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self._lock_path(self._directory), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)  # at most another worker is just looking for leftovers here
        except OSError as error:
            raise ConfigError(f"this worker can not write to {workspace}: {error.strerror}") from None

    def open(self, token: str) -> Entry:
        """A line for the execution that is about to be started. Raises OSError."""
        with self._lines_lock:
            if self._file < 0:
                path = self._executions_path(self._directory)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if self._free:
                line = self._free.pop()
            else:
                line, self._lines = self._lines, self._lines + 1
        try:
            return Entry(self._file, line, token, self._free)
        except OSError:
            self._free.append(line)
            raise

    def end_leftovers(self) -> int:
        """End what killed workers of this home left running, and forget it; how many processes that were."""
        ended = self._end_left_in(self._directory)
        for other in self._directory.parent.iterdir():
            lock = _try_lock(self._lock_path(other)) if other != self._directory else None
            if lock is not None:
                ended += self._end_left_in(other)
                os.close(lock)
        return ended

    def make_cgroup(self) -> WorkerCgroup | None:
        """Put this process into a cgroup that a successor finds; None = it can not have one."""
        try:
            path = cgroup.place_for(self._port)
            # Before there is anything in it: a worker may be killed at any time.
            self._cgroup_path(self._directory).write_text(f"{path}\n")
            return WorkerCgroup(path)
        except OSError as error:
            log.debug("no cgroup for this worker: %s", error, extra={"action": "cgroup.none"})
            return None

    def close(self) -> None:
        """No execution is left: give the directory up. While the port is still ours, so that nobody else has it."""
        if self._lock >= 0:
            self._cgroup_path(self._directory).unlink(missing_ok=True)
            self._executions_path(self._directory).unlink(missing_ok=True)
            self._lock_path(self._directory).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # another machine's entries are in it
                self._directory.rmdir()
            os.close(self._lock)
        if self._file >= 0:
            os.close(self._file)
        self._lock = self._file = -1

    def _lock_path(self, directory: Path) -> Path:
        return directory / f"lock-{self._hostname}"

    def _cgroup_path(self, directory: Path) -> Path:
        return directory / f"cgroup-{self._hostname}"

    def _executions_path(self, directory: Path) -> Path:
        return directory / f"executions-{self._hostname}"

    def _end_left_in(self, directory: Path) -> int:
        # The cgroup first: nothing in it can start anything more, and hide it, while it is looked for.
        return self._end_enclosed(self._cgroup_path(directory)) + self._end_recorded(self._executions_path(directory))

    def _end_enclosed(self, record: Path) -> int:
        try:
            path = record.read_text().strip()
        except FileNotFoundError:
            return 0
        ended = cgroup.end_all_in(Path(path))
        record.unlink(missing_ok=True)
        return ended

    def _end_recorded(self, path: Path) -> int:
        try:
            records = [_read(line) for line in _lines(path)]
        except FileNotFoundError:
            return 0
        recorded = {process for record in records if (process := record.process()) is not None}
        ended = _end_all(recorded, {record.token for record in records}) if records else 0
        path.unlink(missing_ok=True)
        return ended


def _try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock; None = there is no such lock, or its worker lives."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


class _Record(NamedTuple):
    token: str
    pid: int
    first_ticks: int
    last_ticks: int

    def process(self) -> Process | None:
        """The recorded process, if it is still there."""
        found = procfs.status(self.pid)
        if found is None or not self.first_ticks <= found.process.start_ticks <= self.last_ticks:
            return None
        return found.process


def _lines(path: Path) -> list[str]:
    """Those that are not blank; one that nobody came to write, before another, consists of zeros."""
    lines = path.read_text(errors="replace").replace("\0", " ").splitlines()
    return [line for line in lines if line.strip()]


def _read(line: str) -> _Record:
    """What a line says. One that the worker had not written to its end stands for no process."""
    token, *numbers = line.split()
    try:
        pid, first_ticks, last_ticks = map(int, numbers)
    except ValueError:
        pid = first_ticks = last_ticks = 0
    return _Record(token, pid, first_ticks, last_ticks)


def _end_all(recorded: set[Process], tokens: set[str]) -> int:
    """End those processes, all in their sessions or with a token, and what descends from them; how many it were."""
    ended: set[Process] = set()
    sessions = {process.pid for process in recorded}  # the id is nobody else's while one of the session is left
    for _ in range(_ROUNDS):
        found = _find(recorded, sessions, tokens) - ended  # what does not end the first time never will
        if not found:
            break
        recorded |= found  # their children are theirs, also when they are gone
        for process in found:
            _kill(process)
        ended |= found
    return len(ended)


def _find(recorded: set[Process], sessions: set[int], tokens: set[str]) -> set[Process]:
    roots = {process for process in recorded if procfs.is_alive(process)}
    for pid in procfs.all_pids():
        found = procfs.status(pid)
        if found is not None and (found.session in sessions or procfs.attempt_token(pid) in tokens):
            roots.add(found.process)
    below = [procfs.descendants(process.pid) for process in roots]
    return {process for process in roots.union(*below) if procfs.is_alive(process)}


def _kill(process: Process) -> None:
    """SIGKILL to exactly this process, and wait for its end."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if procfs.is_alive(process):  # now that it is pinned down, its pid can not change hands
            with sigkill.permitted(process.pid):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                sigkill.ends(process.pid, pidfd)
    finally:
        os.close(pidfd)
