"""Whether anybody could notice that a script which has ended well is not tidied away.

To take all modules and objects apart costs a process as much as all the rest. What is worth it are finalizers,
callbacks and buffers. Where none of the objects that the script has made can have any, nor what it has imported, the
process ends at once; in every doubt it goes on as ever. Runs in a job's process, see `warm_server`.
"""

from __future__ import annotations

import _thread
import atexit
import ctypes
import gc
import itertools
import os
import sys
import types
import weakref
from importlib.machinery import SourceFileLoader

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
            *(types.CellType, types.FunctionType, types.MethodType, types.ModuleType),
        ),
    )
)
"""The types of what the collector lists of most scripts. None of them does anything at its end."""
_NONE: dict[str, types.ModuleType] = {}
_ancestors = type.__dict__["__mro__"].__get__
_attributes = type.__dict__["__dict__"].__get__
"""Of a class, whatever that says itself."""

_callback = weakref.ReferenceType.__dict__["__callback__"].__get__
_c = ctypes.PyDLL(None)


class End:
    """What there is before the script."""

    def __init__(self) -> None:
        self._stdin, self._stdout, self._stderr = sys.stdin, sys.stdout, sys.stderr
        self._modules = sys.modules
        self._count = len(sys.modules)
        self._last = next(reversed(sys.modules))
        self._has_guests = "LD_PRELOAD" in os.environ
        self._flush, self._exit, self._leave = _c.fflush, _c.exit, _c._exit
        self._made_last: list[object] = []

    def begin(self) -> None:
        self._made_last = []  # the collector lists it, if the script does not have it list nothing (`gc.freeze`)

    def is_reached(self) -> bool:
        """Whether nothing is left to do."""
        imported = self._imported()
        return self._is_alone() and self._knows_all(imported) and self._no_finalizers()

    def leave_if_it_is_reached(self) -> None:
        """Ends the process, or returns."""
        if self.is_reached():
            self._flush(None)  # what the C library has, for whomever
            uses_others = self._has_guests or any(map(_is_extension, self._imported().values()))
            (self._exit if uses_others else self._leave)(0)

    def _imported(self) -> dict[str, types.ModuleType]:
        """The modules that are there since the script has begun."""
        modules = self._modules
        if len(modules) == self._count and next(reversed(modules)) is self._last:
            return _NONE
        return {name: modules[name] for name in itertools.takewhile(self._last.__ne__, reversed(modules))}

    def _knows_all(self, imported: dict[str, types.ModuleType]) -> bool:
        """Whether no module could have something to do: it is written in Python, or part of it and keeps no files."""
        return len(self._modules) - len(imported) == self._count and all(map(_is_known, imported.items()))

    def _is_alone(self) -> bool:
        """Whether nothing is to be called or waited for."""
        return (
            not _thread._count()
            and not atexit._ncallbacks()
            and (sys.stdin is self._stdin and sys.stdout is self._stdout and sys.stderr is self._stderr)
            and not (gc.callbacks or gc.garbage or gc.get_debug() or sys.gettrace() or sys.getprofile())
        )

    def _no_finalizers(self) -> bool:
        """Whether no object that the script has made, as far as the collector knows it, does anything at its end."""
        # No method of an object is called here, nor one of its class's class: they are the script's.
        objects = gc.get_objects()
        if len(objects) > _MANY_OBJECTS or id(self._made_last) not in map(id, objects):
            return False
        if _PLAIN.issuperset(map(id, map(type, objects))):
            return True
        kinds = {id(kind): kind for kind in map(type, objects)}
        kinds |= {
            id(kind): kind for kind in objects if issubclass(type(kind), type)
        }  # of objects that are not listed
        return not any(map(_finalizes, kinds.values())) and not any(map(_calls_back, objects))


def _is_known(entry: tuple[str, types.ModuleType]) -> bool:
    name, module = entry
    if type(module) is not types.ModuleType or name in _KEEP_FILES:
        return False
    return not _is_extension(module) or os.path.dirname(module.__dict__["__file__"]) == _EXTENSIONS


def _is_extension(module: types.ModuleType) -> bool:
    return str(module.__dict__.get("__file__")).endswith(".so")


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
