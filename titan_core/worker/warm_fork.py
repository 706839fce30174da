"""What makes a copy of this process another one's child, with words and variables of its own.

Each of these says nearly the same to the kernel each time, so it has its words for that from the beginning.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
import sys
import threading
from collections.abc import Sequence

_SYS_CLONE3 = 435
_CLONE_PARENT = 0x8000
_CLONE_CHILD_CLEARTID = 0x200000
_CLONE_CHILD_SETTID = 0x1000000
_CLONE_INTO_CGROUP = 0x200000000
_PR_SET_MM, _PR_SET_MM_MAP = 35, 14
_PR_GET_TID_ADDRESS = 40

_c = ctypes.PyDLL(None, use_errno=True)
_c.sbrk.restype = _c.PyThreadState_Get.restype = ctypes.c_void_p
_WORDS_OF_A_STATE = 32
"""So many of a `PyThreadState` are looked at; it has more."""


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


_PLACES = struct.Struct("6Q")
_PLACES_BEGIN: int = _MemoryMap.brk.offset
"""Of a `_MemoryMap`, from here on: what is not the same each time; and, between that, `start_stack`."""


class Fork:
    """Makes a copy of this process that is a child of its parent; this must be the only thread. Raises OSError.

    The interpreter is not told: where no other thread could have held a lock, or is missing now, all is in the copy
    as it should be, but for the thread's number. What modules want to have done after each fork is not done.
    """

    def __init__(self) -> None:
        thread = ctypes.c_uint64()  # where the C library keeps this one's number, and the kernel puts the new one's
        _check(_c.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(thread)))
        self._flags = _CLONE_PARENT | _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
        self._arguments = _CloneArguments(flags=self._flags, child_tid=thread.value)
        self._cgroup: Sequence[int] = ()
        place, size = ctypes.byref(self._arguments), ctypes.sizeof(self._arguments)
        self._call = functools.partial(_c.syscall, _SYS_CLONE3, place, size)

    def __call__(self, cgroup: Sequence[int]) -> int:
        """The pid; 0 in the new process. `cgroup`: the descriptor of that in which it is born, or nothing."""
        if cgroup != self._cgroup:  # as a rule it is the same number
            self._cgroup = cgroup
            self._arguments.flags = self._flags | (_CLONE_INTO_CGROUP if cgroup else 0)
            self._arguments.cgroup = cgroup[0] if cgroup else 0
        pid: int = self._call()
        if pid < 0:
            _check(pid)
        return pid


class Words:
    """Which words and variables /proc shows as those of the process. Raises OSError."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            raw = file.read()
        # Numbered as in proc(5), but from 0.
        known = [0, 0, 0, *map(int, raw[raw.rindex(b")") + 4 :].split())]
        self._map = _MemoryMap(
            start_code=known[25],
            end_code=known[26],
            start_data=known[44],
            end_data=known[45],
            start_brk=known[46],
            exe_fd=0xFFFFFFFF,  # as it is
        )
        self._stack, self._put = known[27], _PLACES.pack_into
        place, size = ctypes.byref(self._map), ctypes.sizeof(self._map)
        self._set = functools.partial(_c.prctl, _PR_SET_MM, _PR_SET_MM_MAP, place, size, 0)
        self._end_of_heap = _c.sbrk
        own = b"".join([os.fsencode(word) + b"\0" for word in sys.orig_argv])
        self._own = ctypes.create_string_buffer(own)
        begin = ctypes.addressof(self._own)
        self.own = (begin, begin + len(own), begin + len(own))
        """Those that this process was started with, to `show`."""
        self.show(*self.own)

    def show(self, words: int, variables: int, end: int) -> None:
        """The words and, directly behind them, the variables: addresses."""
        self._put(self._map, _PLACES_BEGIN, self._end_of_heap(0), self._stack, words, variables, variables, end)
        _check(self._set())


def thread_number() -> ctypes.c_ulong:
    """Where the interpreter keeps, for debuggers, the number that this thread has for the kernel."""
    state = (ctypes.c_ulong * _WORDS_OF_A_STATE).from_address(_c.PyThreadState_Get())
    numbers = [threading.get_ident(), threading.get_native_id()]  # they are side by side
    for place in range(_WORDS_OF_A_STATE - 1):
        if state[place : place + 2] == numbers:
            return ctypes.c_ulong.from_buffer(state, (place + 1) * ctypes.sizeof(ctypes.c_ulong))
    return ctypes.c_ulong()


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
