"""Which executions live, on disk: what a worker that is killed leaves for its successor to end.

One small file per execution, `titan_workspace/process_registry/<port>/<token>`, made before the process
and removed when nothing of it is left:

    <pid> <start time in clock ticks since boot> <host name>

A file without content says that the process may have been started or not. Nothing is flushed to disk:
the processes do not outlive the machine either. A process is ended only if its start time is the
recorded one, if it carries the token of a file here in its environment, or if it descends from such a
process; whoever has merely got a recorded pid since is not touched.

`open`, `record` and `remove` are called by the slot threads, `end_leftovers` once, before they exist.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
from pathlib import Path

from titan_core.worker import procfs
from titan_core.worker.procfs import Process

log = logging.getLogger("titan.worker")

_ROUNDS = 1_000
_DEATH_S = 10.0


class Entry:
    """The file of one execution."""

    def __init__(self, path: str, hostname: str) -> None:
        self._path = path
        self._hostname = hostname
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def record(self, pid: int) -> None:
        """Say which process it is."""
        found = procfs.status(pid)
        if found is not None:
            with contextlib.suppress(OSError):  # a full disk: the token in its environment still tells
                os.write(self._file, f"{pid} {found.process.start_ticks} {self._hostname}\n".encode())

    def remove(self) -> None:
        os.close(self._file)
        Path(self._path).unlink(missing_ok=True)


class ProcessRegistry:
    """The live executions of the worker on one port. Raises OSError when the directory can not be made."""

    def __init__(self, workspace: Path, port: int) -> None:
        self._directory = workspace / "process_registry" / str(port)
        self._prefix = f"{self._directory}/"
        self._hostname = socket.gethostname()
        self._directory.mkdir(parents=True, exist_ok=True)

    def open(self, token: str) -> Entry:
        """A file for the execution that is about to be started."""
        return Entry(self._prefix + token, self._hostname)

    def end_leftovers(self) -> int:
        """End what a predecessor on this port left running, and forget it; how many processes that were."""
        files = {path: process for path, process in self._recorded().items() if process is not _ELSEWHERE}
        if not files:
            return 0
        ended = _end_all({process for process in files.values() if process}, {path.name for path in files})
        for path in files:
            path.unlink(missing_ok=True)
        return ended

    def _recorded(self) -> dict[Path, Process | None]:
        """What the files say; None = a process that is not known, _ELSEWHERE = one of another machine."""
        return {path: self._parse(path.read_text()) for path in self._directory.iterdir() if path.is_file()}

    def _parse(self, text: str) -> Process | None:
        try:
            pid, start_ticks, hostname = text.split()
            process = Process(int(pid), int(start_ticks))
            return process if hostname == self._hostname else _ELSEWHERE
        except ValueError:
            return None


_ELSEWHERE = Process(0, 0)
"""A worker on another machine that shares this home and has the same port."""


def _end_all(recorded: set[Process], tokens: set[str]) -> int:
    """End those processes, all that carry a token, and all that descend from them; how many that were."""
    ended: set[Process] = set()
    for _ in range(_ROUNDS):
        found = _find(recorded, tokens)
        if not found:
            break
        recorded |= found  # their children are theirs, also when they are gone
        for process in found:
            _kill(process)
        ended |= found
    return len(ended)


def _find(recorded: set[Process], tokens: set[str]) -> set[Process]:
    roots = {process for process in recorded if procfs.is_alive(process)}
    for pid in procfs.all_pids():
        if procfs.attempt_token(pid) in tokens:
            found = procfs.status(pid)
            if found is not None and found.state != "Z":
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
        if not procfs.is_alive(process):  # now that it is pinned down, its pid can not change hands
            return
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        _wait_for_end(process, pidfd)
    except PermissionError:
        log.error("process %d belongs to another user and can not be ended", process.pid)
    finally:
        os.close(pidfd)


def _wait_for_end(process: Process, pidfd: int) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if not poller.poll(_DEATH_S * 1000):
        log.error("process %d does not end after SIGKILL", process.pid, extra={"action": "process.stuck"})
