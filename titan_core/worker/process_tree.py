"""Which processes belong to an execution, and ending them to the last one.

A process can leave its group (setsid), its parent (the parent ends) or both (a daemon). As the worker
is a child subreaper, whatever loses its parent becomes the worker's own child: it is listed in /proc,
its pid can not be reused before the worker reaps it, and so it can be killed without a doubt about who
it is. It belongs to an execution if it is in the leader's session, carries the attempt's token (or the
mark of the health check) in its environment, or was seen below the leader while the parents were still
there. A worker that a worker has started (see nursery) is handed here when its parent ends: it never
came from an execution.

    end()   note the descendants · SIGKILL to the group, while its leader is not reaped
            repeat: those handed to us that belong here: note their children, SIGKILL, reap
            until there is none

Called by the slot threads. Touches nothing that it can not attribute: in a process that does other
things beside being a worker, other children are left alone. Only where the worker is alone in its
process (`alone`) is every child handed to it known to come from some execution: one without any mark
is ended once all executions that could have left it are over.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time

from titan_core.errors import ConfigError
from titan_core.worker import procfs, sigkill
from titan_core.worker.cgroup import SlotCgroup, WorkerCgroup
from titan_core.worker.process_registry import ProcessRegistry
from titan_core.worker.procfs import Process, Status

WORKER_MODULE = "titan_core.worker"
PARENT_FLAG = "--parent"
"""With this flag, and nobody else uses it, a worker starts another one."""
_PR_SET_CHILD_SUBREAPER = 36
_ROUNDS = 10_000
"""Of killing and looking again; each ends at least one process, so only a storm of forks needs many."""
_CALM_ROUNDS = 5
"""After so many, processes are stopped before they are looked at."""
_HALTED_AT_ONCE = 1_000
_EXEC_LOOKS, _EXEC_LOOK_S = 20, 0.001


class _Subreaper:
    """Whether this process is handed the descendants that lose their parent: while any worker in it wants that."""

    _lock = threading.Lock()
    _wanted = 0

    @classmethod
    def begin(cls) -> None:
        with cls._lock:
            _set_subreaper(True)
            cls._wanted += 1

    @classmethod
    def end(cls) -> None:
        with cls._lock:
            cls._wanted -= 1
            if not cls._wanted:
                _set_subreaper(False)


def _set_subreaper(wanted: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise ConfigError(f"can not become a child subreaper: {os.strerror(ctypes.get_errno())}")


class ProcessTree:
    """A leader, its group, and what has left it. One slot thread uses it."""

    def __init__(self, leader: int, mark: str, cgroup: SlotCgroup | None, house: OrphanHouse) -> None:
        self.leader = leader
        self.mark = mark
        """In the environment of all that the leader starts: the token of an attempt, or that of a check."""
        self.cgroup = cgroup
        """In which the leader was born, with nothing that is not of this tree."""
        self.seen: set[Process] = set()
        self._house = house
        house.enter(self)

    def signal(self, number: int) -> None:
        """Send to the whole group. Only while the leader has not been reaped, else the group may be another's."""
        with contextlib.suppress(ProcessLookupError), sigkill.permitted(self.leader):
            os.killpg(self.leader, number)

    def first_signalled(self) -> int | None:
        """A pidfd of some process of the group that has outlived the leader; None = there is none. Those that
        have ended are reaped."""
        return self._house.first_of_group(self)

    def note_descendants(self) -> None:
        """Remember who descends from the leader and from what it left, to know them when their parents are gone.
        In a cgroup they are known without, and a storm of forks would be followed for as long as it lasts."""
        if self.cgroup is not None and self.cgroup.entered:
            return
        self.seen |= procfs.descendants(self.leader)
        self._house.note(self)

    def kill(self) -> None:
        """SIGKILL to the leader and all below it, as far as it can be known before the leader has been reaped."""
        if self.cgroup is not None and self.cgroup.has_processes():
            self.cgroup.end_all()
        self.note_descendants()
        self.signal(signal.SIGKILL)

    def end(self) -> None:
        """The leader has been reaped: end what is left, and forget the tree."""
        self._house.leave(self)


