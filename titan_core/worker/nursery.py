"""Other workers, started beside this one because the master asks for them: the cluster grows from within.

    SPAWN_WORKER ─▶ is there room? ─▶ a process of its own ─▶ it registers with the master by itself
                         │ no                 │ it has ended, not well, within YOUNG_S
                         └──── SPAWN_FAILED ──┘ with what it said last; one that ends later is logged

A child is no job and belongs to nobody: it outlives this worker, however that ends, has a session of its own, no
descriptor of ours, and the log `titan_workspace/workers/<port>.log`. It is told from the orphans of jobs by the
thread that forks it: the kernel lists it as that one's child, for as long as the thread lives, which is as long as
there are any jobs.

The thread sleeps on the pidfds of its children and on a descriptor that turns readable with each order. `order` is
called by the link's reader.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

from titan_core.config import WorkerConfig
from titan_core.failpoints import VARIABLE as FAILPOINT
from titan_core.lifecycle import Component
from titan_core.protocol.checks import shortened
from titan_core.protocol.messages import SpawnFailed, SpawnWorker
from titan_core.protocol.wire import MIB
from titan_core.worker.environment import address_of, credentials, source_root
from titan_core.worker.ports import Ports
from titan_core.worker.process import Launch, signal_name, start_process
from titan_core.worker.process_tree import PARENT_FLAG, WORKER_MODULE, OrphanHouse

log = logging.getLogger("titan.worker")

ROOM_BYTES = 256 * MIB
"""Of memory that has to be available on the machine before another worker is started on it."""
YOUNG_S = 30.0
"""A child that ends sooner, and not well, has probably never registered: the master is told."""
LOG_BYTES = MIB
"""A log that is larger makes room for a new one when its worker is started; one older one is kept."""
LAST_BYTES = 4096
_NOT_INHERITED = frozenset(
    {
        FAILPOINT,
        "PORT",
        *(f"TITAN_{name}" for name in ("PORT", "SHARED", "RUN_ID", "JOB_ID", "ATTEMPT", "IDEMPOTENCY_KEY", "WORKER")),
    }
)
"""What concerns the parent, or the attempt that it may be itself. The token of that is inherited: what a job starts
is to end with it, whoever starts it."""
_NOT_INHERITED_PREFIXES = ("TITAN_WORKER_", "TITAN_SERVICE_")


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    log_from: int
    """Where in the log it begins to say something."""
    started_at: float


class Nursery(Component):
    """Starts workers like this one, of which `config` and `worker_id()` say what it is, and reaps them.

    `fail(failed)` tells the master.
    """

    def __init__(
        self,
        config: WorkerConfig,
        worker_id: Callable[[], str],
        ports: Ports,
        house: OrphanHouse,
        fail: Callable[[SpawnFailed], object],
    ) -> None:
        super().__init__("nursery")
        self._config = config
        self._worker_id = worker_id
        self._ports = ports
        self._house = house
        self._fail = fail
        self._orders: deque[SpawnWorker] = deque()
        self._children: dict[int, _Child] = {}
        """By pidfd; the thread's own."""
        self._lock = threading.Lock()
        self._wake = -1

    def start(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.spawn("nursery", self._run)

    def on_stop(self) -> None:
        self._rouse()

    def order(self, order: SpawnWorker) -> None:
        """Start a worker on this port; returns at once. The same order twice, soon after each other, is one order."""
        self._orders.append(order)
        self._rouse()

    def refuse(self, port: int, reason: str) -> None:
        """Tell the master that there is no such worker. Any thread may."""
        log.warning("no worker on port %d: %s", port, reason, extra={"action": "spawn.failed"})
        self._fail(SpawnFailed(port, shortened(reason)))

    def _rouse(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    # ── its thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                while self._orders:
                    self._obey(self._orders.popleft())
                for pidfd in self._wait():
                    self._bury(pidfd)
        finally:
            self._let_all_go()

    def _wait(self) -> list[int]:
        """Sleep until something happens; the children that have ended."""
        poller = select.poll()
        for descriptor in (self._wake, *self._children):
            poller.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poller.poll()]
        if self._wake in ready:
            os.eventfd_read(self._wake)
        return [descriptor for descriptor in ready if descriptor != self._wake]

    def _obey(self, order: SpawnWorker) -> None:
        if any(child.port == order.port and _is_young(child) for child in self._children.values()):
            return
        refusal = self._refusal(order.port)
        if not refusal:
            try:
                self._start(order)
                return
            except (OSError, ValueError) as error:
                refusal = f"no process could be made: {getattr(error, 'strerror', None) or error}"
        self.refuse(order.port, refusal)

    def _refusal(self, port: int) -> str:
        """Why no worker can be started on this port; empty: one can."""
        available = psutil.virtual_memory().available
        if available < ROOM_BYTES:
            return f"{available // MIB} MiB of memory are available there, a worker needs {ROOM_BYTES // MIB} MiB"
        return self._ports.refusal(port)

    def _start(self, order: SpawnWorker) -> None:
        """Raises OSError."""
        path = self._config.home / "titan_workspace" / "workers" / f"{order.port}.log"
        output = _open_log(path)
        try:
            log_from = os.fstat(output).st_size
            command = spawn_command(self._config, self._worker_id(), order)
            process = start_process(Launch(command, "/", spawn_environment(self._config, os.environ), output))
        finally:
            os.close(output)
        self._house.let_go(process.pid)
        pidfd = os.pidfd_open(process.pid)
        self._children[pidfd] = _Child(process, order.port, path, log_from, time.monotonic())
        log.info(
            "started a worker on port %d, process %d, which logs to %s",
            order.port,
            process.pid,
            path,
            extra={"action": "spawn.started", "pid": process.pid},
        )

    def _bury(self, pidfd: int) -> None:
        child = self._children.pop(pidfd)
        os.close(pidfd)
        code = child.process.wait()
        if code and _is_young(child):
            self.refuse(child.port, _last_words(child) or _ending(code))
        else:
            log.info(
                "the worker on port %d has ended: %s", child.port, _ending(code), extra={"action": "spawn.ended"}
            )

    def _let_all_go(self) -> None:
        """They go on without us."""
        for pidfd, child in self._children.items():
            os.close(pidfd)
            child.process.returncode = 0  # so that `subprocess` does not miss it
        self._children.clear()
        with self._lock:
            os.close(self._wake)
            self._wake = -1


# ── what a child is started with ──────────────────────────────────────────────────────────────────


def spawn_command(config: WorkerConfig, parent: str, order: SpawnWorker) -> list[str]:
    """That of a worker like the one with this configuration, but for what is ordered."""
    flags = {
        "--port": str(order.port),
        "--master": address_of((config.master_host, config.master_port)),
        "--capability": ",".join(order.capabilities or config.capabilities),
        "--hostname": config.hostname,
        "--slots": str(config.slots),
        "--max-services": str(config.max_services),
        "--home": str(config.home.absolute()),
        "--shutdown-grace-s": str(config.shutdown_grace_s),
        "--log-level": config.log_level,
        PARENT_FLAG: parent,
    }
    if config.token_file is not None:
        flags["--token-file"] = str(Path(config.token_file).absolute())
    if config.address:
        flags["--address"] = config.address
    given = [text for flag in flags.items() for text in flag]
    switches = ["--ephemeral"] * order.ephemeral + ["--no-warm"] * (not config.warm)
    return [sys.executable, "-m", WORKER_MODULE, *given, *switches]


def spawn_environment(config: WorkerConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """The parent's own, without what concerns the parent alone, and with what of its settings is no flag."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _NOT_INHERITED and not name.startswith(_NOT_INHERITED_PREFIXES)
    }
    if sources := source_root():
        paths = [sources, *environ.get("PYTHONPATH", "").split(os.pathsep)]
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, dict.fromkeys(paths)))
    # What the file of the home says of permanent and ephemeral workers is said of the parent.
    settings = {"PERMANENT": "false", "EPHEMERAL": "false", "MAX_LOG_BYTES": str(config.max_log_bytes)}
    settings |= {"RECONNECT_MIN_S": str(config.reconnect_min_s), "RECONNECT_MAX_S": str(config.reconnect_max_s)}
    kept |= {f"TITAN_WORKER_{name}": value for name, value in settings.items()}
    return kept | credentials(environ, config.home, config.token_file)


# ── what it leaves ────────────────────────────────────────────────────────────────────────────────


def _open_log(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _is_young(child: _Child) -> bool:
    return time.monotonic() - child.started_at < YOUNG_S


def _last_words(child: _Child) -> str:
    """The last line that it has printed; empty: there is none."""
    with contextlib.suppress(OSError), open(child.log, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(child.log_from, size - LAST_BYTES))
        lines = file.read(LAST_BYTES).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""
    return ""


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"ended by {signal_name(-code)}"
