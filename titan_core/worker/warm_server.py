"""The fork server: a Python that has started already, and becomes a job's whenever it is asked to.

A program of its own, `python -u warm_server.py DESCRIPTOR`, with one thread, that imports nothing but the standard
library. Each packet on its socket asks for one process; the answer is its pid, or why there is none:

    <number of words> NUL <directory> NUL <words of the command…> NUL <NAME=value…> NUL        ─▶  <int32>
    and with it the descriptors of the log and, where the slot has one, of its cgroup

The process is a child of the worker, not of the server (CLONE_PARENT), and is born into the slot's cgroup
(CLONE_INTO_CGROUP), as any other job is; /proc shows its own command and environment (PR_SET_MM_MAP). So nobody
who looks for it, waits for it or ends it needs to know how it was started. Where the kernel has one of these not,
the server ends at once, and says so.

A script is run by the very function of the interpreter that runs `python FILE`, when the frames of this module are
gone: see `_program`. What that function is not for (an archive, a script that sees a module of its own in place of
one that is imported here) is executed by a new Python in the same process. The end of the socket is the server's.
"""

from __future__ import annotations

import sys

_AT_START = frozenset(sys.modules)
if __name__ == "__main__":
    del sys.path[0]  # the directory of this file: nothing is imported from there

# What many a job imports, as far as nothing in it depends on the moment or the environment in which it is imported:
# logging notes the time and has something to do at the end, hashlib and ssl read files of settings.
import argparse  # noqa: F401
import atexit
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
import signal
import site
import socket
import subprocess  # noqa: F401
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

NO_PROCESS = 0
"""The system makes none, or not there: start the job without this server."""
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

_MANY_OBJECTS = 20_000
_KEEP_FILES = ("_sqlite3", "_dbm", "_gdbm", "readline")
_EXTENSIONS = os.path.dirname(str(getattr(sys.modules["_ctypes"], "__file__", "")))
_ancestors = type.__dict__["__mro__"].__get__
_attributes = type.__dict__["__dict__"].__get__
"""Of a class, whatever that says itself."""

_c = ctypes.PyDLL(None, use_errno=True)
_c.malloc.restype = _c.sbrk.restype = _c.fopen.restype = ctypes.c_void_p
_c.PyImport_GetImporter.restype = ctypes.py_object
_c.PySequence_List.restype = ctypes.c_void_p


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


class _Begin(BaseException):
    """Unwinds the frames of this module, in a process that has become a job's."""


