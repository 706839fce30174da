"""Sending what attempts print to those who collect it, as datagrams; whether they come is nobody's matter here.

Nothing waits: what the socket does not take at once is dropped, and whoever misses it finds it in the master's log.
So is what jobs print faster than anybody reads: sending it would take processor time from them. While nobody
collects, it costs a comparison for each piece of a log.

`tell` is called by the threads that send logs, `set` by the link's reader.
"""

from __future__ import annotations

import contextlib
import socket
import time
from threading import Lock
from typing import NamedTuple

from titan_core.protocol.datagrams import Printed, datagrams
from titan_core.protocol.messages import LogSink, LogSinks

MOST_BYTES_S = 8 * 1024 * 1024
"""Sent of large pieces, of all attempts together."""
SMALL_PIECE = 64 * 1024
"""Pieces up to this are always sent, so that a loud job does not silence the others."""


class _Target(NamedTuple):
    socket: socket.socket
    key: bytes
    until_at: float


class LogDatagrams:
    """`master_host` is where this worker reaches the master: the host of a sink that names none."""

    def __init__(self, master_host: str) -> None:
        self._master_host = master_host
        self._targets: list[_Target] = []
        self._targets_lock = Lock()
        self._room = float(MOST_BYTES_S)
        """Bytes of large pieces that may be sent now."""
        self._room_at = time.monotonic()

    def set(self, sinks: LogSinks) -> None:
        """From now on send to these; one that can not be reached is left out."""
        found = [target for sink in sinks.sinks if (target := self._target(sink)) is not None]
        with self._targets_lock:
            before, self._targets = self._targets, found
            _close(before)

    def tell(self, run_id: str, job_id: str, attempt: int, offset: int, data: bytes) -> None:
        """What an attempt has printed, from this offset of its log on."""
        if not self._targets:
            return
        printed = Printed(run_id, job_id, attempt, offset, time.time(), data)
        now = time.monotonic()
        with self._targets_lock:
            for target in self._targets if self._take_room(len(data), now) else ():
                if target.until_at > now:
                    _send(target, printed)

    def close(self) -> None:
        with self._targets_lock:
            _close(self._targets)
            self._targets = []

    def _take_room(self, size: int, now: float) -> bool:
        """Whether a piece of this size is sent."""
        if size <= SMALL_PIECE:
            return True
        self._room = min(MOST_BYTES_S, self._room + (now - self._room_at) * MOST_BYTES_S)
        self._room_at = now
        if self._room < size:
            return False
        self._room -= size
        return True

    def _target(self, sink: LogSink) -> _Target | None:
        host = sink.host or self._master_host
        with contextlib.suppress(OSError, UnicodeError):
            family, kind, protocol, _, address = socket.getaddrinfo(host, sink.port, type=socket.SOCK_DGRAM)[0]
            connected = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
            try:
                connected.connect(address)
            except OSError:
                connected.close()
                raise
            return _Target(connected, sink.key, time.monotonic() + sink.lease_s)
        return None


def _send(target: _Target, printed: Printed) -> None:
    """Whatever is not taken at once is dropped, and what follows it in this piece, too."""
    with contextlib.suppress(OSError):
        for datagram in datagrams(target.key, printed):
            target.socket.send(datagram)


def _close(targets: list[_Target]) -> None:
    for target in targets:
        target.socket.close()
