"""One execution: an operating-system process, everything it starts, and their end.

    start ─▶ wait (exit · stop request · time-out) ─▶ stop signal, grace ─▶ SIGKILL ─▶ reap ─▶ sweep

The leader gets a session of its own, nothing on stdin, one log file as stdout and stderr, and only the
environment it is given. Its exit is waited for on a pidfd, beside the descriptor that a stop request
turns readable. The group is signalled while the leader is unreaped, so that its id can not be another's.

Runs on a slot's thread and blocks it until nothing of the process is left. Knows nothing of jobs,
messages and the master.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple, Protocol

from titan_core.frozen import dataclass
from titan_core.worker import precedence
from titan_core.worker.cgroup import SlotCgroup
from titan_core.worker.control import Control, Stop
from titan_core.worker.process_registry import ProcessRegistry
from titan_core.worker.process_tree import OrphanHouse, ProcessTree
from titan_core.worker.turn import TURN

FORK_GATE = threading.Lock()
"""Held while a process is being made, and by whoever has a program open for writing: a child that inherits
such a descriptor, until its own exec closes it, would make the kernel refuse to run that program (ETXTBSY)."""
_NOTHING = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
"""What all processes read."""
_LONGEST_POLL_S = 86_400.0
"""`poll` takes no more than 24 days at once; a job may take years."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, and how."""

    command: list[str]
    """Absolute path of the program, then its arguments."""
    cwd: str
    env: dict[str, str]
    output: int
    """Descriptor of the log file, open for appending; `subprocess.DEVNULL`: nobody reads it."""
    fresh: bool = False
    """As of a `Place`."""


class Ending(NamedTuple):
    """How the leader ended."""

    exit_code: int
    """Its own, or 128 + the signal that ended it."""
    signal: int
    """0 = it exited by itself."""
    peak_memory: int
    """Bytes. The kernel counts from before exec, so it is never less than what the worker itself uses."""
    stopped: bool
    """The stop signal was sent before it ended."""


