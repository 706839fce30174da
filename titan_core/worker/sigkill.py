"""What SIGKILL may meet: a process that is another user's, or one that the kernel holds. The log tells of both.

Called by the slot threads, and by the main thread before there are any.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator

from titan_core.worker import procfs

log = logging.getLogger("titan.worker")

DEATH_S = 10.0
"""How long a process may take to end after SIGKILL; longer means that the kernel holds it, in I/O."""


@contextlib.contextmanager
def permitted(pid: int) -> Iterator[None]:
    """For the signal to a process that may belong to another user; the log does not tell of one that has ended."""
    try:
        yield
    except PermissionError:
        status = procfs.status(pid)
        if status is not None and status.state != "Z":
            log.error(
                "process %d belongs to another user and can not be ended",
                pid,
                extra={"action": "process.stuck", "pid": pid},
            )


def ends(pid: int, pidfd: int) -> bool:
    """Wait for the end of a process that was sent SIGKILL; False when it does not end."""
    if procfs.ends_within(pidfd, DEATH_S):
        return True
    log_stuck([pid])
    return False


def log_stuck(pids: Iterable[int]) -> None:
    for pid in pids:
        log.error("process %d does not end after SIGKILL", pid, extra={"action": "process.stuck", "pid": pid})
