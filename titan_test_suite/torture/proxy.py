"""What lies between the master and everybody else: TCP connections, and all that can happen to them.

Each party has a route, a listening port of its own, and through it its connections to the master. While the
storm blows, one of these things happens to a connection now and then, or to a whole route:

    cut         both ends are reset
    torn        a few more bytes pass one way, wherever that is in a frame, then both ends are reset
    slow        every piece one way comes late, for a while
    stalled     nothing passes one way, for a while
    unanswered  what is asked still arrives, nothing comes back, then both ends are reset
    partition   nothing passes on the route either way, new connections included, for a while

Bytes are never changed and never lost within a connection: that is TCP's part. One thread, an event loop of its
own; the methods may be called from any other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

_PIECE_BYTES = 65536
_DOWN = 1
"""Which of a connection's ways leads away from the master."""
_TORN_BYTES = 60
"""At most so many bytes still pass before a connection is torn: about a frame of a session."""


@dataclass(frozen=True)
class Weather:
    """How bad it is. Seconds."""

    between_s: float = 0.5
    """Between two misfortunes of connections, on average."""
    stall_most_s: float = 3.0
    late_most_s: float = 0.2
    partition_between_s: float = 25.0
    """Between two partitions, on average."""
    partition_most_s: float = 8.0


@dataclass(eq=False)
class _Way:
    """One direction of one connection."""

    closed_until_at: float = 0.0
    slow_until_at: float = 0.0
    late_s: float = 0.0
    bytes_left: int | None = None
    """How much passes until it is torn; None: it is not."""


@dataclass(eq=False)
class _Route:
    name: str
    port: int = 0
    closed_until_at: float = 0.0
    connections: set[_Connection] = field(default_factory=set)


class _Connection:
    """Two sockets, and a task for each way between them."""

    def __init__(self, route: _Route, inner: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.route = route
        self.ways = (_Way(), _Way())
        self._inner = inner
        self._outer: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def serve(self, port: int) -> None:
        """Carry what either side sends until one of them ends it."""
        await _open_again(self.route)
        with contextlib.suppress(OSError):
            self._outer = await asyncio.open_connection("127.0.0.1", port)
            (ours, our_end), (theirs, their_end) = self._inner, self._outer
            up, down = self.ways
            both = [asyncio.ensure_future(self._carry(up, ours, their_end))]
            both.append(asyncio.ensure_future(self._carry(down, theirs, our_end)))
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)

    async def _carry(self, way: _Way, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE_BYTES):
            await self._wait(way)
            if way.bytes_left is not None:
                target.write(piece[: way.bytes_left])
                way.bytes_left -= len(piece)
                if way.bytes_left <= 0:
                    self.cut()
                    return
            else:
                target.write(piece)
            await target.drain()

    async def _wait(self, way: _Way) -> None:
        """Until a piece may pass."""
        if time.monotonic() < way.slow_until_at:
            await asyncio.sleep(way.late_s)
        while (wait_s := max(way.closed_until_at, self.route.closed_until_at) - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)

    def cut(self) -> None:
        for _, writer in filter(None, (self._inner, self._outer)):
            writer.transport.abort()

    def close(self) -> None:
        for _, writer in filter(None, (self._inner, self._outer)):
            writer.close()


class Proxy:
    """Routes to the master's `port`; calm until `storm` is called."""

    def __init__(self, port: int, chance: random.Random, weather: Weather) -> None:
        self._port = port
        self._chance = chance
        self._weather = weather
        self._routes: dict[str, _Route] = {}
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._misfortunes: list[asyncio.Task[None]] = []
        self.happened: Counter[str] = Counter()
        """Misfortunes by name."""
        self.partitions: list[tuple[str, float, float]] = []
        """(route, from, until), in seconds since the epoch."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()

    def route(self, name: str) -> int:
        """The port of the route `name`, which is made at the first call."""
        if name not in self._routes:
            self._call(self._open(name))
        return self._routes[name].port

    def storm(self) -> None:
        self._call(self._begin())

    def calm(self) -> None:
        """No further misfortunes, and an end of those that last."""
        self._call(self._end())

    def stop(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()  # type: ignore[arg-type]

    # ── on the proxy's thread ─────────────────────────────────────────────────────────────────────

    async def _open(self, name: str) -> None:
        route = self._routes[name] = _Route(name)
        server = await asyncio.start_server(lambda *ends: self._accept(route, ends), "127.0.0.1", 0, backlog=256)
        route.port = server.sockets[0].getsockname()[1]
        self._servers.append(server)

    async def _accept(self, route: _Route, ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        connection, task = _Connection(route, ends), asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        route.connections.add(connection)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the server would report it as an error of ours
                await connection.serve(self._port)
        finally:
            route.connections.discard(connection)
            self._tasks.discard(task)
            connection.close()

    async def _begin(self) -> None:
        self._misfortunes = [
            asyncio.ensure_future(self._now_and_then(self._weather.between_s, self._strike)),
            asyncio.ensure_future(self._now_and_then(self._weather.partition_between_s, self._part)),
        ]

    async def _end(self) -> None:
        for task in self._misfortunes:
            task.cancel()
        await asyncio.gather(*self._misfortunes, return_exceptions=True)
        self._misfortunes = []
        for route in self._routes.values():
            await _calm(route)

    async def _close(self) -> None:
        await self._end()
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _now_and_then(self, between_s: float, happen: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / between_s))
            happen()

    def _strike(self) -> None:
        routes = [route for route in self._routes.values() if route.connections]
        if not routes:
            return
        route = self._chance.choice(routes)  # of a session as often as of the many connections of clients
        connection = self._chance.choice(list(route.connections))
        name = self._chance.choice(("cut", "torn", "torn", "slow", "stalled", "unanswered"))
        self.happened[name] += 1
        self._befall(name, connection, self._chance.choice(connection.ways))

    def _befall(self, name: str, connection: _Connection, way: _Way) -> None:
        lasts_s = self._chance.uniform(0.1, self._weather.stall_most_s)
        until_at = time.monotonic() + lasts_s
        if name == "cut":
            connection.cut()
        elif name == "torn":
            way.bytes_left = self._chance.randint(1, _TORN_BYTES)
        elif name == "slow":
            way.slow_until_at, way.late_s = until_at, self._chance.uniform(0.01, self._weather.late_most_s)
        elif name == "stalled":
            way.closed_until_at = until_at
        else:
            connection.ways[_DOWN].closed_until_at = until_at
            asyncio.get_running_loop().call_later(lasts_s / 2, connection.cut)

    def _part(self) -> None:
        route = self._chance.choice([route for route in self._routes.values() if route.name.startswith("worker")])
        lasts_s = self._chance.uniform(1.0, self._weather.partition_most_s)
        route.closed_until_at = time.monotonic() + lasts_s
        self.happened["partition"] += 1
        self.partitions.append((route.name, time.time(), time.time() + lasts_s))


async def _open_again(route: _Route) -> None:
    while (wait_s := route.closed_until_at - time.monotonic()) > 0:
        await asyncio.sleep(wait_s)


async def _calm(route: _Route) -> None:
    """What waits now may wait for the rest of its time: its end was drawn when it began, and is near."""
    await _open_again(route)
    for connection in route.connections:
        for way in connection.ways:
            way.bytes_left = None
