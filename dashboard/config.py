"""What the dashboard is told: where it listens, where its master is, who may reach it. No sockets; any thread."""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from titan_sdk.access import Access
from titan_sdk.errors import ConfigError, TitanError

DEFAULT_PORT = 5000
MIN_THREADS, MAX_THREADS = 4, 256
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class DashboardConfig:
    """Raises ConfigError for what can not be used."""

    host: str = LOOPBACK[1]
    port: int = DEFAULT_PORT
    """0 takes a free one."""
    master: str | None = None
    """`host:port`; None: TITAN_MASTER, or what the home says."""
    token: str | None = None
    """None: it is looked for as the program `titan` does."""
    token_file: str | None = None
    home: Path | None = None
    read_only: bool = False
    allow_hosts: tuple[str, ...] = ()
    """Further names under which browsers may ask for it."""
    threads: int = 16
    """So many requests are answered at once; half of them may be streams."""
    udp_port: int = 0
    """Where workers send what jobs print; 0 takes a free one."""
    log_level: str = "warning"

    def __post_init__(self) -> None:
        for name, port in (("port", self.port), ("udp-port", self.udp_port)):
            if not 0 <= port <= 65535:
                raise ConfigError(f"{name} is {port}; use a number from 0 to 65535")
        if not MIN_THREADS <= self.threads <= MAX_THREADS:
            raise ConfigError(f"threads is {self.threads}; use a number from {MIN_THREADS} to {MAX_THREADS}")

    @property
    def on_loopback(self) -> bool:
        """Nobody but this machine reaches it, nor asks for it under another name, as one behind a proxy does: reading
        needs no login."""
        return all(map(is_loopback, (self.host, *self.allow_hosts)))

    @property
    def hosts(self) -> frozenset[str]:
        """The names that a Host header may have, without their ports, in lower case."""
        named = (self.host, *self.allow_hosts)
        return frozenset(LOOPBACK) | {name.lower().strip("[]") for name in named if name not in _WILDCARDS}

    def access(self) -> Access:
        """Where the master is, and its token; looked up afresh at each use."""
        return Access(self.master, None, self.token, self.token_file, self.home)

    def token_mark(self) -> bytes:
        """Tells one token from another, without saying it; empty: none is found at this moment."""
        try:
            return hashlib.sha256(self.access().find_token().encode()).digest()
        except TitanError:
            return b""


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def parser() -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(
        prog="python -m dashboard", description="Show a Titan cluster in the browser; see http://localhost:5000."
    )
    option = arguments.add_argument
    option("--host", default=LOOPBACK[1], help="address to listen on (default 127.0.0.1: this machine only)")
    option("--port", type=int, default=DEFAULT_PORT, help="port to listen on (default 5000; 0 takes a free one)")
    option("--master", metavar="HOST:PORT", help="the master (default TITAN_MASTER, or what the home says)")
    option("--token-file", metavar="FILE", help="read the token from this file")
    option("--home", type=Path, help="the home of the master (default TITAN_HOME, or the current directory)")
    option("--read-only", action="store_true", help="offer no actions, and refuse them")
    option("--allow-host", metavar="NAME", action="append", default=[], help="a further name browsers may use for it")
    option("--threads", type=int, default=16, help="answer so many requests at once (default 16)")
    option("--udp-port", type=int, default=0, help="receive what jobs print on this UDP port (default 0: a free one)")
    option("--log-level", default="warning", choices=("debug", "info", "warning", "error"))
    return arguments


def load(options: argparse.Namespace) -> DashboardConfig:
    """What a command line says. Raises ConfigError."""
    return DashboardConfig(
        host=options.host,
        port=options.port,
        master=options.master,
        token_file=options.token_file,
        home=options.home.absolute() if options.home else None,
        read_only=options.read_only,
        allow_hosts=tuple(options.allow_host),
        threads=options.threads,
        udp_port=options.udp_port,
        log_level=options.log_level,
    )
