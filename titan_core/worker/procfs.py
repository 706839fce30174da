"""What /proc says of processes. A process is known by its pid *and* its start time: pids are reused.

Every function takes the process's disappearance as an answer (None, or nothing in the list), never as
an error. Callable from any thread; nothing is kept.
"""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path
from typing import NamedTuple

TOKEN_VARIABLE = "TITAN_ATTEMPT_TOKEN"
CHECK_VARIABLE = "_TITAN_CHECK"
"""What the command of a health check has besides: its own mark, in hex. It is for nobody but the worker."""
_PIECE_BYTES = 65536
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TOKEN = re.compile(rb"(?:^|\0)" + TOKEN_VARIABLE.encode() + rb"=([0-9a-f]+)(?:\0|$)")
_MARK = re.compile(rb"(?:^|\0)(?:%s|%s)=([0-9a-f]+)(?=\0|$)" % (TOKEN_VARIABLE.encode(), CHECK_VARIABLE.encode()))
_SHARE = re.compile(rb"^Pss:\s*(\d+) kB$", re.MULTILINE)
_CGROUP = re.compile(rb"^0::(.*)$", re.MULTILINE)
_THREAD_GROUP = re.compile(rb"^Tgid:\s*(\d+)$", re.MULTILINE)


class Process(NamedTuple):
    pid: int
    start_ticks: int
    """Clock ticks between the machine's start and the process's."""


def boot_ticks() -> int:
    """The time since the machine's start, in the unit of `start_ticks`."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_S)


class Status(NamedTuple):
    process: Process
    state: str
    """`Z` = ended, but not reaped."""
    group: int
    session: int


def status(pid: int) -> Status | None:
    fields = _fields(pid)
    if not fields:
        return None
    return Status(Process(pid, int(fields[19])), fields[0].decode(), int(fields[2]), int(fields[3]))


class Usage(NamedTuple):
    cpu_s: float
    """Of a processor, since the process began; with what those children took that have ended."""
    memory: int
    """Bytes that are resident."""


def usage(pid: int) -> Usage | None:
    fields = _fields(pid)
    if not fields:
        return None
    return Usage(sum(map(int, fields[11:15])) / _TICKS_PER_S, int(fields[21]) * _PAGE_BYTES)


def share(pid: int) -> int:
    """Bytes that are resident, a part of those that others have as well; all of them where that is not told."""
    if found := _SHARE.search(_read(f"/proc/{pid}/smaps_rollup")):
        return int(found[1]) * 1024
    known = usage(pid)
    return known.memory if known is not None else 0


def arguments(pid: int) -> list[str]:
    """What the process was called with, the program first; empty when it has ended."""
    return [os.fsdecode(argument) for argument in _read(f"/proc/{pid}/cmdline").split(b"\0")[:-1]]


def is_alive(process: Process) -> bool:
    """Whether this very process, not another with its pid, is there and has not ended."""
    found = status(process.pid)
    return found is not None and found.process == process and found.state != "Z"


def attempt_token(pid: int) -> str:
    """The token in hex of the attempt that started the process; empty when it has none, or hides it."""
    found = _TOKEN.search(_read(f"/proc/{pid}/environ"))
    return found[1].decode() if found else ""


def marks(pid: int) -> set[str]:
    """The token of the attempt that started the process, and the mark of the health check if one of its did."""
    return {mark.decode() for mark in _MARK.findall(_read(f"/proc/{pid}/environ"))}


def cgroup(pid: int) -> str:
    """The cgroup (v2) in which the process is or was, from the root that this process sees; empty when unknown."""
    found = _CGROUP.search(_read(f"/proc/{pid}/cgroup"))
    return os.fsdecode(found[1]).removesuffix(" (deleted)") if found else ""


def thread_group(thread: int) -> int:
    """The process that a thread is of; 0 = it has ended."""
    found = _THREAD_GROUP.search(_read(f"/proc/{thread}/status"))
    return int(found[1]) if found else 0


class Orphans:
    """Processes whose parent ended and that were handed to this process, a child subreaper.

    The kernel hands them to the main thread, while a child belongs to the thread that started it:
    what the main thread starts itself is listed as well. Raises OSError where /proc does not list children.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        self._file = os.open(f"/proc/{pid}/task/{pid}/children", os.O_RDONLY | os.O_CLOEXEC)

    def pids(self) -> list[int]:
        """The orphans of this moment. It is asked after every job, and then is a single system call as a rule."""
        listed = b""
        while piece := os.pread(self._file, _PIECE_BYTES, len(listed)):
            listed += piece
        return [int(child) for child in listed.split()]

    def close(self) -> None:
        os.close(self._file)


def ends_within(pidfd: int, timeout_s: float | None) -> bool:
    """Wait for the end of a process; False when it takes longer. None: as long as it takes."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(None if timeout_s is None else timeout_s * 1000))


def children(pid: int) -> list[int]:
    """The children of all threads of a process."""
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(f"{thread}/children").split()]


def children_of_thread(thread: int) -> list[int]:
    """The children of one of this process's threads."""
    return [int(child) for child in _read(f"/proc/self/task/{thread}/children").split()]


def descendants(pid: int) -> set[Process]:
    """The children of a process, their children, and so on, as they are now."""
    found: set[Process] = set()
    pending = children(pid)
    while pending:
        known = status(pending.pop())
        if known is not None and known.process not in found:
            found.add(known.process)
            pending.extend(children(known.process.pid))
    return found


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _fields(pid: int) -> list[bytes]:
    """Of its `stat`, from the state on; empty when it is not there."""
    raw = _read(f"/proc/{pid}/stat")
    return raw[raw.rindex(b")") + 2 :].split() if raw else []  # what precedes is a name, with any characters in it


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        pieces = []
        while piece := os.read(descriptor, _PIECE_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:  # the process ended between the two
        return b""
    finally:
        os.close(descriptor)
