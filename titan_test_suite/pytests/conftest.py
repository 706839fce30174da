"""After every test: no thread, child process or descriptor is left."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_test_suite.pytests.support.waiting import wait_until


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    threads, descriptors = set(threading.enumerate()), _descriptors()
    yield
    wait_until(lambda: not set(threading.enumerate()) - threads, 5, lambda: set(threading.enumerate()) - threads)
    wait_until(lambda: not psutil.Process().children(), 5, lambda: psutil.Process().children())
    wait_until(lambda: len(_descriptors()) <= len(descriptors), 5, lambda: _descriptors())


def _descriptors() -> dict[str, str]:
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        try:
            found[entry] = str(Path(f"/proc/self/fd/{entry}").readlink())
        except OSError:
            continue  # the descriptor of this very listing
    return found
