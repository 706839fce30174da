"""HTTP servers for tests: they remember what they are asked, and answer well, badly, slowly or not."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

Behaviour = Callable[[socket.socket], None]


class Call(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


class Endpoint:
    """A server on a free port of loopback; calls are answered by the behaviours, in turn, the last one for ever.

    With a `context` it speaks TLS.
    """

    def __init__(self, *behaviours: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self.calls: list[Call] = []
        self._behaviours = list(behaviours)
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/scale?key=hidden"

    def __enter__(self) -> Endpoint:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, ValueError):  # it went away, or does not speak HTTP
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            self.calls.append(read_call(connection))
            behaviour = self._behaviours.pop(0) if len(self._behaviours) > 1 else self._behaviours[0]
            behaviour(connection)


def read_call(connection: socket.socket) -> Call:
    with connection.makefile("rb") as stream:
        line = stream.readline().decode().strip()
        pairs = iter(lambda: stream.readline().decode().strip(), "")
        headers = dict(pair.split(": ", 1) for pair in pairs)
        return Call(line, headers, stream.read(int(headers["Content-Length"])))


def answer(status: str, body: str = "", *headers: str) -> Behaviour:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return lambda connection: connection.sendall((head + body).encode())


def says(text: str) -> Behaviour:
    return lambda connection: connection.sendall(text.encode())


def until_closed(connection: socket.socket) -> None:
    """Hang, until the other side has enough."""
    connection.recv(1)


def endless(first: str, rest: str, pause_s: float = 0.0) -> Behaviour:
    def write(connection: socket.socket) -> None:
        connection.sendall(first.encode())
        while True:
            connection.sendall(rest.encode())
            time.sleep(pause_s)

    return write


OK = answer("200 OK", "{}")
