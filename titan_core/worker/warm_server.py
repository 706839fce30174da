"""The fork server: a Python that has started already, and becomes a job's whenever it is asked to.

A program of its own, `python -u warm_main.py DESCRIPTOR`, with one thread, that imports nothing but the standard
library. Each packet on its socket asks for one process; the answer is its pid, or why there is none:

    <number of words> NUL <directory> NUL <words of the command…> NUL <NAME=value…> NUL        ─▶  <int32>
    and with it the descriptors of the log and, where the slot has one, of its cgroup

The process is a child of the worker, not of the server (CLONE_PARENT), and is born into the slot's cgroup
(CLONE_INTO_CGROUP), as any other job is; /proc shows its own command and environment (PR_SET_MM_MAP). So nobody
who looks for it, waits for it or ends it needs to know how it was started. Where the kernel has one of these not,
the server ends at once, and says so.

A script is run by the very function of the interpreter that runs `python FILE`, when the frames of this module are
gone: see `_program`. What that function is not for (an archive, a script that sees a module of its own in place of
one that is imported here) is given back. The end of the socket is the server's.
"""

from __future__ import annotations

import sys

_AT_START = frozenset(sys.modules)

# What many a job imports, as far as nothing in it depends on the moment or the environment in which it is imported:
# logging notes the time and has something to do at the end, hashlib and ssl read files of settings.
import argparse  # noqa: F401
import base64  # noqa: F401
import builtins
import csv  # noqa: F401
import ctypes
import dataclasses  # noqa: F401
import datetime  # noqa: F401
import functools
import gc
import itertools
import json  # noqa: F401
import linecache
import operator
import os
import pathlib
import posix
import random  # noqa: F401
import site
import socket
import stat
import subprocess  # noqa: F401
import threading
import time
import types
from collections.abc import Callable, Iterable
from typing import NamedTuple

from titan_core.worker.warm_end import End, number_of_threads

NO_PROCESS = 0
"""The system makes none, or it is not for this server to make: start the job without it."""
RENEW = -1
"""The same; and this server is no longer what a Python that starts now is."""
MOST_BYTES = 64 * 1024
"""Of a packet."""
IMPOSSIBLE = 3
"""The exit code that says: not on this machine."""

_SYS_CLONE3 = 435
_CLONE_PARENT = 0x8000
_CLONE_CHILD_CLEARTID = 0x200000
_CLONE_CHILD_SETTID = 0x1000000
_CLONE_INTO_CGROUP = 0x200000000
_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_PR_GET_TID_ADDRESS = 40

_END_OF_ARCHIVE = 65_557
"""So many bytes before the end of a file there may be what tells that it is an archive."""
_CALLS_THAT_COUNT = 3 if sys.version_info < (3, 12) else 0
"""Of those that lead to the script, how many there are less for its recursion. Later, only its own count."""

_c = ctypes.PyDLL(None, use_errno=True)
_c.malloc.restype = _c.sbrk.restype = _c.fopen.restype = ctypes.c_void_p
_c.PySequence_List.restype = ctypes.c_void_p
_c.PySequence_List.argtypes = [ctypes.py_object] * 4  # it takes one, and the rest is what `sys.excepthook` is told


class _CloneArguments(ctypes.Structure):
    """`struct clone_args`."""

    _names = "flags pidfd child_tid parent_tid exit_signal stack stack_size tls set_tid set_tid_size cgroup"
    _fields_ = [(name, ctypes.c_uint64) for name in _names.split()]


class _MemoryMap(ctypes.Structure):
    """`struct prctl_mm_map`: what the kernel knows of where things are in memory."""

    _names = "start_code end_code start_data end_data start_brk brk start_stack arg_start arg_end env_start env_end"
    _fields_ = [
        *((name, ctypes.c_uint64) for name in (*_names.split(), "auxv")),
        ("auxv_size", ctypes.c_uint32),
        ("exe_fd", ctypes.c_uint32),
    ]


class Request(NamedTuple):
    """One process."""

    directory: bytes
    command: list[bytes]
    """`python -u FILE argument…`"""
    environment: list[bytes]
    """`NAME=value` each."""

    def packet(self) -> bytes:
        return b"\0".join([b"%d" % len(self.command), self.directory, *self.command, *self.environment, b""])

    @classmethod
    def parse(cls, packet: bytes) -> Request:
        count, directory, *words = packet.split(b"\0")[:-1]
        return cls(directory, words[: int(count)], words[int(count) :])


class Begin(BaseException):
    """Unwinds the frames of this module, in a process that has become a job's."""


