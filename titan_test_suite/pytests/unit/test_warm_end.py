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
os.write(1, str(end.way() is not None).encode())
os._exit(0)
"""
AT_ONCE = {
    "nothing": "",
    "plain objects": "numbers = [{'a': (1, {2})}, lambda: numbers]",
    "a class": "class Thing: pass\nthings = [Thing(), Thing()]",
    "a module of Python": "import colorsys",
    "closed files": "with open('a', 'w') as text, open('b', 'wb') as data, open('c', 'wb', 0) as raw: pass",
}
NOT_AT_ONCE = {
    "an open file": "text = open('a', 'w')",
    "a file in memory": "import io\nmemory = io.BytesIO()",
    "a file over what is not the system's": """
import io
class Raw:
    __slots__ = ()
    closed = readable = lambda self: True
own = io.BufferedReader(Raw())""",
    "a finalizer": "class Thing:\n    def __del__(self): pass\nthing = Thing()",
    "something at exit": "import atexit\natexit.register(print)",
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
