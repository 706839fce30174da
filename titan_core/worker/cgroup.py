"""The worker's own cgroup, and one below it for every slot: whose a process is, whatever it does to hide.

    <the cgroup it was started in>/titan-worker-<port>-<16 hex>/     the worker, every thread of it
                                                                slot-<n>/    a slot's thread while it serves

A process is born into the cgroup of the thread that starts it, and no fork, session or environment gets it
out. The slots' cgroups are therefore *threaded*: a slot's thread enters its own once, and each job is there
from its first instruction, at no cost. Moving a process instead, after it was started, would leave a moment
in which it forks unseen, and takes up to 20 ms where the kernel has not moved any for a while.

The kernel kills no threaded cgroup at a stroke. A slot steps out of its own, freezes it, so that nothing forks
any more, kills what is listed, and steps in again. What a killed worker leaves is killed at a stroke, by the
cgroup that it was in itself: its path is in the process registry.

Needs cgroups v2 with `cgroup.kill` (Linux 5.14), the right to make one where the worker was started, and a
process that is nothing but a worker. Where that can not be had, there is none: see `process_tree`.
`WorkerCgroup` is made and closed once; each slot's thread uses a `SlotCgroup` of its own. A worker that the
worker starts is born into the worker's own, and moved out of it from both sides: by its parent at once, which
may be killed at any time, and by itself before it makes its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import select
import signal
import threading
import time
from pathlib import Path

from titan_core.worker import procfs, sigkill

_NAME = re.compile(r"titan-worker-\d+-[0-9a-f]{16}")
_FREEZE_S = 1.0
"""How long the kernel may take to stop everything; what it holds in I/O is not waited for."""
_WAITS_S = (1.0, sigkill.DEATH_S)
"""For the end of what was listed and killed. Once is enough where everything could be frozen."""
_ABANDONED_S = 60.0
"""An empty cgroup of this age is not that of a worker which is just starting."""


def place_for(port: int) -> Path:
    """Where a worker on this port can make its cgroup: a name that nobody else has. Raises OSError: nowhere."""
    below = _own_directory()
    if not (below / "cgroup.procs").exists():
        raise FileNotFoundError("this process is in no cgroup that it can see")
    return below / f"titan-worker-{port}-{secrets.token_hex(8)}"


def end_all_in(path: Path) -> int:
    """Kill everything in the cgroup of a worker that is dead, and remove it; how many processes that were.

    Whatever is recorded: only a cgroup with a worker's name, and none that this process is in, is touched.
    """
    if not _NAME.fullmatch(path.name) or path == _own_directory() or path in _own_directory().parents:
        return 0
    with contextlib.suppress(OSError):  # it is gone, as after a restart of the machine
        processes = _numbers(path / "cgroup.procs")
        if processes:
            _write(path / "cgroup.kill", "1")
            if not _comes_true(path, "populated 0", sigkill.DEATH_S):
                sigkill.log_stuck(_numbers(path / "cgroup.procs"))
        _remove(path)
        return len(processes)
    return 0


def leave_parents() -> None:
    """Step out of the cgroup of the worker that has started this process, if that one has not moved it yet."""
    with contextlib.suppress(OSError):
        path = _own_directory()
        if _NAME.fullmatch(path.name):
            _write(path.parent / "cgroup.procs", str(os.getpid()))


class WorkerCgroup:
    """The cgroup that this process is in from now on, until `close`. Raises OSError where it can not be made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._slots = threading.local()
        self._numbers = itertools.count()
        self._made: list[SlotCgroup] = []
        _remove_abandoned(path.parent)
        path.mkdir()
        try:
            if not (path / "cgroup.kill").exists():
                raise FileNotFoundError("this kernel has no cgroup.kill")
            self._make("try").rmdir()
            _write(path / "cgroup.procs", str(os.getpid()))
        except OSError:
            _remove(path)
            raise
        self._name = procfs.cgroup(os.getpid())

    def slot(self) -> SlotCgroup | None:
        """That of the calling thread, which is in it: what it starts from now on is there as well. None = there is
        none to be had."""
        slot: SlotCgroup | None = getattr(self._slots, "own", None)
        if slot is None or not slot.entered:
            with contextlib.suppress(OSError):
                slot = SlotCgroup(self._make(f"slot-{next(self._numbers)}"), self._name)
                self._made.append(slot)
                self._slots.own = slot
        return slot if slot is not None and slot.entered else None

    def slot_name_of(self, pid: int) -> str:
        """The `name` of the slot's cgroup in which a process is, or was before it ended; empty = it is in none."""
        name = procfs.cgroup(pid)
        below = name.removeprefix(f"{self._name}/")
        return "" if below == name else below.partition("/")[0]

    def let_go(self, pid: int) -> None:
        """Move a process, which is in it, to where it was made."""
        with contextlib.suppress(OSError):
            _write(self._path.parent / "cgroup.procs", str(pid))

    def close(self) -> None:
        """Step out and remove it, when no slot's thread works any more and nothing is left in it but this process."""
        while self._made:
            os.close(self._made.pop().descriptor)
        with contextlib.suppress(OSError):  # what can not be ended is still there
            _write(self._path.parent / "cgroup.procs", str(os.getpid()))
            _remove(self._path)

    def _make(self, name: str) -> Path:
        path = self._path / name
        path.mkdir()
        _write(path / "cgroup.type", "threaded")
        return path


