"""Receiving what jobs print, as datagrams, from all workers of the cluster, and putting it into `rings`.

The one thread `collector` reads the sockets, and asks the master again and again to have the workers send: that goes
on through restarts of either side, and ends by itself with this process. Where nothing comes (the workers can not
reach this machine, the master is away) there is nothing in the rings, and pages read the master's log instead.

On a loopback address there are two sockets of one port, since workers find `localhost` as one family or the other.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import select
import socket
import time
from collections.abc import Callable

from dashboard.config import DashboardConfig, is_loopback
from dashboard.rings import AttemptName, Rings
from titan_core.lifecycle import Component
from titan_sdk import TitanClient
from titan_sdk.datagrams import KEY_BYTES, MAX_DATAGRAM, Printed, read_datagram
from titan_sdk.errors import ConfigError, ProtocolError, TitanError

log = logging.getLogger("titan.dashboard")

LEASE_S = 15.0
"""So long the workers send without being asked again."""
RETRY_S = 1.0
"""So soon the master is asked again when it was away."""
BUFFER_BYTES = 8 * 1024 * 1024
"""What the kernel is asked to keep for us; it gives less if it allows no more."""
MAX_OFFSET = 1 << 48
"""Of a log: no job prints so much, and pages count beyond only with care."""
_AT_ONCE = 256
"""Datagrams that are read before whoever waits is told."""
_WILDCARDS = ("", "0.0.0.0", "::")


class Collector(Component):
    """Listens from the beginning; receives once started. Raises ConfigError if it can not listen."""

    def __init__(
        self, config: DashboardConfig, client: TitanClient, rings: Rings, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__("collector")
        self._config, self._client, self._rings, self._now = config, client, rings, now
        self._key = secrets.token_bytes(KEY_BYTES)
        self._sockets = _listening(config.host, config.udp_port)
        self._wake, self._woken = socket.socketpair()
        self.port: int = self._sockets[0].getsockname()[1]
        self._host = _told_to_workers(self._sockets[0].getsockname()[0])
        self.trouble = ""
        """Why the master was not asked the last time; empty: it was."""
        self.attached = 0
        """How often the master was asked with success."""
        self._attach_at = 0.0

    def start(self) -> None:
        self.spawn("collector", self._run)

    def on_stop(self) -> None:
        self._rings.stop()
        with contextlib.suppress(OSError):  # the thread has closed it already
            self._wake.send(b"x")
        if not self.threads():
            self._close()

    # ── the thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            while not self.stopping.is_set():
                self._attach_if_due()
                left_s = max(0.0, self._attach_at - self._now())
                readable, _, _ = select.select([*self._sockets, self._woken], [], [], left_s)
                for one in self._sockets:
                    if one in readable:
                        self._receive(one)
        finally:
            self._close()

    def _attach_if_due(self) -> None:
        if self._now() < self._attach_at:
            return
        try:
            self._attach_at = self._now() + LEASE_S / 3
            self._check_reach()
            self._client.attach_collector(self.port, self._key, self._host, LEASE_S)
            self.attached += 1
            self._say("")
        except TitanError as error:
            self._attach_at = self._now() + RETRY_S
            self._say(str(error))

    def _check_reach(self) -> None:
        """Raises ConfigError where workers would send in vain."""
        host, _ = self._config.access().address()
        if self._config.on_loopback and not is_loopback(host):
            raise ConfigError(f"this dashboard listens on its own machine only, and the master is at {host}")

    def _say(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            log.info("log lines are not sent here: %s", trouble, extra={"action": "collector.away"})
        self.trouble = trouble

    def _receive(self, one: socket.socket) -> None:
        """All that has come, up to a number, so that those who wait for it are told soon."""
        taken, refused = [], 0
        with contextlib.suppress(OSError):  # BlockingIOError: there is no more
            for _ in range(_AT_ONCE):
                datagram = one.recv(MAX_DATAGRAM + 1)
                printed = self._read(datagram)
                if printed is None:
                    refused += 1
                    continue
                name = AttemptName(printed.run_id, printed.job_id, printed.attempt)
                taken.append((name, printed.offset, printed.data))
        self._rings.add(taken, refused)

    def _read(self, datagram: bytes) -> Printed | None:
        """What a worker of this cluster has sent; None: nobody of them has."""
        try:
            printed = read_datagram(self._key, datagram)
        except ProtocolError:
            return None
        return printed if printed.offset <= MAX_OFFSET else None

    def _close(self) -> None:
        for one in (*self._sockets, self._wake, self._woken):
            one.close()


def _told_to_workers(host: str) -> str:
    """Empty: the workers are to send to where the master sees us coming from."""
    return "" if host in _WILDCARDS or is_loopback(host) else host


def _listening(host: str, port: int) -> list[socket.socket]:
    """Raises ConfigError."""
    host = host.strip("[]")
    try:
        if is_loopback(host):
            return _on_loopback(port)
        if host in _WILDCARDS:
            return [_on_all(port)]
        return [_bound(host, port)]
    except OSError as error:
        raise ConfigError(f"log lines can not be received on UDP port {port} of {host}: {error.strerror}") from None


def _on_loopback(port: int) -> list[socket.socket]:
    sockets = [_bound("127.0.0.1", port)]
    with contextlib.suppress(OSError):  # no IPv6 here, or somebody else has this port
        sockets.append(_bound("::1", sockets[0].getsockname()[1]))
    return sockets


def _on_all(port: int) -> socket.socket:
    try:
        return _bound("::", port)
    except OSError:  # no IPv6 here
        return _bound("0.0.0.0", port)


def _bound(host: str, port: int) -> socket.socket:
    """Raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    one = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        if host == "::":
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        one.bind(address)
    except OSError:
        one.close()
        raise
    return one
