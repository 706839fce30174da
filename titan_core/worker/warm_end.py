"""Whether anybody could notice that a script which has ended well is not tidied away.

To take all modules and objects apart costs a process as much as all the rest. What is worth it are finalizers,
callbacks and buffers. Where none of the objects that the script has made can have any, nor what it has imported, the
process ends at once; in every doubt it goes on as ever. Runs in a job's process, see `warm_server`.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import functools
import gc
import itertools
import operator
import os
import sys
import types
import weakref
from builtins import (  # noqa: UP029  # a script may replace them
    all,
    any,
    bool,
    filter,
    getattr,
    id,
    issubclass,
    len,
    map,
    next,
    reversed,
    type,
)
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from io import BufferedRandom, BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from types import ModuleType

_MANY_OBJECTS = 20_000
"""To look at more is no gain."""
_KEEP_FILES = ("_sqlite3", "_dbm", "_gdbm", "readline")
"""Modules of Python that write something when their objects end."""
_EXTENSIONS = os.path.dirname(str(getattr(sys.modules["_ctypes"], "__file__", "")))
_PLAIN = frozenset(
    map(
        id,
        (
            *(dict, list, set, tuple, type(iter([])), SourceFileLoader),
            *(types.CellType, types.FunctionType, types.MethodType, ModuleType),
        ),
    )
)
"""The types of what the collector lists of most scripts. None of them does anything at its end."""
_FILES = frozenset(map(id, (TextIOWrapper, BufferedReader, BufferedWriter, BufferedRandom, FileIO)))
"""The types of files."""
_NOTHING: dict[str, ModuleType] = {}
_ancestors = type.__dict__["__mro__"].__get__
_attributes = type.__dict__["__dict__"].__get__
"""Of a class, whatever that says itself."""

_closed = FileIO.__dict__["closed"].__get__
_callback = weakref.ReferenceType.__dict__["__callback__"].__get__
_c = ctypes.PyDLL(None)


class End:
    """What there is before the script."""

    def __init__(self) -> None:
        self._stdin, self._stdout, self._stderr = sys.stdin, sys.stdout, sys.stderr
        self._modules = sys.modules
        self._count = len(sys.modules)
        self._last = next(reversed(sys.modules))
        self._threading_ends: list[object] = sys.modules["threading"]._threading_atexits
        self._has_guests = "LD_PRELOAD" in os.environ
        self._flush, self._exit, self._leave = _c.fflush, _c.exit, _c._exit
        self._made_last: list[object] = []

    def begin(self) -> None:
        self._made_last = []  # the collector lists it, if the script does not have it list nothing (`gc.freeze`)

    def leave(self) -> None:
        """Ends the process at once, or returns."""
        try:
            way = self.way()
        except BaseException:  # of a signal's handler; for the script it is too late
            return
        if way is not None:
            self._flush(None)  # what the C library has, for whomever
            way(0)

    def way(self) -> Callable[[int], object] | None:
        """What ends the process; None: not before everything has been tidied away."""
        imported = self._imported()
        if len(self._modules) - len(imported) != self._count or not all(map(_is_known, imported.items())):
            return None
        if not self._is_alone():
            return None
        objects = gc.get_objects()
        if len(objects) > _MANY_OBJECTS or id(self._made_last) not in map(id, objects):
            return None
        are_plain = _PLAIN.issuperset(map(id, map(type, objects)))
        if not are_plain and _do_something_at_their_end(objects):
            return None
        # Libraries have something to do at the end, at most, that were there before, or came with what is not plain.
        uses_libraries = self._has_guests or not are_plain or any(map(_file_of_extension, imported.values()))
        return self._exit if uses_libraries else self._leave

    def _imported(self) -> dict[str, ModuleType]:
        """The modules that are there since the script has begun."""
        modules = self._modules
        if len(modules) == self._count and next(reversed(modules)) is self._last:
            return _NOTHING
        is_new = functools.partial(operator.is_not, self._last)
        return {name: modules[name] for name in itertools.takewhile(is_new, reversed(modules))}

    def _is_alone(self) -> bool:
        """Whether nothing is to be called or waited for."""
        return (
            not _thread._count()
            and not (atexit._ncallbacks() or self._threading_ends)
            and (sys.stdin is self._stdin and sys.stdout is self._stdout and sys.stderr is self._stderr)
            and not (gc.callbacks or gc.garbage or gc.get_debug() or sys.gettrace() or sys.getprofile())
        )


def _is_known(entry: tuple[str, ModuleType]) -> bool:
    """Whether a module is written in Python, or is part of it and keeps no files."""
    name, module = entry
    if type(module) is not ModuleType or name in _KEEP_FILES:
        return False
    file = _file_of_extension(module)
    return not file or os.path.dirname(file) == _EXTENSIONS


def _file_of_extension(module: ModuleType) -> str:
    """Empty: it is none."""
    file = module.__dict__.get("__file__")
    return file if type(file) is str and file.endswith(".so") else ""


def _do_something_at_their_end(objects: list[object]) -> bool:
    # No method of an object is called here, nor one of its class's class: they are the script's.
    kinds = {id(kind): kind for kind in map(type, objects)}
    classes = (thing for thing in objects if issubclass(type(thing), type))  # some objects are not listed
    kinds |= {id(kind): kind for kind in classes}  # type: ignore[misc]
    others = [kind for number, kind in kinds.items() if number not in _FILES]
    if any(map(_finalizes, others)) or any(map(_calls_back, objects)):
        return True
    return not all(map(_is_closed, filter(_is_file, objects)))


def _is_file(thing: object) -> bool:
    return id(type(thing)) in _FILES


def _is_closed(file: object) -> bool:
    """Whether a file does nothing at its end: it is closed, and nothing of the script's is in it."""
    while type(file) is not FileIO:
        if not _is_file(file):
            return False
        file = getattr(file, "buffer" if type(file) is TextIOWrapper else "raw")
    return bool(_closed(file))


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
