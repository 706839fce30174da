"""Opening connections: TCP to an address, then the proof that both sides know the token."""

from __future__ import annotations

import socket

from titan_core.errors import BadVersion, ConfigError, ConnectionFailed
from titan_core.net.auth import prove
from titan_core.net.stream import FrameStream
from titan_core.protocol.wire import AUTHENTICATED

CONNECT_TIMEOUT_S = 5.0


def dial(host: str, port: int, token: str, role: str, timeout_s: float = CONNECT_TIMEOUT_S) -> FrameStream:
    """An authenticated connection to the listener at `host:port`.

    Raises ConnectionFailed when nobody answers there, NotAuthorised when the token is not theirs,
    ProtocolError when it is something else that listens, ConfigError for a port that can not be one.
    """
    stream = FrameStream(_connect(host, port, timeout_s))
    try:
        prove(stream, token, role)
        stream.set_limits(AUTHENTICATED)
        return stream
    except BadVersion:
        stream.close()
        raise BadVersion(f"what listens at {host}:{port} does not speak TITAN_PROTO; is it a Titan master?") from None
    except BaseException:
        stream.close()
        raise


def split_address(text: str, default_port: int) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]:port` or `:port` as (host, port). Raises ConfigError."""
    host, separator, port = text.rpartition(":")
    if not separator or (":" in host and not host.startswith("[")):
        host, port = text, str(default_port)
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ConfigError(f"{text!r} is not an address: use host:port with a port from 0 to 65535")
    return host.strip("[]") or "localhost", int(port)


def check_port(port: int) -> int:
    """A TCP port, or 0; the system takes any number and cuts off its upper bits. Raises ConfigError."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"{port} is not a port: use a number from 0 to 65535")
    return port


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    check_port(port)
    try:
        return socket.create_connection((host, port), timeout_s)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConnectionFailed(f"nobody answers at {host}:{port} ({reason})") from None
