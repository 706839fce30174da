"""Those who keep services running: Titan, and what a user would pick instead of it.

A keeper is a context manager: `KEEPERS[name](count)` runs so many of the services of `answering`, says where, and on
leaving ends all it has started. Each has its defaults, but for what makes an attempt a good one, after which
the next restart is the first again: in Titan `min_uptime`, which is GOOD_S instead of 10 s; in PM2 `min_uptime`
and in supervisord `startsecs`, which are GOOD_S by themselves.

PM2 is installed with npm into PM2_DIRECTORY when it is first wanted; supervisord comes with the extra `bench`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.benchmarks.answering import command, write_program
from titan_test_suite.pytests.benchmarks.cluster import running_cluster
from titan_test_suite.pytests.benchmarks.figures import TITAN
from titan_test_suite.pytests.support.ports import free_ports

GOOD_S = 1.0
"""An attempt that lasted so long was a good one, for every keeper."""
FIXED = "titan, fixed port"
PM2_DIRECTORY = Path("build/pm2")
PM2 = PM2_DIRECTORY / "node_modules/.bin/pm2"
PM2_PACKAGE = "pm2@7"
SUPERVISORD = """\
[supervisord]
nodaemon=true
logfile=%(here)s/supervisord.log
pidfile=%(here)s/supervisord.pid
childlogdir=%(here)s
"""
"""The settings of its daemon; its services follow."""
INSTALLING_S, STARTING_S, ENDING_S = 180.0, 60.0, 15.0
MARK = "TITAN_BENCH_HOME"
"""The variable by which processes of a peer are known, its services included."""


class Kept(NamedTuple):
    pid: int
    """Of the process that looks after them: Titan's worker, the daemons of the others."""
    ports: list[int]
    """Where the services answer, or soon will."""


# ── Titan ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def titan(count: int) -> Iterator[Kept]:
    """A master and a worker. The ports are the worker's choice (`port: auto`)."""
    with _titan(["auto"] * count) as kept:
        yield kept


@contextmanager
def titan_with_fixed_ports(count: int) -> Iterator[Kept]:
    with _titan(free_ports(count)) as kept:
        yield kept


@contextmanager
def _titan(ports: Sequence[str | int]) -> Iterator[Kept]:
    with running_cluster(1, "--provisioner", "none") as cluster, cluster.client() as client:
        program = write_program(cluster.home)
        jobs = [_job(number, program, port) for number, port in enumerate(ports)]
        run_id = client.submit_dag("services", jobs).run_id
        yield Kept(cluster.workers[0].pid, [_port(client, f"{run_id}/{job.job_id}") for job in jobs])


def _job(number: int, program: str, port: str | int) -> TitanJob:
    return TitanJob(f"service-{number}", program, args=["{port}"], type="service", port=port, min_uptime=GOOD_S)


def _port(client: TitanClient, key: str) -> int:
    client.wait_service(key, STARTING_S)
    (address,) = client.service_addresses(key)
    return int(address.rpartition(":")[2])


# ── PM2 ───────────────────────────────────────────────────────────────────────────────────────────


def find_pm2() -> None:
    """Have PM2. Raises ImportError where it can not be installed."""
    if PM2.exists():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise ImportError("it needs npm, which is not here")
    install = [npm, "install", "--prefix", str(PM2_DIRECTORY), "--no-audit", "--no-fund", "--silent", PM2_PACKAGE]
    try:
        PM2_DIRECTORY.mkdir(parents=True, exist_ok=True)
        subprocess.run(install, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALLING_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ImportError(f"npm can not install it: {error}") from None


@contextmanager
def pm2(count: int) -> Iterator[Kept]:
    """A daemon that asks nobody whether there is a newer one."""
    with _home() as (home, environ):
        ports, settings = free_ports(count), home / "services.json"
        program = write_program(home)
        settings.write_text(json.dumps({"apps": [_app(program, port) for port in ports]}))
        environ |= {"PM2_HOME": str(home), "PM2_DISCRETE_MODE": "1", "PM2_DISABLE_VERSION_CHECK": "1"}
        start = [str(PM2.absolute()), "start", str(settings)]
        subprocess.run(start, cwd=home, env=environ, capture_output=True, timeout=STARTING_S, check=True)
        daemon = int((home / "pm2.pid").read_text())
        try:
            yield Kept(daemon, ports)
        finally:
            _end(daemon, signal.SIGTERM)


def _app(program: str, port: int) -> dict[str, object]:
    interpreter, option, *args = command(program, port)
    return {
        "name": f"service-{port}",
        "script": args[0],
        "args": args[1:],
        "interpreter": interpreter,
        "interpreter_args": option,
    }


# ── supervisord ───────────────────────────────────────────────────────────────────────────────────


def find_supervisord() -> None:
    """Raises ImportError."""
    if importlib.util.find_spec("supervisor") is None:
        raise ImportError("it is not installed")


@contextmanager
def supervisord(count: int) -> Iterator[Kept]:
    with _home() as (home, environ):
        ports, settings = free_ports(count), home / "supervisord.conf"
        program = write_program(home)
        settings.write_text(SUPERVISORD + "".join(_section(program, port) for port in ports))
        start = [sys.executable, "-m", "supervisor.supervisord", "-c", str(settings)]
        quiet = subprocess.DEVNULL
        daemon = subprocess.Popen(
            start, cwd=home, env=environ, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True
        )
        try:
            yield Kept(daemon.pid, ports)
        finally:
            daemon.terminate()
            daemon.wait(ENDING_S)


def _section(program: str, port: int) -> str:
    return f"\n[program:service-{port}]\ncommand={shlex.join(command(program, port))}\n"


# ── all of them ───────────────────────────────────────────────────────────────────────────────────

KEEPERS: dict[str, Callable[[int], AbstractContextManager[Kept]]] = {
    TITAN: titan,
    FIXED: titan_with_fixed_ports,
    "pm2": pm2,
    "supervisord": supervisord,
}
PEERS: dict[str, Callable[[], None]] = {"pm2": find_pm2, "supervisord": find_supervisord}
"""Each makes sure that the peer is there. Raises ImportError, which says why it is not."""


@contextmanager
def _home() -> Iterator[tuple[Path, dict[str, str]]]:
    """A directory for a peer, and its environment; on leaving, whatever still bears the mark of it is killed."""
    with tempfile.TemporaryDirectory(prefix="titan-keeper-") as home:
        try:
            yield Path(home), os.environ | {MARK: home}
        finally:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if process.environ().get(MARK) == home:
                        process.kill()


def _end(pid: int, number: int) -> None:
    """Signal a process that is no child of ours, and wait for its end, but not for ever."""
    with contextlib.suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(pidfd, number)
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(ENDING_S * 1000)
        finally:
            os.close(pidfd)
