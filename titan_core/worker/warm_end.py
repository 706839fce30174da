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
from collections.abc import Callable, Sequence
from importlib.machinery import SourceFileLoader
from io import BufferedRandom, BufferedReader, BufferedWriter, BytesIO, FileIO, StringIO, TextIOWrapper
from types import CodeType, FunctionType, ModuleType

_MANY_OBJECTS = 20_000
"""To look at more is no gain."""
_DO_MORE = ("_sqlite3", "_dbm", "_gdbm", "readline", "_xxsubinterpreters", "_interpreters")
"""Modules of Python that write something when their objects end, or have interpreters with an end of their own."""
_EXTENSIONS = os.path.dirname(str(getattr(sys.modules["_ctypes"], "__file__", "")))
_PLAIN = frozenset(
    map(
        id,
        (
            *(dict, list, set, tuple, type(iter([])), SourceFileLoader),
            *(types.CellType, FunctionType, types.MethodType, ModuleType),
        ),
    )
)
"""The types of what the collector lists of most scripts. None of them does anything at its end."""
_FILES = frozenset(map(id, (TextIOWrapper, BufferedReader, BufferedWriter, BufferedRandom, FileIO)))
"""The types of files."""
_IN_MEMORY = frozenset(map(id, (BytesIO, StringIO)))
"""The types of what is like a file, and does nothing at its end but for what its attributes say."""
_ALL_FILES = _FILES | _IN_MEMORY
_COLLECTIONS = (weakref.WeakKeyDictionary, weakref.WeakSet, weakref.WeakValueDictionary)
_MAKE_ROOM = frozenset(
    id(inner)
    for collection in _COLLECTIONS
    for inner in collection.__init__.__code__.co_consts
    if type(inner) is CodeType
)
"""What collections of weak references have called when an object ends."""
_LIBRARY = os.path.dirname(str(os.__file__))
_OF_LOGGING = ("_removeHandlerRef", os.path.join(_LIBRARY, "logging", "__init__.py"))
"""Makes room in a list of handlers."""
_OF_POOLS = ("_python_exit", os.path.join(_LIBRARY, "concurrent", "futures", "thread.py"))
"""Ends the threads of all pools; where there are none, it does nothing."""
_NOTHING: dict[str, ModuleType] = {}
_ancestors = type.__dict__["__mro__"].__get__
_attributes = type.__dict__["__dict__"].__get__
"""Of a class, whatever that says itself."""

_CAN_CALL = sys.version_info < (3, 12)
"""Whether callbacks may do the same before the interpreter has begun to end: later ones refuse them threads then."""

_closed = FileIO.__dict__["closed"].__get__
_callback = weakref.ReferenceType.__dict__["__callback__"].__get__
_c = ctypes.PyDLL(None)


class End:
    """What there is before the script."""

    def __init__(self) -> None:
        self._streams = _streams()  # not they: what they have yet is written when nobody has them any more
        self._modules = sys.modules
        self._count = len(sys.modules)
        self._last = next(reversed(sys.modules))
        self._threading = sys.modules["threading"]
        self._threading_ends: list[object] = self._threading._threading_atexits
        self._shutdown = self._threading._shutdown
        self._call_back = atexit._run_exitfuncs
        self._has_called = False
        self._has_guests = "LD_PRELOAD" in os.environ
        self._flush, self._exit, self._leave = _c.fflush, _c.exit, _c._exit
        self._tidy = functools.partial(_c.Py_Exit, 0)
        self._made_last: list[object] = []

    def begin(self) -> None:
        self._made_last = []  # the collector lists it, if the script does not have it list nothing (`gc.freeze`)

    def leave(self) -> Sequence[Callable[[], object]]:
        """Ends the process at once, or says what has to be called instead: below a function of ours, callbacks would
        find that in their stack."""
        try:
            if _CAN_CALL and atexit._ncallbacks() and self._may_call():
                self._shutdown()
                self._has_called = True
                return self._call_back, self.leave, self._tidy
            way = self.way()
            if way is not None and not (self._has_called and self._may_keep_output()):
                self._flush(None)  # what the C library has, for whomever
                way(0)
        except BaseException:  # of a signal's handler; for the script it is too late
            pass
        return (self._tidy,)

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
            not (_thread._count() or atexit._ncallbacks())
            and (not self._threading_ends or self._waits_for_nothing())
            and _streams() == self._streams
            and not (gc.callbacks or gc.garbage or gc.get_debug() or sys.gettrace() or sys.getprofile())
        )

    def _may_call(self) -> bool:
        """Whether to call callbacks now is what the interpreter would do."""
        return (
            self._waits_for_nothing()
            and self._modules.get("threading") is self._threading
            and self._threading.__dict__.get("_shutdown") is self._shutdown
            and not (sys.gettrace() or sys.getprofile())
        )

    def _may_keep_output(self) -> bool:
        """Whether some of what callbacks have printed may be still to be written, which can fail."""
        streams = (sys.stdout, sys.stderr)
        return not all(stream.write_through and not stream.closed for stream in streams)  # type: ignore[union-attr]

    def _waits_for_nothing(self) -> bool:
        """Whether there is no other thread, nor anything that is called before they are waited for."""
        return not _thread._count() and all(map(_is_of_pools, self._threading_ends))


