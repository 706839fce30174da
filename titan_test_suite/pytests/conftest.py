"""After every test: no thread, child process or descriptor is left. Files of tests that wait come between such that
compute."""

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

_LAST_WAITING = 0.6
"""Where, of all, the last of the files that wait begins: it takes longer than what computes beside it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the files that start processes, and mostly wait for them, over the first part of all: then the processes
    of tests keep the processors busy together. The order within a file, and of these files, stays."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    waiting = [path for path in files if path.parent.name == "e2e"]
    others = [path for path in files if path.parent.name != "e2e"]
    at = {path: _LAST_WAITING * n / len(waiting) for n, path in enumerate(waiting)}
    at |= {path: n / len(others) for n, path in enumerate(others)}
    items[:] = [item for path in sorted(files, key=at.__getitem__) for item in files[path]]


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    threads, children, descriptors = set(threading.enumerate()), set(_children()), _open()
    yield
    wait_until(lambda: not set(threading.enumerate()) - threads, 5, lambda: set(threading.enumerate()) - threads)
    wait_until(lambda: not set(_children()) - children, 5, lambda: set(_children()) - children)
    wait_until(lambda: _open() <= descriptors, 5, _descriptors)


def _children() -> list[psutil.Process]:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # the quick answer, and mostly the right one
        return []
    return psutil.Process().children()


def _open() -> int:
    """So many descriptors; as often asked as there are tests."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except OSError:
            continue  # the descriptor of this very listing
    return found
