"""What processes have cost so far, as the kernel counts it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from types import TracebackType

import psutil

_PROCESS_TIME = 2
MB = 1_000_000


def cpu_s(pid: int) -> float:
    """Seconds computed by all its threads, also those that ended; to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | _PROCESS_TIME)


def busy_percent(pids: Iterable[int], seconds: float) -> list[float]:
    """What each of them computes in the next `seconds`, in % of a core."""
    pids = list(pids)
    before_s, begun_at = [cpu_s(pid) for pid in pids], time.perf_counter()
    time.sleep(seconds)
    passed_s = time.perf_counter() - begun_at
    return [100 * (cpu_s(pid) - before) / passed_s for pid, before in zip(pids, before_s, strict=True)]


def resident_mb(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss) / MB


class Meter:
    """Measures a block: how long it took, and what this process and all its descendants computed meanwhile.

    Descendants count that live at the end, or whose parents, alive then, have waited for them.
    """

    def __enter__(self) -> Meter:
        self._begun_cpu_s = _family_cpu_s()
        self._begun_at = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall_s = time.perf_counter() - self._begun_at
        self.cpu_s = _family_cpu_s() - self._begun_cpu_s


def _family_cpu_s() -> float:
    this = psutil.Process()
    total_s = 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system + times.children_user + times.children_system
    return total_s
