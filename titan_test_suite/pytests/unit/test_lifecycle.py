"""Components: threads that begin and end while others wait for them."""

from __future__ import annotations

import threading

from titan_core.lifecycle import Component


def test_join_while_threads_begin():
    component = Component("busy")
    spawned = threading.Event()

    def spawn_many() -> None:
        for _ in range(500):
            component.spawn("short", lambda: None)
        spawned.set()

    component.spawn("spawner", spawn_many)
    while not spawned.is_set():
        for thread in component.threads():
            assert thread.ident is not None, "a thread that was not started can not be joined"
        component.join(0)
    assert component.join(5)
    assert component.threads() == []
