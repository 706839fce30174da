"""After every test: no thread, child process or descriptor is left."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_test_suite.pytests.support.waiting import wait_until

# A shell without job control starts what it puts into the background with SIGINT ignored, and so would be all that
# the tests start, and stop with Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    threads, children, descriptors = set(threading.enumerate()), set(_children()), _descriptors()
    yield
    wait_until(lambda: not set(threading.enumerate()) - threads, 5, lambda: set(threading.enumerate()) - threads)
    wait_until(lambda: not set(_children()) - children, 5, lambda: set(_children()) - children)
    wait_until(lambda: len(_descriptors()) <= len(descriptors), 5, lambda: _descriptors())


def _children() -> list[psutil.Process]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # the quick answer, and mostly the right one
        return []
    return psutil.Process().children()


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:
            continue  # the descriptor of this very listing
    return found