class _Server:
    """Raises OSError where the kernel has not what it needs."""

    def __init__(self, descriptor: int) -> None:
        if not {"sitecustomize", "usercustomize"}.isdisjoint(sys.modules) or os.fstat(1).st_size:
            raise OSError("a Python that starts here does something of its own (sitecustomize, usercustomize, .pth)")
        self._socket = socket.socket(fileno=descriptor)
        self._thread = _thread_address()
        started_with = _environment_at_start()
        self._command = [os.fsencode(word) for word in sys.orig_argv]
        self._memory = _MemoryOfWords()  # and what is there from the start can not be read any more
        self._set_by_itself = {name: value for name, value in os.environb.items() if name not in started_with}
        self._hidden = {name.partition(".")[0] for name in sys.modules.keys() - _AT_START}
        self._packages = [place for place in (*sys.path, site.USER_SITE or "") if place.endswith("-packages")]
        self._installed = _installed(self._packages)
        self._end = End()
        sys.path.insert(0, "")

    def serve(self) -> Callable[..., object]:
        """Say that it is ready, and answer requests. Returns in a process that has become a job's: what runs it."""
        self._answer(NO_PROCESS)
        while True:
            packet, descriptors, _, _ = socket.recv_fds(self._socket, MOST_BYTES, 2)
            if not packet:
                os._exit(0)
            if number_of_threads() > 1 or _installed(self._packages) != self._installed:
                self._answer(RENEW)
            elif program := self._start(Request.parse(packet), descriptors):
                return program
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, request: Request, descriptors: list[int]) -> Callable[..., object] | None:
        """A process for it, if there is one to be had. What runs it, in the new process."""
        file = self._opened(request)
        try:
            if file:
                self._prepare(request)
                program = _program(request.command[2], file, self._end)
                if _clone(self._thread, *descriptors[1:]) == 0:
                    self._become(descriptors)
                    return program
            else:
                self._answer(NO_PROCESS)
        except OSError:
            self._answer(NO_PROCESS)
        self._tidy(file)
        return None

    def _opened(self, request: Request) -> int:
        """The script's FILE, in the job's directory; 0 = it must be run by a Python that looks at it by itself."""
        script = request.command[2]
        try:
            os.chdir(request.directory)
            beside = os.listdir(os.path.dirname(os.path.realpath(script)))
        except OSError:
            return 0
        if not self._hidden.isdisjoint(os.fsdecode(name).partition(".")[0] for name in beside):
            return 0  # it would import from there what has been imported here already
        file: int = _c.fopen(script, b"rbe") or 0
        if file and not _is_source(_c.fileno(ctypes.c_void_p(file))):
            _c.fclose(ctypes.c_void_p(file))
            return 0
        return file

    def _prepare(self, request: Request) -> None:
        """What is the next process's, and does not matter to this one. There, each page that is written is copied."""
        self._memory.show(request.command, request.environment)
        given = [entry.partition(b"=") for entry in request.environment]
        _set_environment({name: value for name, _, value in given} | self._set_by_itself)
        sys.orig_argv[:] = map(os.fsdecode, request.command)
        sys.argv[:] = sys.orig_argv[2:]
        sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))

    def _become(self, descriptors: list[int]) -> None:
        """In the new process: what can not be prepared."""
        os.setsid()
        self._answer(os.getpid())  # not before its group can be signalled
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[0], 2)
        for descriptor in (*descriptors, self._socket.detach()):
            os.close(descriptor)
        sys.modules["__main__"] = _main_module()
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        linecache.clearcache()
        self._end.begin()

    def _tidy(self, file: int) -> None:
        if file:
            _c.fclose(ctypes.c_void_p(file))
        self._memory.show(self._command, [])
        os.chdir("/")

    def _answer(self, number: int) -> None:
        self._socket.send(number.to_bytes(4, sys.byteorder, signed=True))


# ── a process ─────────────────────────────────────────────────────────────────────────────────────


def _clone(thread: int, cgroup: int | None = None) -> int:
    """As `os.fork`, but a child of this one's parent, born into that cgroup. Raises OSError."""
    arguments = _CloneArguments(_CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID, child_tid=thread)
    if cgroup is not None:
        arguments.flags |= _CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
    _c.PyOS_BeforeFork()
    pid = _c.syscall(_SYS_CLONE3, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if pid == 0:
        _c.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    _c.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error))
    return int(pid)


