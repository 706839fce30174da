"""Whether a thread that wakes interrupts what computes just then.

A slot's thread does not: under SCHED_BATCH the kernel lets a job compute until its time is over, which else is
stopped several times while others begin and end. Measured with 2 × 4 slots full of small Python jobs: 2 % more of
them. What a slot starts is not concerned: it is scheduled as the worker was started.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_NO_PRIORITY = os.sched_param(0)
_of_thread = threading.local()


def give_way() -> None:
    """The calling thread interrupts nobody from now on; unless somebody has chosen another policy for the worker."""
    with contextlib.suppress(OSError):  # a container may not allow it
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, _NO_PRIORITY)
            _of_thread.gives_way = True


@contextlib.contextmanager
def usual() -> Iterator[None]:
    """What the calling thread starts in the block inherits nothing of `give_way`."""
    gives_way = getattr(_of_thread, "gives_way", False)
    if gives_way:
        os.sched_setscheduler(0, os.SCHED_OTHER, _NO_PRIORITY)
    try:
        yield
    finally:
        if gives_way:
            os.sched_setscheduler(0, os.SCHED_BATCH, _NO_PRIORITY)
