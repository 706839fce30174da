"""The dashboard as a process: its socket, its threads, and their end. Knows no pages.

`http` is the loop of waitress, which reads and writes all connections; waitress makes `threads` more, which call the
application, by itself. `snapshots` belongs to `cluster`, `collector` to `collector`. The main thread starts and
stops all.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from waitress import create_server, wasyncore

from dashboard import bodies, connections
from dashboard.app import create_app
from dashboard.cluster import ClusterWatch
from dashboard.collector import Collector
from dashboard.config import DashboardConfig
from dashboard.parts import Parts
from dashboard.sessions import Sessions
from dashboard.streams import Streams
from titan_core.lifecycle import Component
from titan_sdk import TitanClient
from titan_sdk.errors import ConfigError

STOP_S = 8.0
"""Streams end within a moment; a request that waits for the master, within its time-out."""
_LOOK_S = 0.25
"""How often the loop looks whether it is to stop."""
_FIRST_S = 2.0
"""So long the first snapshot is waited for, so that the first page has something to show."""


class Dashboard(Component):
    """Listens from the beginning, serves once started. Raises ConfigError if it can not listen."""

    def __init__(self, config: DashboardConfig) -> None:
        super().__init__("dashboard")
        self.config = config
        self._socket = _listening(config.host, config.port)
        self.port: int = self._socket.getsockname()[1]
        self._client = TitanClient(
            config.master, token=config.token, token_file=config.token_file, home=config.home, timeout=5.0
        )
        self._cluster = ClusterWatch(self._client)
        self._cluster.on_failure = self._on_part_failed
        self.parts = Parts(config, self._client, self._cluster, Streams(config.threads), Sessions(config.token_mark))
        self.collector = self._collecting()
        self._cluster.on_read = self.parts.samples.add
        self._map: dict[int, Any] = {}
        app = create_app(self.parts)
        self._server = create_server(
            app,
            map=self._map,
            sockets=[self._socket],
            threads=config.threads,
            ident=None,
            channel_request_lookahead=1,  # it reads on while it answers, and so sees that a browser has left
            max_request_body_size=bodies.MAX_STRANGER,
            max_request_header_size=connections.HEADER_BYTES,
            connection_limit=connections.HARD_MOST,
        )
        bodies.install(self._server, app, self.parts.sessions)
        self._connections = connections.Connections(self._server)

    @property
    def url(self) -> str:
        host = "localhost" if self.config.on_loopback else self.config.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def start(self) -> None:
        version = self._cluster.glance().version
        self._cluster.start()
        self._cluster.wait_for_change(version, _FIRST_S)
        self.collector.start()
        self.spawn("http", self._serve)

    def on_stop(self) -> None:
        self._cluster.stop()  # ends the streams
        self.collector.stop()
        self._client.close()

    def join(self, timeout_s: float = STOP_S) -> bool:
        return all([super().join(timeout_s), self._cluster.join(timeout_s), self.collector.join(timeout_s)])

    def _collecting(self) -> Collector:
        """Raises ConfigError."""
        try:
            collector = Collector(self.config, self._client, self.parts.rings)
        except ConfigError:
            self._socket.close()
            raise
        collector.on_failure = self._on_part_failed
        return collector

    def _serve(self) -> None:
        try:
            while not self.stopping.is_set():
                wasyncore.loop(_LOOK_S, use_poll=True, map=self._map, count=1)
                self._connections.tidy()
        finally:
            self._server.task_dispatcher.shutdown()
            wasyncore.close_all(self._map)

    def _on_part_failed(self, part: Component) -> None:
        self.failed = True
        self.stop()
        self.on_failure(self)


def _listening(host: str, port: int) -> socket.socket:
    """Raises ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError as error:
        raise ConfigError(f"the dashboard can not listen at {host}: {error.strerror}") from None
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(_refused(host, port, error)) from None
    return listener


def _refused(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; stop what listens there, or choose another one with --port"
    return f"the dashboard can not listen at {host}:{port}: {error.strerror}"
