"""What running attempts take — processor time and memory, all their processes together — and the limit for it.

    before a heartbeat       ─▶ sample: what each service has taken since the last one
    every second, if needed  ─▶ an attempt whose memory grew beyond its `max_memory` is ended

The thread sleeps while nothing that runs has a limit. `sample` is called by the session's heartbeat, `limit` by the
slot threads, `latest` by whoever speaks for the worker. Memory is what is resident, so that what processes share is
counted for each of them; before an attempt is ended for it, they are asked for their shares, which takes longer.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from titan_core.lifecycle import Component
from titan_core.protocol.messages import ServiceUsage
from titan_core.protocol.wire import MIB
from titan_core.worker import procfs
from titan_core.worker.control import Control, Stop
from titan_core.worker.procfs import Process

LOOK_S = 1.0


class _Sample(NamedTuple):
    at: float
    cpu_s: float


class UsageWatch(Component):
    """Measures attempts; `left_by(leader)` are those processes of a session that have lost their parents."""

    def __init__(self, left_by: Callable[[int], set[Process]]) -> None:
        super().__init__("usage")
        self._left_by = left_by
        self._samples: dict[bytes, _Sample] = {}
        self._latest: tuple[ServiceUsage, ...] = ()
        self._changed = threading.Condition()
        self._limited: set[Control] = set()

    def start(self) -> None:
        self.spawn("memory-watch", self._run)

    def on_stop(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def latest(self) -> tuple[ServiceUsage, ...]:
        """What the last `sample` has found."""
        return self._latest

    def sample(self, controls: Iterable[Control]) -> None:
        """Measure these services."""
        before, self._samples = self._samples, {}
        found = [self._measure(control, before) for control in controls if control.pid and not control.ended]
        self._latest = tuple(filter(None, found))

    def limit(self, control: Control) -> None:
        """The attempt has a process, which is to be kept within its `max_memory`."""
        with self._changed:
            self._limited.add(control)
            self._changed.notify_all()

    def _measure(self, control: Control, before: dict[bytes, _Sample]) -> ServiceUsage | None:
        usages = self._usages(control)
        sample = _Sample(time.monotonic(), sum(usage.cpu_s for usage in usages))
        memory = sum(usage.memory for usage in usages)
        if control.ended or not usages:
            return None
        self._samples[control.token] = sample
        last = before.get(control.token, _Sample(control.started_at, 0.0))
        taken_s = max(0.0, sample.cpu_s - last.cpu_s)  # what ended meanwhile may have taken its time with it
        return ServiceUsage(control.token, 100 * taken_s / max(sample.at - last.at, 0.001), memory)

    def _usages(self, control: Control) -> list[procfs.Usage]:
        return [usage for usage in map(procfs.usage, self._pids(control)) if usage is not None]

    def _pids(self, control: Control) -> set[int]:
        """Every process of the attempt that there is."""
        orphans = self._left_by(control.pid)
        below = (procfs.descendants(process.pid) for process in orphans)
        processes = procfs.descendants(control.pid).union(orphans, *below)
        return {control.pid, *(process.pid for process in processes)}

    # ── its thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while self._wait_for_limited():
            for control in list(self._limited):
                if control.ended:
                    self._limited.discard(control)
                elif control.request is None:
                    self._check(control)
            self.stopping.wait(LOOK_S)

    def _wait_for_limited(self) -> bool:
        """Sleep while there is nothing to look at; False = stop."""
        with self._changed:
            while not self._limited and not self.stopping.is_set():
                self._changed.wait()
        return not self.stopping.is_set()

    def _check(self, control: Control) -> None:
        limit = control.start.task.max_memory
        if sum(usage.memory for usage in self._usages(control)) <= limit:
            return
        memory = sum(procfs.share(pid) for pid in self._pids(control))
        if memory > limit and not control.ended:
            grown = f"memory grew to {math.ceil(memory / MIB)} MiB, max_memory is {limit / MIB:g} MiB"
            control.stop(Stop("FAILED", grown))