def _thread_address() -> int:
    """Where the C library keeps the id of this thread: in the child, the kernel puts the new one there."""
    address = ctypes.c_uint64()
    _check(_c.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address)))
    return address.value


class _MemoryOfWords:
    """What /proc shows of a process's command and environment, at a place of its own. Raises OSError."""

    def __init__(self) -> None:
        raw = pathlib.Path("/proc/self/stat").read_bytes()
        known = [0, 0, 0, *map(int, raw[raw.rindex(b")") + 4 :].split())]  # numbered as in proc(5), but from 0
        self._start: int = _c.malloc(MOST_BYTES)
        self._map = _MemoryMap(
            start_code=known[25],
            end_code=known[26],
            start_stack=known[27],
            start_data=known[44],
            end_data=known[45],
            start_brk=known[46],
            exe_fd=0xFFFFFFFF,  # as it is
        )
        self.show([os.fsencode(word) for word in sys.orig_argv], [])

    def show(self, command: list[bytes], environment: list[bytes]) -> None:
        """At most MOST_BYTES."""
        words, variables = (b"".join([word + b"\0" for word in block]) for block in (command, environment))
        ctypes.memmove(self._start, words + variables, len(words) + len(variables))
        self._map.arg_start = self._start
        self._map.arg_end = self._map.env_start = self._start + len(words)
        self._map.env_end = self._map.env_start + len(variables)
        self._map.brk = _c.sbrk(0)
        _check(_c.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(self._map), ctypes.sizeof(self._map), 0))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _installed(places: list[str]) -> list[int]:
    """When something was last installed or removed there; 0 = there is no such place."""
    return [os.stat(place).st_mtime_ns if os.path.isdir(place) else 0 for place in places]


def _environment_at_start() -> set[bytes]:
    """The names of the variables that the process was given. What else there is, the interpreter has set itself."""
    return {entry.partition(b"=")[0] for entry in pathlib.Path("/proc/self/environ").read_bytes().split(b"\0")}


def _is_source(descriptor: int) -> bool:
    """Whether a file is none of the others that Python runs: a directory, an archive."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        return False
    end = os.pread(descriptor, _END_OF_ARCHIVE, max(0, status.st_size - _END_OF_ARCHIVE))
    return b"PK\5\6" not in end


# ── what a Python that has just started is ────────────────────────────────────────────────────────


def _set_environment(variables: dict[bytes, bytes]) -> None:
    _c.clearenv()
    for name, value in variables.items():
        os.putenv(name, value)
    for known in (os.environ._data, posix.environ):  # type: ignore[attr-defined]
        known.clear()
        known.update(variables)
    time.tzset()


def _main_module() -> types.ModuleType:
    module = types.ModuleType("__main__")
    module.__dict__.update(__annotations__={}, __builtins__=builtins)
    return module


def _program(script: bytes, file: int, end: End) -> Callable[..., object]:
    """A `sys.excepthook` that runs the script: it is called when no frame is left, and is itself none.

    Below a function of ours, the script would find that in its stack. So what has to be done is a chain of calls of
    built-in functions, and the hook another one that walks along it. If an exception ends the script, the interpreter
    goes on as after one of its own, with the end of the process and its code; if not, `at_end` is next.
    """
    results = map(_c.PyRun_AnyFileExFlags, [ctypes.c_void_p(file)], [script], [1], [None])
    ends: list[Callable[[], object]] = [end.leave_if_nothing_is_left, functools.partial(_c.Py_Exit, 0)]
    at_end: Iterable[object] = map(operator.call, ends)
    steps = itertools.chain(
        itertools.starmap(setattr, [(sys, "excepthook", sys.__excepthook__)]),
        map(sys.__dict__.pop, ("last_type", "last_value", "last_traceback", "last_exc"), itertools.repeat(None)),
        itertools.starmap(_c.Py_LeaveRecursiveCall, [()] * _CALLS_THAT_COUNT),
        itertools.chain.from_iterable(map([at_end, ()].__getitem__, results)),  # 0, or -1 after an exception
    )
    return functools.partial(_c.PySequence_List, steps)


def main(descriptor: int) -> Callable[..., object]:
    """Be the fork server. Returns in a process that has become a job's: the hook that runs it. Ends the process where
    the machine can have no server."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "titan_core"]:
        del sys.modules[name]  # a job that imports Titan gets one of its own
    try:
        server = _Server(descriptor)
    except OSError as error:
        print(f"no warm start on this machine: {error}", file=sys.stderr)
        sys.exit(IMPOSSIBLE)
    gc.collect()
    gc.freeze()
    return server.serve()
