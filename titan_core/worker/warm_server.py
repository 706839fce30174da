"""The fork server: a Python that has started already, and becomes a job's whenever it is asked to.

A program of its own, `python -u warm_main.py DESCRIPTOR`, with one thread, that imports nothing but the standard
library. Each packet on its socket asks for one process, see `warm_wire`.

The process is a child of the worker, not of the server (CLONE_PARENT), and is born into the slot's cgroup
(CLONE_INTO_CGROUP), as any other job is; /proc shows its own command and environment (PR_SET_MM_MAP). So nobody
who looks for it, waits for it or ends it needs to know how it was started. Where the kernel has one of these not,
the server ends at once, and says so.

A script is run by the very function of the interpreter that runs `python FILE`, when the frames of this module are
gone: see `_hook`. What that function is not for, the worker does not ask for. The end of the socket is the
server's.

What a process costs is the pages of memory that are written, here and in the process, as long as both have them:
each is copied. To use an object is to write: its references are counted in it. So what can be made, or looked up,
once is so before the first one, what the worker can find out is its part, and what nobody would miss is neither
called nor tidied away.
"""

from __future__ import annotations

import _socket
import builtins
import contextlib
import ctypes
import functools
import gc
import itertools
import json
import marshal
import operator
import os
import site
import socket
import struct
import sys
import time
import types
from collections.abc import Callable, Iterable
from os import chdir, close, dup2, getpid, setsid, write

from titan_core.worker.warm_end import End
from titan_core.worker.warm_fork import Fork, Words, thread_number
from titan_core.worker.warm_wire import HEAD, IMPOSSIBLE, NO_PROCESS, ROOM_BYTES

_MOST_DESCRIPTORS = 3
_ROOM_FOR_DESCRIPTORS = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
_CLOSE_ON_EXEC = int(socket.MSG_CMSG_CLOEXEC)
_CALLS_UNTIL_IT_IS_FAST = 20
"""The interpreter writes into a function, as it is called, how that can be done faster; and then no more."""
_CALLS_THAT_COUNT = 3 if sys.version_info < (3, 12) else 0
"""Of those that lead to the script, how many there are less for its recursion. Later, only its own count."""

_HABITS = """
import json, os, sys
from pathlib import Path
text = json.dumps({"args": sys.argv, "path": os.environ.get("PATH")})
json.loads(text)
Path(os.devnull).write_text(text, "utf-8")
with open(os.devnull, "w", encoding="utf-8") as file:
    print(f"{file.name}", file=file)
"""
"""What many a script does."""

_number = struct.Struct("i").pack
_numbers = {count * 4: struct.Struct(f"{count}i").unpack for count in (2, _MOST_DESCRIPTORS)}
"""What makes descriptors of so many bytes."""
_detach = _socket.socket.detach
"""All that `socket.socket.detach` needs; that is written in Python."""
_c = ctypes.PyDLL(None)
_c.fdopen.restype = _c.PySequence_List.restype = ctypes.c_void_p
_c.PyRun_AnyFileExFlags.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
_c.PySequence_List.argtypes = [ctypes.py_object] * 4  # it takes one, and the rest is what `sys.excepthook` is told
_kept: list[_Server] = []
"""What would be tidied away in each process, as no frame is left that has it."""