def _streams() -> tuple[int, int, int]:
    return id(sys.stdin), id(sys.stdout), id(sys.stderr)


def _is_of_pools(end: object) -> bool:
    return type(end) is functools.partial and _is(_OF_POOLS, end.func)


def _is(place: tuple[str, str], function: object) -> bool:
    """Whether it is the function of this name and file."""
    if type(function) is not FunctionType:
        return False
    return (function.__code__.co_name, function.__code__.co_filename) == place


def _is_known(entry: tuple[str, ModuleType]) -> bool:
    """Whether a module is written in Python, or is part of it and has nothing to do at its end."""
    name, module = entry
    if type(module) is not ModuleType:
        return issubclass(type(module), type)  # as `typing.io` is
    if name in _DO_MORE:
        return False
    file = _file_of_extension(module)
    return not file or os.path.dirname(file) == _EXTENSIONS


def _file_of_extension(module: ModuleType) -> str:
    """Empty: it is none."""
    file = module.__dict__.get("__file__")
    return file if type(file) is str and file.endswith(".so") else ""


def _do_something_at_their_end(objects: list[object]) -> bool:
    # No method of an object is called here, nor one of its class's class: they are the script's.
    # The collector lists every object of a class that is written in Python, so that the classes do not matter.
    kinds = {id(kind): kind for kind in map(type, objects)}
    others = [kind for number, kind in kinds.items() if number not in _ALL_FILES]
    if any(map(_finalizes, others)) or any(map(_calls_back, objects)):
        return True
    return not all(map(_is_harmless, filter(_is_file, objects)))


def _is_file(thing: object) -> bool:
    return id(type(thing)) in _ALL_FILES


def _is_harmless(file: object) -> bool:
    """Whether a file does nothing at its end: it is closed, or in memory, and nothing of the script's is in it."""
    if id(type(file)) in _IN_MEMORY:
        return not file.__dict__
    while type(file) is not FileIO:
        if id(type(file)) not in _FILES:
            return False
        file = getattr(file, "buffer" if type(file) is TextIOWrapper else "raw")
    return bool(_closed(file))


def _finalizes(kind: type) -> bool:
    return issubclass(kind, weakref.ProxyTypes) or any("__del__" in _attributes(one) for one in _ancestors(kind))


def _calls_back(thing: object) -> bool:
    """Whether something that does more than make room is called when the object ends to which this is a reference."""
    if not issubclass(type(thing), weakref.ReferenceType):
        return False
    callback = _callback(thing)
    if type(callback) is types.BuiltinFunctionType:
        return type(callback.__self__) is not weakref.ReferenceType  # those are of abstract classes
    if type(callback) is not FunctionType or (type(thing) is weakref.KeyedRef and type(thing.key) is not str):
        return callback is not None  # a class of keys may notice
    return id(callback.__code__) not in _MAKE_ROOM and not _is(_OF_LOGGING, callback)
