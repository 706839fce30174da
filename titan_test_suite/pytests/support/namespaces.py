"""A small network of our own: namespaces on a bridge, which can be cut without anybody being told.

    the test, the master                     a worker            a worker
        198.18.x.1  ══ bridge ══ veth ── veth 198.18.x.2    …    198.18.x.3

A cut takes the cables off the bridge: both sides keep their addresses and see a link, and what they send is dropped.
Needs root, and a kernel and a container that allow it: `refusal` says what is missing. Everything bears the pid, so
that two suites do not meet, and is removed in the end. What runs in a namespace is to end before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence

_MOST = 5
"""Namespaces of a network: it has 8 addresses."""
_BRIDGE_MAC = "02:00:00:00:00:01"
"""Its own, not that of a cable: our system would take what comes to that one also from a cable on its own."""


class Network:
    """`seats` namespaces. Use as a context manager."""

    def __init__(self, seats: int) -> None:
        assert seats <= _MOST
        pid = os.getpid()
        third, fourth = divmod(pid % 16384 * 8, 256)
        self._prefix = f"198.{18 + third // 256}.{third % 256}."  # set aside for measuring networks: RFC 2544
        self._first = fourth + 1
        self._bridge = f"tn{pid}"
        self._seats = range(seats)
        self._open = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """Where those in the namespaces find us."""
        return f"{self._prefix}{self._first}"

    def inside(self, seat: int) -> Sequence[str]:
        """What to put before a command that is to run there."""
        return ["nsenter", f"--net=/run/netns/{self._name(seat)}"]

    def cut(self) -> None:
        """From now on, nothing arrives, on either side."""
        for seat in self._seats:
            _ip("link", "set", self._cable(seat), "nomaster")

    def heal(self) -> None:
        for seat in self._seats:
            _ip("link", "set", self._cable(seat), "master", self._bridge)

    def __enter__(self) -> Network:
        with contextlib.ExitStack() as opening:
            _ip("link", "add", self._bridge, "address", _BRIDGE_MAC, "type", "bridge", "forward_delay", "0")
            opening.callback(_ip, "link", "del", self._bridge)
            _ip("address", "add", f"{self.address}/29", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for seat in self._seats:
                self._add(seat, opening)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _add(self, seat: int, opening: contextlib.ExitStack) -> None:
        name, cable = self._name(seat), self._cable(seat)
        _ip("netns", "add", name)
        opening.callback(_ip, "netns", "del", name)
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        opening.callback(_ip, "link", "del", cable)  # not left to the namespace, which ends when it likes
        _ip("link", "set", cable, "master", self._bridge, "arp", "off", "up")
        _ip("-n", name, "address", "add", f"{self._prefix}{self._first + 1 + seat}/29", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")

    def _name(self, seat: int) -> str:
        return f"titan-{os.getpid()}-{seat}"

    def _cable(self, seat: int) -> str:
        return f"tn{os.getpid()}-{seat}"


def refusal() -> str:
    """Why no such network can be made here; empty: it can."""
    if not (shutil.which("ip") and shutil.which("nsenter")):
        return "there is no ip or nsenter"
    try:
        with Network(1) as network:
            subprocess.run([*network.inside(0), "true"], check=True, capture_output=True, timeout=10)
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", b"") or b""
        return f"namespaces and bridges are not permitted ({said.decode(errors='replace').strip() or error})"
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)