class SlotCgroup:
    """Everything that one slot's thread has started, and the thread itself. Raises OSError when it can not enter."""

    def __init__(self, path: Path, above: str) -> None:
        self.name = path.name
        self.entered = False
        """Whether the thread is in it. Not any more = something in it does not end; it is left to itself."""
        self._path = path
        self._full_name = f"{above}/{path.name}"
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        """For a process that another one gives birth to in it."""
        try:
            self._enter()
        except OSError:
            os.close(self.descriptor)
            raise

    def has_processes(self) -> bool:
        """Whether anything of the slot's executions lives."""
        with contextlib.suppress(OSError):
            return bool(self._processes())
        return False

    def end_all(self) -> None:
        """Kill everything that the slot's thread has started, and wait for its end."""
        with contextlib.suppress(OSError):  # somebody has taken the cgroup away: what is left is looked for otherwise
            self._move_own_threads_out()
            try:
                _write(self._path / "cgroup.freeze", "1")
                _comes_true(self._path, "frozen 1", _FREEZE_S)
                ended = self._kill_what_is_listed()
            finally:
                _write(self._path / "cgroup.freeze", "0")
            if ended:
                self._enter()

    def _kill_what_is_listed(self) -> bool:
        for wait_s in _WAITS_S:
            for pid in self._processes():
                self._kill(pid)
            if _comes_true(self._path, "populated 0", wait_s):
                return True
        sigkill.log_stuck(self._processes())
        return False

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            try:
                if _is_in(procfs.cgroup(pid), self._full_name):  # pinned down now: its pid can not change hands
                    with sigkill.permitted(pid):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            finally:
                os.close(pidfd)

    def _processes(self) -> set[int]:
        """The living ones of the slot, also in cgroups that a job has made below; never this one."""
        return set(self._threads().values()) - {0, os.getpid()}

    def _threads(self) -> dict[int, int]:
        """All threads in it, and the processes they are of."""
        listed = [_numbers(f"{directory}/cgroup.threads") for directory, _, _ in os.walk(self._path)]
        return {thread: procfs.thread_group(thread) for thread in itertools.chain(*listed)}

    def _enter(self) -> None:
        _write(self._path / "cgroup.threads", "0")  # 0 = the calling thread
        self.entered = True

    def _move_own_threads_out(self) -> None:
        """The calling one, and what it may have started: frozen, one that holds the GIL would stop the worker."""
        self.entered = False
        for thread, process in self._threads().items():
            if process == os.getpid():
                with contextlib.suppress(ProcessLookupError):
                    _write(self._path.parent / "cgroup.threads", str(thread))


def _own_directory() -> Path:
    """Where the cgroup that this process is in can be seen. Raises OSError: nowhere."""
    own = procfs.cgroup(os.getpid())
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        root, mounted_at = line.split()[3:5]
        if " - cgroup2 " in line and _is_in(own, root.rstrip("/")) and not own.startswith("/.."):
            return Path(mounted_at, own[len(root.rstrip("/")) :].lstrip("/"))
    raise FileNotFoundError("no file system of cgroups v2 is mounted that shows this process's own")


def _is_in(name: str, above: str) -> bool:
    return name == above or name.startswith(f"{above}/")


def _remove_abandoned(directory: Path) -> None:
    """Remove what killed workers have left that had no successor, as far as it is empty."""
    for path in directory.glob("titan-worker-*"):
        with contextlib.suppress(OSError):
            age_s = time.time() - path.stat().st_ctime
            if age_s > _ABANDONED_S and "populated 0" in (path / "cgroup.events").read_text():
                _remove(path)


def _remove(path: Path) -> None:
    for directory, _, _ in os.walk(path, topdown=False):
        Path(directory).rmdir()


def _comes_true(path: Path, word: str, within_s: float) -> bool:
    """Wait until the kernel says `word` of the cgroup; False when it does not in time."""
    until_at = time.monotonic() + within_s
    descriptor = os.open(path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLPRI)
        while word.encode() not in os.pread(descriptor, 4096, 0):
            if not poller.poll(max(0.0, until_at - time.monotonic()) * 1000) and time.monotonic() >= until_at:
                return False
        return True
    finally:
        os.close(descriptor)


def _numbers(path: Path | str) -> list[int]:
    """The processes or threads that a file of the kernel lists."""
    return [int(number) for number in Path(path).read_text().split()]


def _write(path: Path, text: str) -> None:
    """In one system call, as such files want it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