def signal_name(number: int) -> str:
    """`SIGKILL`; `signal 40` for one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Waited(Enum):
    EXITED = 1
    WOKEN = 2
    LATE = 3


class Leader(Protocol):
    """The first process of an execution, a child of this one."""

    pid: int
    returncode: int | None
    """As of `subprocess`: None until it has been reaped, by whomever."""

    def wait(self) -> int: ...


StartProcess = Callable[[Launch, SlotCgroup | None], Leader]
"""Makes the process, in that cgroup, which the calling thread is in. Raises OSError when there is none."""


def start_process(launch: Launch, cgroup: SlotCgroup | None = None) -> subprocess.Popen[bytes]:
    """Start the process; it is born where the calling thread is. Raises OSError when the system makes none of it."""
    with FORK_GATE, precedence.usual():
        return subprocess.Popen(
            launch.command,
            stdin=_NOTHING,
            stdout=launch.output,
            stderr=launch.output,
            cwd=launch.cwd,
            env=launch.env,
            start_new_session=True,
        )


class Execution:
    """One process tree from its start until nothing of it is left."""

    def __init__(
        self,
        launch: Launch,
        control: Control,
        house: OrphanHouse,
        registry: ProcessRegistry,
        start: StartProcess = start_process,
    ) -> None:
        self._launch = launch
        self._start = start
        self._control = control
        self._house = house
        self._registry = registry

    def run(self, on_started: Callable[[int], object] | None = None) -> Ending:
        """Start the process, call `on_started(pid)`, see it through. Raises OSError when there is no process."""
        entry = self._registry.open(self._control.token.hex())
        try:
            cgroup = self._house.slot_cgroup()
            process = self._start(self._launch, cgroup)
            try:
                entry.record(process.pid)
                return _Watch(process, self._control, cgroup, self._house).see_through(on_started)
            finally:
                _abandon(process)
        finally:
            entry.remove()


class _Watch:
    """A running process, and the two descriptors its slot sleeps on."""

    def __init__(self, process: Leader, control: Control, cgroup: SlotCgroup | None, house: OrphanHouse) -> None:
        self._process = process
        self._control = control
        self._house = house
        self._stopped_at: float | None = None
        self._pidfd = os.pidfd_open(process.pid)
        self._wake = control.open_wake()
        self._poll = _poller(self._pidfd, self._wake)
        self._tree = ProcessTree(process.pid, control.token.hex(), cgroup, house)

    def see_through(self, on_started: Callable[[int], object] | None) -> Ending:
        try:
            try:
                if on_started is not None:
                    on_started(self._process.pid)
                self._wait_for_end()
            finally:
                self._control.end()  # before it is reaped: from then on, its pid may be another's
            return self._end_all()
        finally:
            self._control.close_wake()
            os.close(self._pidfd)

    def _wait_for_end(self) -> None:
        """Until the leader has ended, or its time and its grace are over."""
        timeout_s = self._control.start.task.timeout_s
        waited = self._wait(time.monotonic() + timeout_s if timeout_s else None)
        if waited is _Waited.EXITED:
            return
        if waited is _Waited.LATE:
            self._control.stop(Stop("TIMED_OUT", f"ran longer than its timeout of {timeout_s:g} s"))
        self._stopped_at = time.monotonic()
        self._tree.note_descendants()  # the signal may end the parents by which they are known
        self._tree.signal(self._control.start.task.stop_signal)
        self._tree.signal(signal.SIGCONT)  # a stopped process can not act on the signal before
        while self._wait(self._grace_ends_at()) is _Waited.WOKEN:
            """The grace has become shorter."""

    def _end_all(self) -> Ending:
        """End what has not ended, reap the leader, leave nothing."""
        if self._stopped_at is not None:
            self._leave_grace_to_the_rest()
        if self._stopped_at is not None or not self._house.is_empty():
            with TURN.away():
                self._tree.kill()
        ending = self._reap()
        self._tree.end()
        return ending

    def _leave_grace_to_the_rest(self) -> None:
        """The leader may be gone before others of its tree that finish their work: the grace is theirs as well."""
        pidfd = self._tree.first_signalled() if self._has_exited() else None
        while pidfd is not None:
            try:
                waited = _wait(_poller(pidfd, self._wake), pidfd, self._wake, self._grace_ends_at())
            finally:
                os.close(pidfd)
            pidfd = None if waited is _Waited.LATE else self._tree.first_signalled()

    def _reap(self) -> Ending:
        _, status, usage = os.wait4(self._process.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code  # so that nobody waits for this pid again
        number = max(0, -code)
        return Ending(128 + number if number else code, number, usage.ru_maxrss * 1024, self._stopped_at is not None)

    def _grace_ends_at(self) -> float:
        assert self._stopped_at is not None
        return self._stopped_at + self._control.grace_s

    def _has_exited(self) -> bool:
        return self._wait(time.monotonic()) is _Waited.EXITED

    def _wait(self, until_at: float | None) -> _Waited:
        return _wait(self._poll, self._pidfd, self._wake, until_at)


def _abandon(process: Leader) -> None:
    """Where something failed on the way, the process must not go on unwatched."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _poller(pidfd: int, wake: int) -> select.poll:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(wake, select.POLLIN)
    return poller


def _wait(poller: select.poll, pidfd: int, wake: int, until_at: float | None) -> _Waited:
    """Sleep until the process has ended, a stop request comes or the instant passes; the first counts most."""
    descriptors = _readable(poller, float("inf") if until_at is None else until_at)
    if pidfd in descriptors:
        return _Waited.EXITED
    if wake in descriptors:
        os.eventfd_read(wake)
        return _Waited.WOKEN
    return _Waited.LATE


def _readable(poller: select.poll, until_at: float) -> list[int]:
    """Sleep until a descriptor can be read, or the instant passes; those that can."""
    while True:
        left_s = max(0.0, until_at - time.monotonic())
        with TURN.away():
            ready = poller.poll(min(left_s, _LONGEST_POLL_S) * 1000)
        if ready or left_s <= _LONGEST_POLL_S:
            return [descriptor for descriptor, _ in ready]
