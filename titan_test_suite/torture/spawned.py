"""The workers that workers of the storm have started: who they are, and that none of them is left.

They are known from the master's list while they live, and from their logs afterwards: a worker's home has one for
each port on which it ever started another.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import NamedTuple

from titan_core.protocol.messages import ListWorkers, WorkerList
from titan_sdk.access import Access
from titan_sdk.errors import TitanError
from titan_sdk.transport import Transport

_ANSWER_S = 1.0


class Spawned(NamedTuple):
    worker_id: str
    pid: int
    parent: str
    """`host:port` of the worker that has started it."""


def listed(access: Access) -> list[Spawned]:
    """Those that the master knows; none when it does not answer."""
    transport = Transport(access, _ANSWER_S)
    try:
        workers = transport.ask(ListWorkers(), WorkerList).workers
    except TitanError:
        return []
    finally:
        transport.close()
    return [Spawned(one.worker_id, one.pid, one.parent) for one in workers if one.ephemeral]


def processes(home: Path) -> dict[int, str]:
    """Command lines of the live processes of such workers of this storm, by pid."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (arguments := _arguments(entry)):
            is_worker = "titan_core.worker" in arguments and "--parent" in arguments
            if is_worker and any(argument.startswith(str(home)) for argument in arguments):
                found[int(entry.name)] = " ".join(arguments)
    return found


def kill(worker: Spawned, home: Path) -> str:
    """`kill -9`; its command line, or empty if it was not there."""
    command = processes(home).get(worker.pid, "")
    if command:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)
    return command


def kill_all(home: Path) -> None:
    for pid in processes(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def ever(homes: dict[str, Path]) -> dict[str, set[str]]:
    """Names of the programs that have ever started a worker of this `host:port`; `homes` are theirs, by name."""
    found: dict[str, set[str]] = {}
    for name, home in homes.items():
        for log in (home / "titan_workspace" / "workers").glob("*.log"):
            found.setdefault(f"{socket.gethostname()}:{log.stem}", set()).add(name)
    return found


def _arguments(entry: Path) -> list[str]:
    """Of a process; empty when it is gone, or a zombie."""
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