class _Server:
    """Raises OSError where the kernel has not what it needs."""

    def __init__(self, descriptor: int) -> None:
        if _customized() or os.fstat(1).st_size:
            raise OSError("a Python that starts here does something of its own (sitecustomize, usercustomize, .pth)")
        self._socket = socket.socket(fileno=descriptor)
        self._thread = _thread_address()
        self._memory = _memory_map()
        _show(self._memory, [os.fsencode(word) for word in sys.orig_argv], [])
        self._set_by_itself = {name: value for name, value in os.environb.items() if name not in posix.environ}
        self._hidden = {name.partition(".")[0] for name in sys.modules.keys() - _AT_START}
        self._installed = _installed()

    def serve(self) -> Request:
        """Say that it is ready, and answer requests; returns in a process that has become a job's: what to run."""
        self._answer(NO_PROCESS)
        while True:
            packet, descriptors, _, _ = socket.recv_fds(self._socket, MOST_BYTES, 2)
            if not packet:
                os._exit(0)
            request = Request.parse(packet)
            if self._fork(request, *descriptors[1:]):
                self._become(request, descriptors)
                return request
            for descriptor in descriptors:
                os.close(descriptor)

    def _fork(self, request: Request, cgroup: int | None = None) -> bool:
        """True in the new process, which gives the answer; where there is none, it is given here."""
        if _threads() > 1 or _installed() != self._installed:
            self._answer(RENEW)
            return False
        try:
            os.chdir(request.directory)
            if _clone(self._thread, cgroup) == 0:
                return True
        except OSError:
            self._answer(NO_PROCESS)
        os.chdir("/")
        return False

    def _answer(self, number: int) -> None:
        self._socket.send(number.to_bytes(4, sys.byteorder, signed=True))

    def _become(self, request: Request, descriptors: list[int]) -> None:
        """What is the process's own, as if it had been executed."""
        os.setsid()
        _show(self._memory, request.command, request.environment)
        self._answer(os.getpid())  # not before its group can be signalled, and it can be told by its environment
        os.dup2(descriptors[0], 1)
        os.dup2(descriptors[0], 2)
        for descriptor in (*descriptors, self._socket.detach()):
            os.close(descriptor)
        _set_environment(request.environment, self._set_by_itself)
        script = request.command[2]
        directory = os.path.dirname(os.path.realpath(script))
        if _c.PyImport_GetImporter(ctypes.py_object(os.fsdecode(script))) is not None or self._sees_own(directory):
            _execute(request)
        sys.path.insert(0, os.fsdecode(directory))
        sys.orig_argv[:] = map(os.fsdecode, request.command)
        sys.argv[:] = sys.orig_argv[2:]
        sys.modules["__main__"] = _main_module()
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        linecache.clearcache()

    def _sees_own(self, directory: bytes) -> bool:
        """Whether a script there would import something else where a module has been imported here already."""
        return any(os.fsdecode(name).partition(".")[0] in self._hidden for name in os.listdir(directory))


# ── a process ─────────────────────────────────────────────────────────────────────────────────────


def _clone(thread: int, cgroup: int | None) -> int:
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


def _memory_map() -> _MemoryMap:
    raw = pathlib.Path("/proc/self/stat").read_bytes()
    known = [0, 0, 0, *map(int, raw[raw.rindex(b")") + 4 :].split())]  # numbered as in proc(5), from 1
    return _MemoryMap(
        start_code=known[25],
        end_code=known[26],
        start_stack=known[27],
        start_data=known[44],
        end_data=known[45],
        start_brk=known[46],
        exe_fd=0xFFFFFFFF,  # as it is
    )


def _show(memory: _MemoryMap, command: list[bytes], environment: list[bytes]) -> None:
    """Have /proc show this command and environment. They stay in memory to the end. Raises OSError."""
    words, variables = (b"".join(word + b"\0" for word in block) for block in (command, environment))
    start = _c.malloc(len(words) + len(variables))
    ctypes.memmove(start, words + variables, len(words) + len(variables))
    memory.arg_start, memory.arg_end = start, start + len(words)
    memory.env_start, memory.env_end = memory.arg_end, memory.arg_end + len(variables)
    memory.brk = _c.sbrk(0)
    _check(_c.prctl(_PR_SET_MM, _PR_SET_MM_MAP, ctypes.byref(memory), ctypes.sizeof(memory), 0))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _customized() -> bool:
    return not {"sitecustomize", "usercustomize"}.isdisjoint(sys.modules)


def _threads() -> int:
    return os.stat("/proc/self/task").st_nlink - 2


def _installed() -> list[int]:
    """When something was last installed or removed where Python looks for that as it starts; 0 = no such place."""
    places = [place for place in (*sys.path, site.USER_SITE or "") if place.endswith("-packages")]
    return [os.stat(place).st_mtime_ns if os.path.isdir(place) else 0 for place in places]


