"""The TCP ports of attempts: whether the one that a job names is free, and which free one another job gets.

    port: 9100   in use by anybody ─▶ the attempt does not start, and the reason says by whom
    port: auto   the one that this job had here before, if it is free; else any, of AUTO_PORTS if possible

That a port is free before its process is started is what makes a check of it a check of this process. "In use"
means that somebody listens: connections that linger (TIME_WAIT) are in nobody's way. For two workers of one host,
whose services may not listen yet, the system keeps a name for each port that was given away, until it is given back
or the worker is gone.

`take` and `give_back` are called by the slot threads, `refusal` by the nursery as well.
"""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import threading
from dataclasses import replace

import psutil

from titan_core.errors import Conflict
from titan_core.protocol.checks import AUTO_PORT
from titan_core.protocol.messages import StartAttempt
from titan_core.worker.process import FORK_GATE
from titan_core.worker.process_tree import WORKER_MODULE
from titan_core.worker.procfs import TOKEN_VARIABLE

AUTO_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to outgoing connections (32768–60999), which come and go."""
MOST = 65_535
MOST_REMEMBERED = 10_000
"""Jobs whose last port is known."""
_OF_ATTEMPTS = {TOKEN_VARIABLE, "TITAN_RUN_ID", "TITAN_JOB_ID"}
_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


class Ports:
    """The ports that the live attempts of one worker have."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, str] = {}
        """Whose they are: `run/job`."""
        self._names: dict[int, socket.socket] = {}
        self._last: dict[str, int] = {}

    def take(self, start: StartAttempt) -> int:
        """The port of this attempt, nobody else's until `give_back`; 0 = it wants none. Raises Conflict."""
        wanted, key = start.task.port, f"{start.run_id}/{start.job_id}"
        if not wanted:
            return 0
        with self._lock:
            port = self._find(key) if wanted == AUTO_PORT else wanted
            if self._is_free(port):
                self._names[port] = _take_name(port)
                self._held[port] = key
                self._remember(key, port)
                return port
        raise Conflict(self.refusal(port) or f"port {port} was in use a moment ago")

    def give_back(self, port: int) -> None:
        """Nothing of the attempt is left."""
        with self._lock:
            self._held.pop(port, None)
            name = self._names.pop(port, None)
        if name is not None:
            with FORK_GATE:  # a child that has inherited it, until its own exec, would keep it
                name.close()

    def refusal(self, port: int) -> str:
        """Why nobody can be given this port, and who has it; empty: it is free."""
        if not 0 < port <= MOST:
            return f"{port} is no port that could be used"
        with self._lock:
            if self._is_free(port):
                return ""
            holder = self._held.get(port)
        return f"port {port} is in use by {holder or _owner(port)}"

    def _is_free(self, port: int) -> bool:
        return 0 < port <= MOST and port not in self._held and _nobody_listens(port)

    def _find(self, key: str) -> int:
        """A free port."""
        if self._is_free(last := self._last.get(key, 0)):
            return last
        first = random.randrange(len(AUTO_PORTS))  # so that two workers of a host do not meet
        turned = (*AUTO_PORTS[first:], *AUTO_PORTS[:first])
        return next(filter(self._is_free, turned), 0) or self._any()

    def _any(self) -> int:
        """One that the system gives; it may be that of an attempt which does not listen yet."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def _remember(self, key: str, port: int) -> None:
        self._last.pop(key, None)
        self._last[key] = port
        if len(self._last) > MOST_REMEMBERED:
            del self._last[next(iter(self._last))]


def with_port(start: StartAttempt, port: int) -> StartAttempt:
    """The order with its port, if there is one, known: `{port}` in arguments and health checks is that."""
    if not port:
        return start
    task = start.task
    health = replace(task.health, http=_fill(task.health.http, port), command=_fill_all(task.health.command, port))
    return replace(start, task=replace(task, port=port, args=_fill_all(task.args, port), health=health))


def _fill_all(texts: tuple[str, ...], port: int) -> tuple[str, ...]:
    return tuple(_fill(text, port) for text in texts)


def _fill(text: str, port: int) -> str:
    return text.replace("{port}", str(port))


def _take_name(port: int) -> socket.socket:
    """What holds the name of this port, which one worker can have. Raises Conflict."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0titan-port-{port}")
    except OSError:
        name.close()
        raise Conflict(f"port {port} was given to a job of another worker on this host") from None
    return name


def _nobody_listens(port: int) -> bool:
    with FORK_GATE:  # a child that inherits the probe, until its own exec, would be in the way of others
        return all(_can_bind(family, host, port) for family, host in _LOOPBACK)


def _can_bind(family: int, host: str, port: int) -> bool:
    """Whether no socket on that address, or on all of them, is in the way. What can not be asked is not."""
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _owner(port: int) -> str:
    """Who has the port, as far as this process may know."""
    with contextlib.suppress(psutil.Error, OSError):
        found = [one for one in psutil.net_connections("inet") if one.laddr and one.laddr.port == port and one.pid]
        found.sort(key=lambda one: one.status != psutil.CONN_LISTEN)
        if found:
            return _name(psutil.Process(found[0].pid))
    return "another program"


def _name(process: psutil.Process) -> str:
    """Of an attempt, also of another worker's: its job. Raises psutil.Error, OSError."""
    name = process.name()
    with contextlib.suppress(psutil.Error, OSError):
        environment = process.environ()
        if WORKER_MODULE in process.cmdline():
            name = "a Titan worker"
        elif environment.keys() >= _OF_ATTEMPTS:
            name = f"{environment['TITAN_RUN_ID']}/{environment['TITAN_JOB_ID']}"
    return f"{name} (pid {process.pid})"
