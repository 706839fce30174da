"""`python -m titan_core.worker`: arguments, logging and signals around a Worker.

The main thread waits for signals: the first SIGTERM, SIGINT or SIGHUP stops gracefully, the second at once.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":  # Ctrl-C while the rest is imported ends the process, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import logging
import os
import sys
from typing import Any, NoReturn

from titan_core import failpoints
from titan_core.config import LOG_LEVELS, WorkerConfig, load_worker
from titan_core.errors import ConfigError, NotAuthorised, TitanError
from titan_core.log_lines import log_to_stderr
from titan_core.net.credentials import DEFAULT_PORT, find_token
from titan_core.net.dial import split_address
from titan_core.signals import NOTIFIED, STOP_SIGNALS, StopSignals
from titan_core.worker.app import Worker
from titan_core.worker.process_tree import PARENT_FLAG

log = logging.getLogger("titan.worker")

KILLED_S = 10.0
"""After the second signal: how long killed processes may take to be gone."""

_DESCRIPTION = "Runs jobs for a Titan master: registers with it, takes its work, sends back logs and results."
_EPILOG = """\
examples:
  python -m titan_core.worker                             port 8080, the master of this TITAN_HOME or localhost:9090
  python -m titan_core.worker 8081 localhost 9090         the same by position
  python -m titan_core.worker --port 0 --capability GPU   any free port, for jobs that require GPU

Every setting can also be a variable (TITAN_WORKER_SLOTS=8) or stand in <home>/.titan/config under 'worker:'.
Ctrl-C or SIGTERM stops the running jobs, each within its grace; a second one kills them at once.
exit codes: 0 stopped, 1 refused or not possible, 2 wrong usage, 5 the token is missing or wrong
"""


def main(argv: list[str] | None = None) -> int:
    """Run a worker until it is told to stop; the exit code."""
    flags = _flags(_parser(), argv)
    try:
        failpoints.arm(os.environ)
        config = load_worker(flags, os.environ)
    except ConfigError as error:
        return _say(error, 2)
    log_to_stderr(config.log_level)
    try:
        return run(config, find_token(config.token_file, config.home))
    except NotAuthorised as error:
        return _say(error, 5)
    except ConfigError as error:
        return _say(error, 1)
    except OSError as error:
        return _say(f"the home {config.home} can not be used: {error.filename}: {error.strerror}", 1)


def run(config: WorkerConfig, token: str) -> int:
    """A worker from start to end, on the main thread. Raises ConfigError when it can not start."""
    hangup_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup means it
    signals = StopSignals(STOP_SIGNALS if hangup_ignored else (*STOP_SIGNALS, signal.SIGHUP))
    worker = Worker(config, token, alone=True, on_ended=lambda worker: signals.notify())
    worker.start()
    log.info("worker on port %d, %s", worker.port, _described(config), extra={"action": "worker.started"})
    if signals.wait() != NOTIFIED:
        worker.stop()
        second = signals.wait()
        if second != NOTIFIED:
            worker.kill()
            worker.join(KILLED_S)
            _leave(128 + second)
    if worker.failure is not None:
        _say(worker.failure, worker.exit_code)
    if not worker.join(KILLED_S):
        _leave(1)
    return worker.exit_code


def _leave(code: int) -> NoReturn:
    """End the process without waiting for threads that wait for somebody else."""
    logging.shutdown()
    os._exit(code)


def _described(config: WorkerConfig) -> str:
    kinds = ", ".join(config.capabilities)
    return f"{config.slots} slots for {kinds}, master {config.master_host}:{config.master_port}, home {config.home}"


def _say(error: TitanError | str, code: int) -> int:
    print(f"titan worker: {error}", file=sys.stderr)
    return code


# ── arguments ─────────────────────────────────────────────────────────────────────────────────────


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m titan_core.worker",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_positions(parser)
    _add_flags(parser)
    return parser


def _add_positions(parser: argparse.ArgumentParser) -> None:
    positions = parser.add_argument_group("by position, in this order")
    positions.add_argument("port_", metavar="PORT", nargs="?", help="own port (8080; 0 = a free one)")
    positions.add_argument("master_host_", metavar="MASTER_HOST", nargs="?", help="where the master is (localhost)")
    positions.add_argument("master_port_", metavar="MASTER_PORT", nargs="?", help=f"its port ({DEFAULT_PORT})")
    positions.add_argument("capabilities_", metavar="CAPABILITY", nargs="?", help="what it can do (GENERAL)")
    positions.add_argument("permanent_", metavar="PERMANENT", nargs="?", help="true = never scaled down (false)")


def _add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--port", help="own port, the worker's identity on this host; 0 = a free one (8080)")
    add(
        "--master",
        metavar="HOST[:PORT]",
        help=f"where the master is (the one of this home, else localhost:{DEFAULT_PORT})",
    )
    add(
        "--capability",
        metavar="NAME[,NAME…]",
        dest="capabilities",
        action="append",
        help="what jobs may require; repeatable (GENERAL)",
    )
    add("--permanent", action="store_const", const=True, help="never scaled down")
    add(
        "--ephemeral",
        action="store_const",
        const=True,
        help="stopped when there is nothing to do, or no master for two minutes",
    )
    add("--slots", metavar="N", help="jobs at the same time (4)")
    add("--max-services", metavar="N", help="services beside them (32)")
    add(
        "--no-warm",
        dest="warm",
        action="store_const",
        const=False,
        help="start each Python script in a Python of its own, which takes longer",
    )
    add("--hostname", help="the worker's name in the cluster, with its port (this host's name)")
    add("--address", metavar="HOST", help="where its services are reached (from where it dials the master)")
    add("--home", metavar="DIR", help="directory of titan_workspace/ (TITAN_HOME, else the current directory)")
    add(
        "--token-file",
        metavar="FILE",
        help="the master's token (<home>/.titan/token, TITAN_TOKEN_FILE or TITAN_TOKEN)",
    )
    add("--shutdown-grace-s", metavar="SECONDS", help="most a job gets to end when the worker stops (10)")
    add(PARENT_FLAG, metavar="WORKER", help="set by the worker that starts this one")
    add("--log-level", metavar="LEVEL", help=f"one of {', '.join(LOG_LEVELS)} (info)")


def _flags(parser: argparse.ArgumentParser, argv: list[str] | None) -> dict[str, Any]:
    """What was given, by the field of WorkerConfig. A setting given by position and by flag is wrong usage."""
    given = {name: value for name, value in vars(parser.parse_args(argv)).items() if value is not None}
    if "master" in given:
        if "master_host_" in given:
            parser.error("the master is given twice: as MASTER_HOST and as --master")
        try:
            given["master_host"], given["master_port"] = split_address(given.pop("master"), DEFAULT_PORT)
        except ConfigError as error:
            parser.error(f"--master: {error}")
    for name in [name for name in given if name.endswith("_")]:
        if name.rstrip("_") in given:
            parser.error(f"{name.rstrip('_')} is given twice: by position and by flag")
        given[name.rstrip("_")] = given.pop(name)
    return given


if __name__ == "__main__":
    sys.exit(main())