class OrphanHouse:
    """The worker's orphans, and which trees could have left them. Shared by the slot threads, one sweep at a time."""

    def __init__(self, alone: bool) -> None:
        self._orphans: procfs.Orphans | None = None
        self._alone = alone
        self._own_session = os.getsid(0)
        self._lock = threading.Lock()
        self._live: set[ProcessTree] = set()
        self._cgroup: WorkerCgroup | None = None
        self._suspects: dict[Process, set[ProcessTree]] = {}
        """Who could have left a process that has no mark, as far as it is still running."""

    def open(self) -> None:
        """From now on, orphans come here; before there is any process. Raises ConfigError where that can not be."""
        try:
            self._orphans = procfs.Orphans()
        except OSError:
            raise ConfigError(
                "this kernel lists no children in /proc (CONFIG_PROC_CHILDREN); a worker needs that"
            ) from None
        _Subreaper.begin()

    def enclose(self, registry: ProcessRegistry) -> None:
        """Put the worker into a cgroup, where it may and can have one; before there is any process."""
        if self._alone:
            self._cgroup = registry.make_cgroup()

    def slot_cgroup(self) -> SlotCgroup | None:
        """That of the calling slot's thread, into which whatever it starts is born."""
        return self._cgroup.slot() if self._cgroup is not None else None

    def close(self) -> None:
        """When there are no more trees."""
        if self._cgroup is not None:
            self._cgroup.close()
        self._cgroup = None
        if self._orphans is not None:
            _Subreaper.end()
            self._orphans.close()
        self._orphans = None

    def is_empty(self) -> bool:
        """Whether there is no orphan, of whatever tree."""
        return not self._pids()

    def enter(self, tree: ProcessTree) -> None:
        with self._lock:
            self._live.add(tree)

    def leave(self, tree: ProcessTree) -> None:
        """End everything that belongs to `tree`, whose leader is gone.

        Nothing is handed over later that does not descend from what is listed now: an empty list is the end of it.
        """
        with self._lock:
            self._live.discard(tree)
            if self._pids():
                self._sweep(tree)

    def reap(self) -> None:
        """Reap what ended while its tree lives on: a service may leave orphans for months. Never waits: the worker's
        heartbeat calls it, and a sweep, which reaps as well, may take as long as the kernel holds a process."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            sessions = self._leaders()
            for status in self._statuses():
                if status.state == "Z" and (self._alone or status.session in sessions):
                    os.waitpid(status.process.pid, os.WNOHANG)
        finally:
            self._lock.release()

    def left_by(self, leader: int) -> set[Process]:
        """The orphans of this leader's session, as they are now. Never waits."""
        statuses = map(procfs.status, self._pids())
        return {status.process for status in statuses if status is not None and status.session == leader}

    def let_go(self, pid: int) -> None:
        """This child of ours goes its own way: what ends the worker and all it has started does not end it."""
        if self._cgroup is not None:
            self._cgroup.let_go(pid)

    def first_of_group(self, tree: ProcessTree) -> int | None:
        with self._lock:  # until it is opened, no other slot may reap the process
            for status in self._belonging(tree, self._statuses()):
                if status.group == tree.leader and os.waitpid(status.process.pid, os.WNOHANG) == (0, 0):
                    return os.pidfd_open(status.process.pid)
        return None

    def note(self, tree: ProcessTree) -> None:
        with self._lock:
            for status in self._belonging(tree, self._statuses()):
                tree.seen |= procfs.descendants(status.process.pid)

    def _pids(self) -> list[int]:
        assert self._orphans is not None, "the house is not open"
        return self._orphans.pids()

    def _sweep(self, tree: ProcessTree) -> None:
        others: set[int] = set()
        for number in range(_ROUNDS):
            halted = self._halt_all_but(others) if number >= _CALM_ROUNDS else []
            statuses = self._statuses()
            belonging = self._belonging(tree, statuses)
            pids = [status.process.pid for status in belonging]
            others = {status.process.pid for status in statuses}.difference(pids) | self._leaders()
            _signal_all([pid for pid in halted if pid in others], signal.SIGCONT)
            if not pids:
                return
            pids = [status.process.pid for status in belonging if not _was_over(status)]
            for pid in pids:
                tree.seen |= procfs.descendants(pid)
                with sigkill.permitted(pid):
                    os.kill(pid, signal.SIGKILL)
            stuck = [pid for pid in pids if not _reap(pid)]
            if stuck:
                return

    def _halt_all_but(self, known: set[int]) -> list[int]:
        """Stop whatever is handed to us, until nothing more is; the pids.

        For processes that leave another one and end before anybody can see whose they are: each is handed to us
        when its parent ends, and one that has been stopped leaves none.
        """
        halted: dict[int, None] = {}
        while len(halted) < _HALTED_AT_ONCE:
            new = [pid for pid in self._pids() if pid not in halted and pid not in known]
            if not new:
                break
            _signal_all(new, signal.SIGSTOP)
            halted.update(dict.fromkeys(new))
        return list(halted)

    def _belonging(self, tree: ProcessTree, orphans: list[Status]) -> list[Status]:
        present = {status.process for status in orphans}
        self._suspects = {process: trees for process, trees in self._suspects.items() if process in present}
        return [status for status in orphans if status.process.pid != tree.leader and self._belongs(status, tree)]

    def _statuses(self) -> list[Status]:
        """All orphans, and no leader: those are for their own slots to reap."""
        leaders = self._leaders()
        pids = [pid for pid in self._pids() if pid not in leaders]
        return [status for pid in pids if (status := procfs.status(pid)) is not None]

    def _leaders(self) -> set[int]:
        return {tree.leader for tree in self._live}

    def _belongs(self, status: Status, tree: ProcessTree) -> bool:
        if status.session == tree.leader or status.process in tree.seen:
            return True
        if status.session == self._own_session:  # every execution begins with a session of its own
            return False
        if self._cgroup is not None and (slot := self._cgroup.slot_name_of(status.process.pid)):
            return tree.cgroup is not None and slot == tree.cgroup.name
        marks = _marks(status.process.pid)
        if marks or not self._alone:
            return tree.mark in marks
        if status.state == "Z":
            return True
        return not is_spawned(status.process.pid) and self._is_nobodys(status.process, tree)

    def _is_nobodys(self, process: Process, tree: ProcessTree) -> bool:
        """Without a mark: whether `tree` is the last of those that could have left the process."""
        suspects = self._suspects.setdefault(process, self._live | {tree})
        suspects &= self._live
        return not suspects


