"""The processes of a storm's cluster: a master and workers that keep their ports and homes over every restart.

The master listens behind the proxy; everybody else knows the proxy's addresses only. All methods are called by
one thread at a time: the one that starts the storm, then the one that makes the faults.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from titan_test_suite.pytests.support.cluster import Program
from titan_test_suite.pytests.support.ports import free_port


class Member:
    """The master or a worker, in its present process."""

    def __init__(self, name: str, arguments: list[str], directory: Path, environ: Mapping[str, str]) -> None:
        self.name = name
        self._arguments = arguments
        self._directory = directory
        self._environ = dict(environ)
        self._program: Program | None = None

    @property
    def pid(self) -> int:
        return self._program.pid if self._program else 0

    def start(self, **extra: str) -> None:
        """A process of it; `extra` variables are for this one only."""
        self._program = Program(self.name, self._arguments, self._directory, {**self._environ, **extra})

    def kill(self) -> float:
        """`kill -9`, waited for; when that was, in seconds since the epoch."""
        assert self._program is not None
        at_wall = time.time()
        self._program.kill()
        return at_wall

    def stop(self) -> int:
        """SIGTERM; the exit code. Raises AssertionError when it does not stop."""
        return self._program.stop() if self._program else 0

    def exit_code(self) -> int | None:
        """How the present process ended; None while it runs."""
        return self._program.process.poll() if self._program else None

    def wait(self) -> None:
        """Until the present process has ended."""
        if self._program is not None:
            self._program.process.wait()

    def tail(self) -> str:
        return self._program.tail() if self._program else ""


class Programs:
    """A master and `workers` workers below `home`, on free ports; none is started.

    `route(name)` gives the port at which the member or client of that name reaches the master.
    """

    def __init__(self, home: Path, workers: int, master_flags: list[str]) -> None:
        self.home = home
        self.master_port = free_port()
        self.master = Member(
            "master",
            ["titan_core.master", "--port", str(self.master_port), *master_flags],
            home,
            # What is judged in the end must still be there, and what rests in a crash loop be back by then.
            _environ(
                home,
                TITAN_MASTER_KEEP_RUNS="0",
                TITAN_MASTER_KEEP_DAYS="0",
                TITAN_MASTER_RESTART_MAX_S="1",
                TITAN_MASTER_CRASH_LOOP_RETRY_S="2",
            ),
        )
        self._ports = [free_port() for _ in range(workers)]
        self.workers: list[Member] = []

    @property
    def token_file(self) -> Path:
        return self.home / ".titan" / "token"

    @property
    def worker_names(self) -> dict[str, str]:
        """What the programs of the workers are called here, by `host:port`."""
        return {f"{socket.gethostname()}:{port}": f"worker-{n}" for n, port in enumerate(self._ports)}

    @property
    def worker_homes(self) -> dict[str, Path]:
        return {worker.name: self.home / worker.name for worker in self.workers}

    @property
    def all(self) -> list[Member]:
        return [self.master, *self.workers]

    def connect_workers(self, route: Callable[[str], int]) -> None:
        """Make the workers, now that it is known how each reaches the master."""
        for number, port in enumerate(self._ports):
            name = f"worker-{number}"
            home = self.home / name
            home.mkdir(exist_ok=True)
            arguments = ["titan_core.worker", str(port), "127.0.0.1", str(route(name))]
            environ = _environ(home, TITAN_TOKEN_FILE=str(self.token_file), TITAN_WORKER_RECONNECT_MAX_S="2")
            self.workers.append(Member(name, arguments, home, environ))


def _environ(home: Path, **variables: str) -> dict[str, str]:
    """What a member sees: nothing of a cluster of the user's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    return {**kept, "TITAN_HOME": str(home), **variables}
