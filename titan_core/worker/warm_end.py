"""Whether anybody could notice that a script which has ended well is not tidied away.

To take all modules and objects apart costs a process as much as all the rest. What is worth it are finalizers,
callbacks and buffers. Where none of the objects that the script has made can have any, nor what it has imported, the
process ends by the C library's `exit`; in every doubt it goes on as ever. Runs in a job's process, see `warm_server`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import types
import weakref

_MANY_OBJECTS = 20_000
"""To look at more is no gain."""
_KEEP_FILES = ("_sqlite3", "_dbm", "_gdbm", "readline")
"""Modules of Python that write something when their objects end."""
_EXTENSIONS = os.path.dirname(str(getattr(sys.modules["_ctypes"], "__file__", "")))
_ancestors = type.__dict__["__mro__"].__get__
_attributes = type.__dict__["__dict__"].__get__
"""Of a class, whatever that says itself."""

_callback = weakref.ReferenceType.__dict__["__callback__"].__get__
_exit = ctypes.PyDLL(None).exit


def number_of_threads() -> int:
    """Of this process."""
    return os.stat("/proc/self/task").st_nlink - 2


class End:
    """What there is before the script."""

    def __init__(self) -> None:
        self._streams = (sys.stdin, sys.stdout, sys.stderr)
        self._modules = set(sys.modules)
        self._made_last: list[object] = []

    def begin(self) -> None:
        self._made_last = []  # the collector lists it, if the script does not have it list nothing (`gc.freeze`)

    def leave_if_nothing_is_left(self) -> None:
        if self._is_alone() and self._knows_all_modules() and self._no_finalizers():
            _exit(0)

    def _is_alone(self) -> bool:
        """Whether nothing is to be called or waited for."""
        return (
            number_of_threads() == 1
            and not atexit._ncallbacks()
            and (sys.stdin, sys.stdout, sys.stderr) == self._streams
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

    def _no_finalizers(self) -> bool:
        """Whether no object that the script has made, as far as the collector knows it, does anything at its end."""
        objects = gc.get_objects()
        if len(objects) > _MANY_OBJECTS or not any(thing is self._made_last for thing in objects):
            return False
        # No method of an object is called here, nor one of its class's class: they are the script's.
        kinds = {id(kind): kind for kind in map(type, objects)}
        kinds |= {
            id(kind): kind for kind in objects if issubclass(type(kind), type)
        }  # of objects that are not listed
        return not any(map(_finalizes, kinds.values())) and not any(map(_calls_back, objects))


def _finalizes(kind: type) -> bool:
    return issubclass(kind, weakref.ProxyTypes) or any("__del__" in _attributes(one) for one in _ancestors(kind))


def _calls_back(thing: object) -> bool:
    """Whether something is called when the object ends to which this is a reference. What abstract classes have
    called, a built-in function of another reference, only makes room."""
    if not issubclass(type(thing), weakref.ReferenceType):
        return False
    callback = _callback(thing)
    is_of_abstract_classes = (
        type(callback) is types.BuiltinFunctionType and type(callback.__self__) is weakref.ReferenceType
    )
    return callback is not None and not is_of_abstract_classes
