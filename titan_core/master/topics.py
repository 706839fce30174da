"""Who waits for what to change: long polls sleep here, and whoever changes something wakes them.

A topic is any hashable value, such as `("run", run_id)`. Publishing where nobody has subscribed costs
a dictionary look-up. The lock is a leaf: nothing else is taken while it is held, so publishing is
allowed under the engine's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Subscription:
    """One topic while somebody looks at it. Look at the state first, then `wait`: no change is missed."""

    def __init__(self, lock: threading.Lock) -> None:
        self._changed = threading.Condition(lock)
        self._version = 0
        self.watchers = 0

    def publish(self) -> None:
        self._version += 1
        self._changed.notify_all()

    def wait(self, seen: int, timeout_s: float) -> int:
        """Wait until the version is past `seen`, or `timeout_s` is over; the version then."""
        deadline_at = time.monotonic() + timeout_s
        while self._version == seen:
            remaining_s = deadline_at - time.monotonic()
            if remaining_s <= 0:
                break
            self._changed.wait(remaining_s)
        return self._version

    @property
    def version(self) -> int:
        return self._version


class Topics:
    """All topics somebody looks at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._subscriptions: dict[Hashable, Subscription] = {}
        self._closed = False

    def publish(self, topic: Hashable) -> None:
        """Something about `topic` has changed; it must be visible already."""
        if topic not in self._subscriptions:
            return
        with self._lock:
            subscription = self._subscriptions.get(topic)
            if subscription is not None:
                subscription.publish()

    def close(self) -> None:
        """Wake everybody; from now on nobody waits."""
        with self._lock:
            self._closed = True
            for subscription in self._subscriptions.values():
                subscription.publish()

    def changes(self, topic: Hashable, timeout_s: float) -> Iterator[bool]:
        """Look, sleep until `topic` changes, look again …: True each time there is something to look at.

        Yields at least once; ends when `timeout_s` is over or the topics are closed. Leave it by `break`.
        """
        deadline_at = time.monotonic() + timeout_s
        with self._subscribed(topic) as subscription:
            while True:
                seen = subscription.version
                yield True
                remaining_s = deadline_at - time.monotonic()
                with self._lock:
                    if self._closed or remaining_s <= 0 or subscription.wait(seen, remaining_s) == seen:
                        return

    @contextmanager
    def _subscribed(self, topic: Hashable) -> Iterator[Subscription]:
        with self._lock:
            subscription = self._subscriptions.setdefault(topic, Subscription(self._lock))
            subscription.watchers += 1
        try:
            yield subscription
        finally:
            with self._lock:
                subscription.watchers -= 1
                if not subscription.watchers:
                    del self._subscriptions[topic]
