"""What a process has cost so far, as the kernel counts it."""

from __future__ import annotations

import time

import psutil

_PROCESS_TIME = 2
MB = 1_000_000


def cpu_s(pid: int) -> float:
    """Seconds computed by all its threads, also those that ended; to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | _PROCESS_TIME)


def resident_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MB
