"""One HTTP POST whose steps all together end in time, whatever the other side does, and which can be cut.

A socket's timeout counts from step to step: a server that sends a byte now and then is heard for ever. Here
every step gets what is left of the whole. Nothing is followed and nobody stands between: a redirection is an
answer like others, and proxies of the environment are not used. What the resolver takes to find the host
comes on top.

Knows nothing of what is posted. `send` is called once, by one thread, and blocks; `cut` by any.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from titan_core.errors import ConnectionFailed

_TEXT_MOST = 2048
"""Bytes of an answer's body that are read."""
_PORTS = {"http": 80, "https": 443}


class Answer(NamedTuple):
    status: int
    reason: str
    text: str
    """The beginning of the body; of a success nothing is read."""


class HttpPost:
    """A POST to `url` that ends within `timeout_s`; `context` is for https."""

    def __init__(self, url: str, timeout_s: float, context: ssl.SSLContext | None = None) -> None:
        self._url = urlsplit(url)
        self._timeout_s = timeout_s
        self._context = context
        self._until_at = 0.0
        self._socket: socket.socket | None = None
        self._is_cut = False
        self._lock = threading.Lock()

    def send(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post `body`. Raises ConnectionFailed; its message says what the other side did, and wants a subject."""
        self._until_at = time.monotonic() + self._timeout_s
        try:
            self._connect()
            self._limited().sendall(self._head(headers, len(body)) + body)
            return self._receive()
        except TimeoutError:
            raise ConnectionFailed(f"did not answer within {self._timeout_s:g} s") from None
        except http.client.RemoteDisconnected:
            raise ConnectionFailed("closed the connection without an answer") from None
        except http.client.HTTPException:
            raise ConnectionFailed("did not answer in HTTP") from None
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConnectionFailed(f"can not be reached: {reason[:1].lower()}{reason[1:]}") from None
        finally:
            self._close()

    def cut(self) -> None:
        """End it now, or as soon as it begins."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it is not connected yet
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    # ── the connection ────────────────────────────────────────────────────────────────────────────

    def _connect(self) -> None:
        host, port = self._url.hostname or "", self._url.port or _PORTS[self._url.scheme]
        self._dial(host, port)
        if self._context is not None:
            plain = self._limited()
            # The handshake is a step of its own: a thread that cuts must find what is in use.
            tls = self._context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
            self._use(tls)
            tls.do_handshake()

    def _dial(self, host: str, port: int) -> None:
        """Connect to the first address of the host at which somebody answers."""
        failure: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self._close()
            self._use(socket.socket(family, kind, protocol))
            try:
                self._limited().connect(address)
                return
            except OSError as error:
                failure = error
        raise failure or OSError("the host has no address")

    def _use(self, used: socket.socket) -> None:
        with self._lock:
            self._socket = used

    def _close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _limited(self) -> socket.socket:
        """The socket, whose next step gets what is left of the time."""
        left_s = self._until_at - time.monotonic()
        if self._is_cut or self._socket is None:
            raise ConnectionAbortedError("it was cut")
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)
        return self._socket

    # ── what is sent and received ─────────────────────────────────────────────────────────────────

    def _head(self, headers: Mapping[str, str], length: int) -> bytes:
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        fields = {"Host": self._url.netloc, "Connection": "close", "Content-Length": str(length), **headers}
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode()

    def _receive(self) -> Answer:
        source = cast(socket.socket, _Source(self._limited))
        with contextlib.closing(http.client.HTTPResponse(source, method="POST")) as response:
            response.begin()
            text = b""
            if response.status >= 300:
                # The status is what counts. ValueError: a piece of less than no bytes.
                with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                    text = response.read(_TEXT_MOST)
            return Answer(response.status, response.reason, text.decode(errors="replace"))


class _Source(io.RawIOBase):
    """What a response is read from: in place of a socket, whose file would know no end in time."""

    def __init__(self, limited: Any) -> None:
        self._limited = limited

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return int(self._limited().recv_into(buffer))