def _marks(pid: int) -> set[str]:
    """Its own. One that is just becoming another program shows neither arguments nor environment meanwhile."""
    for _ in range(_EXEC_LOOKS):
        before, marks, after = procfs.arguments(pid), procfs.marks(pid), procfs.arguments(pid)
        if marks or before == after != [] or _has_ended(pid):
            return marks
        time.sleep(_EXEC_LOOK_S)
    return set()


def _has_ended(pid: int) -> bool:
    status = procfs.status(pid)
    return status is None or status.state == "Z"


def is_spawned(pid: int) -> bool:
    """Whether this is a worker that was started by a worker."""
    arguments = procfs.arguments(pid)
    return WORKER_MODULE in arguments and PARENT_FLAG in arguments


def _signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _was_over(status: Status) -> bool:
    """Reap what has ended by itself. A leader that left its threads running looks as if it had."""
    return status.state == "Z" and os.waitpid(status.process.pid, os.WNOHANG) != (0, 0)


def _reap(pid: int) -> bool:
    """Wait for a child that was sent SIGKILL; False when it does not end."""
    descriptor = os.pidfd_open(pid)
    try:
        ended = sigkill.ends(pid, descriptor)
        if ended:
            os.waitpid(pid, 0)
        return ended
    finally:
        os.close(descriptor)
