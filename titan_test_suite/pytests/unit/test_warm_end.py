"""Which scripts end at once, as nothing of theirs has to be tidied: each in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_BEFORE = """
import gc, threading
from titan_core.worker.warm_end import End
end = End()
gc.collect()
gc.freeze()
end.begin()
"""
_AFTER = """
import os
end._exit = end._leave = lambda code: None
end._tidy = lambda: None
for call in end.leave(): call()
os.write(1, str(end.way() is not None).encode())
os._exit(0)
"""
AT_ONCE = {
    "nothing": "",
    "plain objects": "numbers = [{'a': (1, {2})}, lambda: numbers]",
    "a class": "class Thing: pass\nthings = [Thing(), Thing()]",
    "a module of Python": "import colorsys",
    "a module that is a class": "import typing",
    "classes with finalizers": "import io, shutil\nclass Thing:\n    def __del__(self): pass",
    "files in memory": "import io\nmemory = io.BytesIO(), io.StringIO()",
    "collections of weak references": """
import weakref
class Thing: pass
thing = Thing()
held = weakref.WeakSet([thing]), weakref.WeakKeyDictionary({thing: 1}), weakref.WeakValueDictionary(thing=thing)""",
    "closed files": "with open('a', 'w') as text, open('b', 'wb') as data, open('c', 'wb', 0) as raw: pass",
}
WITH_CALLBACKS = {
    "something at exit": "import atexit\natexit.register(str)",
    "logging": "import logging\nlogging.basicConfig(filename='log')\nlogging.warning('x')",
    "a directory for the time being": "import tempfile\nkept = tempfile.TemporaryDirectory()",
    "a pool of threads": """
import _thread, concurrent.futures
with concurrent.futures.ThreadPoolExecutor() as pool: pool.submit(str)
while _thread._count(): pass""",
}
"""At once from Python 3.11 only: in later ones, callbacks are to find that it has begun to end."""
if sys.version_info < (3, 12):
    AT_ONCE |= WITH_CALLBACKS
NOT_AT_ONCE = {
    "an open file": "text = open('a', 'w')",
    "a file in memory with an end of its own": "import io\nmemory = io.StringIO()\nmemory.close = print",
    "a file over one in memory": "import io\nmemory = io.TextIOWrapper(io.BytesIO())",
    "a file over what is not the system's": """
import io
class Raw:
    __slots__ = ()
    closed = readable = lambda self: True
own = io.BufferedReader(Raw())""",
    "a finalizer": "class Thing:\n    def __del__(self): pass\nthing = Thing()",
    "a number with a finalizer": """
class Number(int):
    __slots__ = ()
    def __del__(self): pass
number = Number(5)""",
    "a method that is held weakly": """
import weakref
class Thing:
    def method(self): pass
thing = Thing()
held = weakref.WeakMethod(thing.method, print)""",
    "keys that may notice": """
import weakref
class Thing: pass
thing, held = Thing(), weakref.WeakValueDictionary()
held[Thing()] = thing""",
    "a callback that leaves a finalizer": """
import atexit
def leave(): things.append(Thing())
class Thing:
    def __del__(self): pass
things = []
atexit.register(leave)""",
    "a callback that begins a thread": "import atexit\natexit.register(threading.Timer(0.2, str).start)",
    "what threading does at the end": "threading._register_atexit(str)",
    "a thread": "thread = threading.Timer(0.2, print)\nthread.start()",
    "a callback": "import weakref\nclass Thing: pass\nthing = Thing()\nwatch = weakref.ref(thing, print)",
    "another stdout": "import io, sys\nsys.stdout = io.TextIOWrapper(io.BytesIO())",
    "a trace": "import sys\nsys.settrace(lambda *event: None)",
    "a callback of the collector": "gc.callbacks.append(lambda *event: None)",
}


@pytest.mark.parametrize("script", AT_ONCE.values(), ids=AT_ONCE)
def test_what_ends_at_once(tmp_path: Path, script: str) -> None:
    assert ends_at_once(tmp_path, script)


@pytest.mark.parametrize("script", NOT_AT_ONCE.values(), ids=NOT_AT_ONCE)
def test_what_is_tidied_before_the_end(tmp_path: Path, script: str) -> None:
    assert not ends_at_once(tmp_path, script)


def ends_at_once(directory: Path, script: str) -> bool:
    command = [sys.executable, "-c", _BEFORE + script + _AFTER]
    said = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout
    return {"True": True, "False": False}[said]
