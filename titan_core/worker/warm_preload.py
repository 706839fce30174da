"""What a fork server imports before it is one, for its jobs and for itself."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable

MODULES = (
    *("argparse", "base64", "csv", "ctypes", "dataclasses", "datetime", "functools", "importlib.machinery", "json"),
    *("operator", "pathlib", "random", "site", "socket", "string", "struct", "subprocess", "threading", "traceback"),
)
"""What many a job imports, as far as nothing in it depends on the moment or the environment in which it is imported:
logging, of which there is what it imports, notes the time and has something to do at the end; hashlib and ssl read
files of settings."""

_POOL_BYTES, _POOL_HEAD_BYTES = 16 * 1024, 48
"""Of the allocator of Python 3.10 and later: in a pool there are objects of one size only, rounded to 16 bytes."""
_MOST_HOLES = 4_000
"""Of one size, that are filled."""
_kept: list[object] = []
"""What they are filled with, for as long as the server is there."""


def preload() -> None:
    """Import MODULES, and have what is made afterwards lie together."""
    for name in MODULES:
        __import__(name)
    _fill_holes()


def _fill_holes() -> None:
    """Have what is made from now on lie together, instead of where the imports have left room: in as few pages of
    memory as can be."""
    gc.collect()
    head = sys.getsizeof(b"")
    makers: list[Callable[[], object]] = [
        object,
        functools.partial(float, 2),
        *(functools.partial(bytes, n - head) for n in range(48, 513, 16)),
    ]
    for make in makers:
        for _ in range(_MOST_HOLES):
            _kept.append(make())
            if id(_kept[-1]) % _POOL_BYTES == _POOL_HEAD_BYTES:  # the first in a pool of its own
                break
