"""The network: connections that deliver in order or break, and ways between machines that let nothing through.

A frame is lost, late, or overtaken only as TCP allows it: within a connection in order, or not at all; but
a side may learn late that the other is gone, what was under way still arrives, and an old connection may
speak after a new one. A blocked way keeps frames until it is free again, or the connection is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.frames import Frame

UP, DOWN = "up", "down"
"""Worker to master, and back."""
_END = object()


class Endpoint(Protocol):
    def on_frame(self, connection: Connection, frame: Frame) -> None: ...

    def on_end(self, connection: Connection) -> None: ...


class Ways:
    """Between a worker's machine and the master's."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self.blocked = {UP: False, DOWN: False}
        self.slowness = 1.0
        self._connections: list[Connection] = []

    @property
    def free(self) -> bool:
        return not any(self.blocked.values())

    def connect(self, worker: Endpoint, master: Endpoint) -> Connection:
        connection = Connection(self._agenda, self, worker, master)
        self._connections = [c for c in self._connections if not c.over] + [connection]
        return connection

    def free_again(self) -> None:
        self.blocked = {UP: False, DOWN: False}
        for connection in list(self._connections):
            connection.release()

    def break_connections(self) -> None:
        for connection in list(self._connections):
            connection.snap()


class Connection:
    """One TCP connection. `close` is what a side does to it, `snap` what the network does."""

    def __init__(self, agenda: Agenda, ways: Ways, worker: Endpoint, master: Endpoint) -> None:
        self._agenda, self._ways = agenda, ways
        self._receiver = {UP: master, DOWN: worker}
        self._closed = {UP: False, DOWN: False}
        """By the direction that the side which closed it reads."""
        self._snapped = False
        self._under_way: dict[str, deque[object]] = {UP: deque(), DOWN: deque()}
        self._clear_at = {UP: 0.0, DOWN: 0.0}

    @property
    def over(self) -> bool:
        return all(self._closed.values())

    def send(self, way: str, frame: Frame) -> None:
        if not self._snapped and not self._closed[_other(way)]:
            self._put(way, frame)

    def close(self, way: str, quietly: bool = False) -> None:
        """The side that reads `way` is done with it; the other is told, unless its machine just vanished."""
        if self._closed[way]:
            return
        self._closed[way] = True
        self._under_way[way].clear()
        if not quietly:
            self._put(_other(way), _END)

    def snap(self) -> None:
        """Nothing sent from now on arrives; of what is under way, some does. Each side learns of it by itself."""
        if self._snapped:
            return
        self._snapped = True
        for way in (UP, DOWN):
            frames = self._under_way[way]
            for _ in range(self._agenda.dice.randint(0, len(frames))):
                frames.pop()
            self._put(way, _END)

    def release(self) -> None:
        for way in (UP, DOWN):
            self._deliver(way)

    def _put(self, way: str, frame: object) -> None:
        self._under_way[way].append(frame)
        latency_s = self._agenda.spread(0.0002, 0.02) * self._ways.slowness
        self._clear_at[way] = max(self._clear_at[way], self._agenda.now + latency_s)
        self._agenda.after(self._clear_at[way] - self._agenda.now, self._deliverer(way))

    def _deliverer(self, way: str) -> Callable[[], None]:
        def deliver_one() -> None:
            if self._under_way[way] and not self._ways.blocked[way]:
                self._receive(way, self._under_way[way].popleft())

        return deliver_one

    def _deliver(self, way: str) -> None:
        """All that was kept while the way was blocked, in order."""
        for _ in range(len(self._under_way[way])):
            self._agenda.after(0.001, self._deliverer(way))

    def _receive(self, way: str, frame: object) -> None:
        if self._closed[way]:
            return
        if frame is _END:
            self._closed[way] = True
            self._receiver[way].on_end(self)
        else:
            self._receiver[way].on_frame(self, frame)  # type: ignore[arg-type]


def _other(way: str) -> str:
    return DOWN if way == UP else UP
