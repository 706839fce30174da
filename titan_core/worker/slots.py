"""The places in which attempts run: a fixed number of slots for jobs, and services beside them.

A `ThreadPoolExecutor` gives each its thread. What an attempt *does* there is not known here; only that it
is there from `start` until its work returns. Threads of the link start and look, the slots' own leave.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from titan_core.worker.control import Control, Stop


class Slots:
    """`work(control)` is called on a slot's thread, and must not raise."""

    def __init__(self, slots: int, max_services: int, work: Callable[[Control], None]) -> None:
        self._work = work
        self._max_services = max_services
        self._job_threads = _Threads("slot", slots, self._occupy)
        self._service_threads = _Threads("service", max(1, max_services), self._occupy)
        self._changed = threading.Condition()
        self._jobs: dict[bytes, Control] = {}
        self._services: dict[bytes, Control] = {}
        self._drained: Stop | None = None
        self._closed = False

    def __contains__(self, token: bytes) -> bool:
        return token in self._jobs or token in self._services

    def start(self, control: Control) -> bool:
        """Give the attempt a place; False when there are as many services as this worker takes."""
        service = control.start.service
        with self._changed:
            if self._closed:
                return True  # too late for a word about it: the master takes it for lost with the session
            if service and len(self._services) >= self._max_services:
                return False
            there, threads = (self._services, self._service_threads) if service else (self._jobs, self._job_threads)
            there[control.token] = control
            if self._drained is not None:
                control.stop(self._drained)
            threads.give(control, len(there))
        return True

    def find(self, token: bytes) -> Control | None:
        return self._jobs.get(token) or self._services.get(token)

    def all(self) -> list[Control]:
        with self._changed:
            return [*self._jobs.values(), *self._services.values()]

    def counts(self) -> tuple[int, int]:
        """How many jobs, and how many services, there are."""
        return len(self._jobs), len(self._services)

    def drain(self, request: Stop) -> None:
        """Stop everything that is there, and whatever is started from now on before it begins."""
        with self._changed:
            self._drained = request
        for control in self.all():
            control.stop(request)

    @property
    def drained(self) -> bool:
        return self._drained is not None

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait for every place to be free; False when that takes longer."""
        until_at = time.monotonic() + timeout_s
        with self._changed:
            while (self._jobs or self._services) and time.monotonic() < until_at:
                self._changed.wait(until_at - time.monotonic())
            return not (self._jobs or self._services)

    def close(self) -> None:
        """Let the threads end, as soon as they are free. Nothing is started any more."""
        with self._changed:
            self._closed = True
            self._job_threads.close()
            self._service_threads.close()

    def _occupy(self, control: Control) -> None:
        try:
            self._work(control)
        finally:
            with self._changed:
                (self._services if control.start.service else self._jobs).pop(control.token)
                self._changed.notify_all()


class _Threads:
    """At most `size` threads, as many as were needed at once; each calls `work(control)` for one attempt after the
    other. A task of the executor for each attempt would cost what all else costs that is done to start one."""

    def __init__(self, name: str, size: int, work: Callable[[Control], None]) -> None:
        numbers = itertools.count()

        def name_thread() -> None:
            threading.current_thread().name = f"{name}-{next(numbers)}"

        self._size = size
        self._work = work
        self._started = 0
        self._given: SimpleQueue[Control | None] = SimpleQueue()
        self._executor = ThreadPoolExecutor(size, name, name_thread)

    def give(self, control: Control, needed: int) -> None:
        """The next attempt, for a thread that is free; with it, so many are needed."""
        self._given.put(control)
        if self._started < min(needed, self._size):
            self._started += 1
            self._executor.submit(self._serve)

    def close(self) -> None:
        """Let each thread end once it is free."""
        for _ in range(self._started):
            self._given.put(None)
        self._executor.shutdown(wait=False)

    def _serve(self) -> None:
        while (control := self._given.get()) is not None:
            self._work(control)
