"""The places in which attempts run: a fixed number of slots for jobs, and services beside them.

A `ThreadPoolExecutor` gives them their threads. What an attempt *does* there is not known here; only that it
is there from `start` until its work returns. Threads of the link start and look, the slots' own leave.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from titan_core.worker import precedence
from titan_core.worker.control import Control, Stop
from titan_core.worker.turn import TURN

log = logging.getLogger("titan.worker")

PAUSE_S = 0.05
"""How long a thread waits for its next attempt before it looks whether others have left something undone."""
IDLE_S = 1.0
"""How long after that before it goes back to the executor."""


class Slots:
    """`work(control)` is called on a slot's thread. What it raises is a defect, and logged."""

    def __init__(self, slots: int, max_services: int, work: Callable[[Control], None]) -> None:
        self._work = work
        self._max_services = max_services
        self._changed = threading.Condition()
        self._job_threads = _Threads("slot", slots, self._occupy, self._changed)
        self._service_threads = _Threads("service", max(1, max_services), self._occupy, self._changed)
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
    """At most `size` threads, as many as are needed at once; each calls `work(control)` for one attempt after the
    other. A task of the executor for each attempt would cost what all else costs that is done to start one.

    `lock` is held by whoever calls, and guards what is here."""

    def __init__(self, name: str, size: int, work: Callable[[Control], None], lock: threading.Condition) -> None:
        numbers = itertools.count()

        def begin() -> None:
            threading.current_thread().name = f"{name}-{next(numbers)}"
            precedence.give_way()

        self._size = size
        self._work = work
        self._lock = lock
        self._serving = 0
        self._given: SimpleQueue[Control | None] = SimpleQueue()
        self._executor = ThreadPoolExecutor(size, name, begin)

    def give(self, control: Control, needed: int) -> None:
        """The next attempt, for a thread that is free; with it, so many are needed."""
        self._given.put(control)
        if self._serving < min(needed, self._size):
            self._serving += 1
            self._executor.submit(self._serve)

    def close(self) -> None:
        """Let each thread end once it is free."""
        for _ in range(self._serving):
            self._given.put(None)
        self._executor.shutdown(wait=False)

    def _serve(self) -> None:
        while (control := self._next()) is not None:
            try:
                self._work(control)
            except Exception:
                log.exception("a slot's attempt could not be seen through", extra={"action": "attempt.defect"})

    def _next(self) -> Control | None:
        """The next attempt; None: this thread is not needed any more. It goes back to the executor then, which can
        wake it when the interpreter exits, as it can not while it waits here."""
        try:
            return self._given.get(timeout=PAUSE_S)
        except Empty:
            TURN.catch_up()
        while True:
            try:
                return self._given.get(timeout=IDLE_S)
            except Empty:
                with self._lock:
                    if self._given.empty():
                        self._serving -= 1
                        return None
