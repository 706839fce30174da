"""`python -m titan_core.master`: a master in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal

if __name__ == "__main__":  # Ctrl-C while the rest is imported ends the process, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import ipaddress
import logging
import os
import sys

from titan_core import failpoints
from titan_core.config import load_master
from titan_core.errors import ConfigError, TitanError
from titan_core.log_lines import log_to_stderr
from titan_core.master.app import STOP_S, Master, tune_interpreter
from titan_core.signals import NOTIFIED, StopSignals

log = logging.getLogger("titan.master")

EXIT_ERROR, EXIT_USAGE = 1, 2


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m titan_core.master",
        description="Start a Titan master: it accepts jobs, and hands them to the workers that dial it.",
        epilog="Every option can also be set as TITAN_MASTER_<NAME> or in <home>/.titan/config.",
    )
    option = arguments.add_argument
    option("--host", help="address to listen on (default 127.0.0.1; 0.0.0.0 opens it to the network)")
    option("--port", help="port to listen on (default 9090; 0 takes a free one)")
    option("--home", help="directory of perm_files/ and .titan/ (default TITAN_HOME, or the current directory)")
    option("--token-file", help="read the token from this file instead of <home>/.titan/token")
    option("--legacy-clients", action="store_const", const=True, help="serve text clients, which prove no token")
    option("--legacy-network", metavar="NETWORK", help="where text clients may come from (default loopback)")
    option("--heartbeat-s", metavar="SECONDS", help="greet workers this often (default 10)")
    option("--death-s", metavar="SECONDS", help="take a worker for dead after this silence (default 30)")
    option("--grace-s", metavar="SECONDS", help="after a start, wait so long for workers to come back (default 60)")
    option("--keep-days", metavar="DAYS", help="delete finished runs that are older (default 30; 0 = never)")
    option("--keep-runs", metavar="COUNT", help="delete the oldest finished runs beyond so many (default 10000)")
    option("--in-memory", action="store_const", const=True, help="store nothing: for throw-away clusters")
    option("--log-level", help="debug, info, warning or error (default info)")
    _add_scaling(arguments)
    return arguments


def _add_scaling(arguments: argparse.ArgumentParser) -> None:
    option = arguments.add_argument_group("how the cluster grows and shrinks").add_argument
    option("--provisioner", metavar="NAME", help="inception, webhook, command or none (default inception)")
    option("--max-workers", metavar="COUNT", help="do not grow beyond so many workers (default 5)")
    option("--scale-s", metavar="SECONDS", help="look this often whether workers are wanted (default 15)")
    option("--scale-up-s", metavar="SECONDS", help="grow when jobs have found no slot for so long (default 1)")
    option("--scale-down-s", metavar="SECONDS", help="stop ephemeral workers that were idle so long (default 45)")
    option("--worker-ports", metavar="LOW-HIGH", help="ports for workers that workers start (default 8090-8200)")
    option("--webhook-url", metavar="URL", help="where the provisioner webhook asks for workers")
    option("--webhook-secret-file", metavar="FILE", help="sign these calls with the secret in this file")
    option("--provision-command", metavar="COMMAND", help="what the provisioner command runs to get workers")
    option("--release-command", metavar="COMMAND", help="what it runs when a worker has been stopped")


def main(argv: list[str] | None = None) -> int:
    signals = StopSignals()
    try:
        failpoints.arm(os.environ)
        config = load_master(vars(parser().parse_args(argv)), os.environ)
    except ConfigError as error:
        return _say(error, EXIT_USAGE)
    log_to_stderr(config.log_level)
    tune_interpreter()
    try:
        master = Master(config)
        master.on_failure = lambda component: signals.notify()
        master.start()
    except TitanError as error:
        return _say(error, EXIT_ERROR)
    except OSError as error:
        return _say(f"the home {config.home} can not be used: {error.filename}: {error.strerror}", EXIT_ERROR)
    _warn_if_open(config.host)
    signals.wait()
    return _stop(master, signals)


def _say(problem: TitanError | str, code: int) -> int:
    print(f"titan master: {problem}", file=sys.stderr)
    return code


def _stop(master: Master, signals: StopSignals) -> int:
    """End the master; a second signal meanwhile ends the process at once."""
    master.stop()
    joined: list[bool] = []
    master.spawn("joiner", _join, master, signals, joined)
    second = signals.wait()
    if second != NOTIFIED:
        os._exit(128 + second)
    return 0 if all(joined) and not master.failed else EXIT_ERROR


def _join(master: Master, signals: StopSignals, joined: list[bool]) -> None:
    joined.append(master.join(STOP_S))
    signals.notify()


def _warn_if_open(host: str) -> None:
    if not _is_loopback(host):
        log.warning(
            "reachable from the network: peers prove that they know the token, but nothing is encrypted; "
            "stay inside a network you trust, a VPN or an SSH tunnel",
            extra={"action": "master.open"},
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


if __name__ == "__main__":
    sys.exit(main())