class _Server:
    """Raises OSError where the kernel has not what it needs."""

    def __init__(self, descriptor: int) -> None:
        if not {"sitecustomize", "usercustomize"}.isdisjoint(sys.modules) or os.fstat(1).st_size:
            raise OSError("a Python that starts here does something of its own (sitecustomize, usercustomize, .pth)")
        self._descriptor = descriptor
        self._socket = socket.socket(fileno=descriptor)
        packet = ctypes.create_string_buffer(ROOM_BYTES)
        self._address = ctypes.addressof(packet)
        self._packet = memoryview(packet).cast("B")
        self._packets = [self._packet]
        self._own_variables = _own_variables()
        self._words = Words()  # and what /proc shows of the start is gone
        self._environ = ctypes.c_void_p.in_dll(_c, "environ")
        self._environment = os.environ._data  # type: ignore[attr-defined]
        self._zone = self._environment.get(b"TZ")
        self._fork = Fork()
        self._reseed = functools.partial(sys.modules["_random"].Random.seed, sys.modules["random"]._inst)
        self._thread = [sys.modules["threading"].main_thread()]
        self._number = thread_number()
        self._script, self._name = [0], [b""]
        """Descriptor of the next process's script, and what it is called."""
        self._end = End()
        self._main = sys.modules["__main__"]  # to which the interpreter comes back
        sys.path.insert(0, "")
        _kept.append(self)

    def hook(self) -> Callable[..., object]:
        """A `sys.excepthook`, for when no frame is left: it serves, and is there for as long as the process is."""
        return _hook(self._serve, self._script, self._name, self._end)

    def readiness(self, at_start: frozenset[str]) -> bytes:
        """What a worker has to know; `at_start`: the names of the modules that each Python has."""
        modules = sorted({name.partition(".")[0] for name in sys.modules.keys() - at_start})
        own = site.USER_SITE if site.ENABLE_USER_SITE else None
        places = [place for place in (*sys.path, own or "") if place.endswith("-packages")]
        facts = {
            "modules": modules,
            "packages": {place: os.stat(place).st_mtime_ns if os.path.isdir(place) else 0 for place in places},
            "address": self._address,
            "variables": self._own_variables,
        }
        return json.dumps(facts).encode()

    def say(self, word: bytes) -> None:
        write(self._descriptor, word)

    def _serve(self) -> None:
        """Answer requests. Returns in a process that has become a job's."""
        gc.collect()
        gc.freeze()
        # From here on, what there is will be tidied away with the rest of a script.
        sys.modules["__main__"] = _main_module()
        self._end.begin()
        for _ in range(_CALLS_UNTIL_IT_IS_FAST):
            self._rehearse()
        lead, answers = setsid, self._socket  # what is behind the loop no call has made fast: it is to be little
        while True:
            size, extra, _, _ = self._socket.recvmsg_into(self._packets, _ROOM_FOR_DESCRIPTORS, _CLOSE_ON_EXEC)
            if not size:
                os._exit(0)
            descriptors = _numbers[len(extra[0][2])](extra[0][2])
            try:
                self._prepare(size, descriptors[1])
                if self._fork(descriptors[2:]) == 0:
                    break
            except (OSError, ValueError):
                self.say(_number(NO_PROCESS))
            self._tidy(descriptors)
        self._begin(lead, answers, descriptors)

    def _begin(self, lead: Callable[[], object], answers: socket.socket, descriptors: tuple[int, ...]) -> None:
        """The first steps of a new process. `lead` makes it the leader of a session; `answers` is the server's, for
        the pid; `descriptors`: of the log, of the script, which is left open, and others that nobody needs."""
        lead()
        pid, descriptor = getpid(), _detach(answers)
        write(descriptor, _number(pid))  # not before its group can be signalled
        close(descriptor)
        log = descriptors[0]
        dup2(log, 1)
        dup2(log, 2)
        close(log)
        for descriptor in descriptors[2:]:
            close(descriptor)
        self._number.value = pid
        self._thread.pop()._native_id = pid  # and it is not kept
        self._reseed()

    def _rehearse(self) -> None:
        """What each process does, and many a script, so that they find looked up what there is to be looked up."""
        with contextlib.suppress(PermissionError):
            setsid()
        nobody, answers = socket.socketpair()
        thread = self._thread[0]
        self._begin(getpid, answers, (os.dup(1), -1, nobody.detach()))
        self._thread.append(thread)
        os.uname()  # makes words of bytes, as the interpreter does with the name of the script
        exec(compile(_HABITS, "", "exec"), {})
        self._end.way()

    def _prepare(self, size: int, script: int) -> None:
        """What is the next process's, and does not matter to this one. Raises OSError, ValueError."""
        self._environ.value, words, variables, end, facts = HEAD.unpack_from(self._packet)
        directory, imports, name, orig_argv, argv, environment = marshal.loads(self._packet[facts:size])
        chdir(directory)
        self._words.show(words, variables, end)
        self._script[0], self._name[0] = script, name
        sys.orig_argv[:] = orig_argv
        sys.argv[:] = argv
        sys.path[0] = imports
        self._environment.clear()
        self._environment.update(environment)
        zone = environment.get(b"TZ")
        if zone != self._zone:
            self._zone = zone
            time.tzset()

    def _tidy(self, descriptors: Iterable[int]) -> None:
        self._words.show(*self._words.own)
        chdir("/")
        for descriptor in descriptors:
            close(descriptor)


# ── what a Python that has just started is ────────────────────────────────────────────────────────


def _main_module() -> types.ModuleType:
    module = types.ModuleType("__main__")
    module.__dict__.update(__annotations__={}, __builtins__=builtins)
    return module


def _hook(serve: Callable[[], None], scripts: list[int], names: list[bytes], end: End) -> Callable[..., object]:
    """What serves, and then runs the script, and is itself no frame.

    Below a function of ours, the script would find that in its stack. So what has to be done is a chain of calls of
    built-in functions, and the hook another one that walks along it. If an exception ends the script, the interpreter
    goes on as after one of its own, with the end of the process and its code; if not, `at_end` is next.
    """
    results = map(_c.PyRun_AnyFileExFlags, map(_c.fdopen, scripts, [b"rb"]), names, [1], [None])
    at_end = map(operator.call, itertools.chain.from_iterable(map(operator.call, [end.leave])))
    steps = itertools.chain(
        itertools.starmap(setattr, [(sys, "excepthook", sys.__excepthook__)]),
        map(sys.__dict__.pop, ("last_type", "last_value", "last_traceback", "last_exc"), itertools.repeat(None)),
        itertools.starmap(serve, [()]),
        itertools.starmap(_c.Py_LeaveRecursiveCall, [()] * _CALLS_THAT_COUNT),
        itertools.chain.from_iterable(map([at_end, ()].__getitem__, results)),  # 0, or -1 after an exception
    )
    return functools.partial(_c.PySequence_List, steps)


def _own_variables() -> list[str]:
    """What the interpreter has set itself, as it was started. Raises OSError where it has changed what was given."""
    with open("/proc/self/environ", "rb") as file:
        given = dict(os.fsdecode(entry).partition("=")[::2] for entry in file.read().split(b"\0"))
    for name in given.keys() & os.environ.keys():
        if given[name] != os.environ[name]:
            raise OSError(f"a Python that starts here changes {name}={given[name]}")
    return [f"{name}={value}" for name, value in os.environ.items() if name not in given]


def main(descriptor: int, at_start: frozenset[str]) -> Callable[..., object]:
    """The hook that is the fork server. `at_start`: the names of the modules that each Python has. Ends the process
    where the machine can have no server."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "titan_core"]:
        del sys.modules[name]  # a job that imports Titan gets one of its own
    try:
        server = _Server(descriptor)
    except OSError as error:
        print(f"no warm start on this machine: {error}", file=sys.stderr)
        sys.exit(IMPOSSIBLE)
    server.say(server.readiness(at_start))
    return server.hook()