def _execute(request: Request) -> NoReturn:
    """Start from the beginning, with a new Python in this process."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which this one ignores
        signal.signal(number, signal.SIG_DFL)
    os.execve(request.command[0], request.command, dict(entry.split(b"=", 1) for entry in request.environment))


# ── what a Python that has just started is ────────────────────────────────────────────────────────


def _set_environment(entries: list[bytes], set_by_itself: dict[bytes, bytes]) -> None:
    variables = set_by_itself | dict(entry.split(b"=", 1) for entry in entries)
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


def _program(request: Request) -> Callable[..., object]:
    """A `sys.excepthook` that runs the script: it is called when no frame is left, and is itself none.

    Below a function of ours, the script would find that in its stack. So what has to be done is a chain of calls of
    built-in functions, and the hook another one that walks along it. If an exception ends the script, the interpreter
    goes on as after one of its own, with the end of the process and its code; if not, `at_end` is next.
    """
    script = request.command[2]
    file = _c.fopen(script, b"rbe")
    if file is None:
        _execute(request)
    results = map(_c.PyRun_AnyFileExFlags, [ctypes.c_void_p(file)], [script], [1], [None])
    ends: list[Callable[[], object]] = [_End().leave_if_nothing_is_left, functools.partial(_c.Py_Exit, 0)]
    at_end: Iterable[object] = map(operator.call, ends)
    steps = itertools.chain(
        itertools.starmap(setattr, [(sys, "excepthook", sys.__excepthook__)]),
        map(sys.__dict__.pop, ("last_type", "last_value", "last_traceback", "last_exc"), itertools.repeat(None)),
        itertools.starmap(_c.Py_LeaveRecursiveCall, [()] * 3),  # for the three calls that lead to the script
        itertools.chain.from_iterable(map([at_end, ()].__getitem__, results)),  # 0, or -1 after an exception
    )
    _c.PySequence_List.argtypes = [ctypes.py_object] * 4  # it takes one, and the rest is what a hook is told
    return functools.partial(_c.PySequence_List, steps)


class _End:
    """What is there before the script, to see after it whether anybody could notice that it is not tidied away.

    To take all modules and objects apart costs as much as all the rest. What is worth it are finalizers, callbacks
    and buffers; none of the objects made by the script may have any, nor have anything to do with who might.
    """

    def __init__(self) -> None:
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._modules = set(sys.modules)
        self._frozen = gc.get_freeze_count()

    def leave_if_nothing_is_left(self) -> None:
        if self._is_alone() and self._knows_all_modules() and _no_finalizers():
            _c.exit(0)

    def _is_alone(self) -> bool:
        """Whether nothing is to be called or waited for."""
        return (
            _threads() == 1
            and not atexit._ncallbacks()
            and (sys.stdin, sys.stdout, sys.stderr) == self._streams
            and gc.get_freeze_count() <= self._frozen  # what the script freezes is not listed
            and not (gc.callbacks or gc.garbage or gc.get_debug() or sys.gettrace() or sys.getprofile())
        )

    def _knows_all_modules(self) -> bool:
        """Whether all that were imported are written in Python, or are part of it, and keep no files of their own."""
        for name in sys.modules.keys() - self._modules:
            module = sys.modules[name]
            if type(module) is not types.ModuleType:
                return False
            file = str(module.__dict__.get("__file__"))
            if name in _KEEP_FILES or (file.endswith(".so") and os.path.dirname(file) != _EXTENSIONS):
                return False
        return True


def _no_finalizers() -> bool:
    """Whether no object that the script has made, as far as the collector knows it, does anything when it ends."""
    objects = gc.get_objects()
    if len(objects) > _MANY_OBJECTS:
        return False
    kinds = {type(thing) for thing in objects}
    if any("__del__" in _attributes(kind) for kind in set(itertools.chain.from_iterable(map(_ancestors, kinds)))):
        return False
    return not any(
        isinstance(thing, weakref.ReferenceType)
        and isinstance(thing.__callback__, types.FunctionType | types.MethodType)
        for thing in objects
    )


if __name__ == "__main__":
    try:
        _server = _Server(int(sys.argv[1]))
    except OSError as _error:
        print(f"no warm start on this machine: {_error}", file=sys.stderr)
        sys.exit(IMPOSSIBLE)
    gc.collect()
    gc.freeze()
    sys.excepthook = _program(_server.serve())
    raise _Begin
