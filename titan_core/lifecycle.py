"""Start, stop, join, and the one place that makes threads.

A component may be stopped before, during or after its start, any number of times: the stop Event
exists from the beginning and is only ever set. A thread that dies of an exception is an incident:
it is logged once, with its traceback, and its component is stopped, which is told to the owner.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger("titan")


class Component:
    """Something with threads of its own. Subclasses override `on_stop` to wake what blocks them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stopping = threading.Event()
        self.failed = False
        """Whether one of its threads died."""
        self.on_failure: Callable[[Component], None] = _nobody_asks
        """Told, on the thread that dies, after the component was stopped."""
        self._threads: set[threading.Thread] = set()
        self._threads_lock = threading.Lock()

    def spawn(self, name: str, target: Callable[..., None], *args: Any) -> threading.Thread:
        """Run `target(*args)` on a thread of this name; the component knows it until it ends."""
        thread = threading.Thread(target=self._guard, args=(target, args), name=name, daemon=True)
        with self._threads_lock:  # whoever joins must not find a thread that was not started
            thread.start()
            self._threads.add(thread)
        return thread

    def stop(self) -> None:
        """Ask everything to end; returns at once. Idempotent, callable from any thread."""
        self.stopping.set()
        self.on_stop()

    def on_stop(self) -> None:
        """Wake the threads, so that they see `stopping`. May be called more than once."""

    def join(self, timeout_s: float) -> bool:
        """Wait for all threads, `timeout_s` in total; whether all have ended."""
        deadline = time.monotonic() + timeout_s
        for thread in self.threads():
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(t.is_alive() for t in self.threads() if t is not threading.current_thread())

    def threads(self) -> list[threading.Thread]:
        """The threads that have not ended."""
        with self._threads_lock:
            return list(self._threads)

    def _guard(self, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            target(*args)
        except Exception:
            log.exception(
                "%s: thread %s died; stopping %s",
                self.name,
                threading.current_thread().name,
                self.name,
                extra={"action": "thread.died"},
            )
            self.failed = True
            self.stop()
            self.on_failure(self)
        finally:
            with self._threads_lock:
                self._threads.discard(threading.current_thread())


def _nobody_asks(component: Component) -> None:
    """A failure that concerns the component alone."""
