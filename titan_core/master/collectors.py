"""Collectors of log lines: who has asked for them, and telling the workers.

Nothing of this is stored: a collector asks again before its lease is over, and each time all workers are told anew,
as is each that registers. Called by the threads of connections.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from threading import Lock
from typing import NamedTuple

from titan_core.errors import InvalidRequest
from titan_core.master.sessions import Session
from titan_core.protocol.checks import check_range, shown
from titan_core.protocol.datagrams import KEY_BYTES
from titan_core.protocol.messages import Ack, AttachCollector, LogSink, LogSinks

MOST = 4
"""Collectors at the same time; one more takes the place of the one that asked first."""
LEASE_MOST_S = 300.0


class _Lease(NamedTuple):
    sink: LogSink
    until_at: float


class Collectors:
    """`sessions()` are those of the workers there are."""

    def __init__(self, sessions: Callable[[], Iterable[Session]]) -> None:
        self._sessions = sessions
        self._leases: dict[bytes, _Lease] = {}
        self._leases_lock = Lock()

    def attach(self, request: AttachCollector, peer_host: str) -> Ack:
        """Raises InvalidRequest."""
        check_range(request.port, 1, 65535, "port")
        check_range(request.lease_s, 1, LEASE_MOST_S, "lease")
        if len(request.key) != KEY_BYTES:
            raise InvalidRequest(f"the key of a collector has {KEY_BYTES} bytes, not {len(request.key)}", field="key")
        host = _host_for_workers(request.host or peer_host.partition("%")[0])
        sink = LogSink(request.port, request.key, host, request.lease_s)
        with self._leases_lock:
            self._leases.pop(request.key, None)
            self._leases[request.key] = _Lease(sink, time.monotonic() + request.lease_s)
            while len(self._leases) > MOST:
                del self._leases[next(iter(self._leases))]
        said = self.said()
        for session in self._sessions():
            session.put(said, 0)
        return Ack(f"log lines go to port {request.port} for {request.lease_s:g} s")

    def said(self) -> LogSinks:
        """What a worker is to know now."""
        now = time.monotonic()
        with self._leases_lock:
            self._leases = {key: lease for key, lease in self._leases.items() if lease.until_at > now}
            leases = list(self._leases.values())
        return LogSinks(tuple(_with_rest(lease, now) for lease in leases))


def _with_rest(lease: _Lease, now: float) -> LogSink:
    sink = lease.sink
    return LogSink(sink.port, sink.key, sink.host, lease.until_at - now)


def _host_for_workers(host: str) -> str:
    """Empty for one on the master's own machine, which workers elsewhere know under another name."""
    try:
        address = ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return "" if (mapped or address).is_loopback else host
    except ValueError:
        raise InvalidRequest(
            f"{shown(host)} is no IP address, to which log lines could be sent", field="host"
        ) from None
