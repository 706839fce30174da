"""One check of a service: is its port open, does it answer a GET, does a command say that it is well?

    Probe() ─▶ "" it is · a sentence that says what is wrong · OSError: this machine has no means to find out

No check takes longer than its `timeout_s`, however slowly the other side answers, and each is given up as soon as
the descriptor `over` is readable: a service that never answers keeps nobody from ending it. Called by the thread
that watches the attempt. Knows nothing of what a failed check means.
"""

from __future__ import annotations

import errno
import http.client
import io
import os
import secrets
import select
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from typing import Any, cast

from titan_core.protocol.checks import shown
from titan_core.worker.process import Launch, start_process
from titan_core.worker.process_tree import OrphanHouse, ProcessTree
from titan_core.worker.procfs import CHECK_VARIABLE

Probe = Callable[[float, int], str]
"""`probe(timeout_s, over)`: what is wrong; empty: nothing. Raises Over; OSError, which says nothing of the service.
"""

MOST_WAIT_S = 86_400.0
"""The longest that a job may ask for."""
MOST_ANSWER = 1024 * 1024
"""Bytes of an answer that are read, so that the service can finish it in peace."""
MOST_REASON = 60
"""Characters behind a status."""
_WITHOUT_MEANS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN}
_HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_ABORT = struct.pack("ii", 1, 0)


class Over(Exception):
    """Nobody wants to know any more."""


class _Late(Exception):
    """The check has taken all the time it had."""


class _Patience:
    """Waits for descriptors, but no longer than the check may take, and its attempt is watched."""

    def __init__(self, timeout_s: float, over: int) -> None:
        self._until_at = time.monotonic() + timeout_s
        self._over = over

    def wait(self, descriptor: int, event: int) -> None:
        """Until `event` is there. Raises _Late, also for what comes without end, and Over."""
        poller = select.poll()
        poller.register(self._over, select.POLLIN)
        poller.register(descriptor, event)
        left_s = max(0.0, self._until_at - time.monotonic())
        ready = dict(poller.poll(min(left_s, MOST_WAIT_S) * 1000))
        if self._over in ready:
            raise Over
        if not ready or not left_s:
            raise _Late


# ── a port ────────────────────────────────────────────────────────────────────────────────────────


def port_probe(port: int) -> Probe:
    """Whether somebody listens on this port of the machine."""

    def probe(timeout_s: float, over: int) -> str:
        try:
            _dial(port, _Patience(timeout_s, over)).close()
            return ""
        except _Late:
            return f"no answer on port {port} within {round(timeout_s, 2):g} s"
        except OSError as error:
            return _refusal(error, port)

    return probe


def _dial(port: int, patience: _Patience) -> socket.socket:
    """A connection to the port, by IPv4 or else by IPv6. Raises OSError: what the first of them was refused with."""
    refusals: list[OSError] = []
    for family, host in _HOSTS:
        try:
            return _connected(family, (host, port), patience)
        except OSError as error:
            refusals.append(error)
    raise refusals[0]


def _connected(family: int, address: tuple[str, int], patience: _Patience) -> socket.socket:
    sock = socket.socket(family)
    try:
        _connect(sock, address, patience)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, address: tuple[str, int], patience: _Patience) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        patience.wait(sock.fileno(), select.POLLOUT)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if not code and sock.getsockname() == sock.getpeername():  # a port of nobody's, connected to itself
        code = errno.ECONNREFUSED
    if code:
        raise OSError(code, os.strerror(code))


def _refusal(error: OSError, port: int) -> str:
    """What it says of the service. Raises it when it says nothing of that."""
    if error.errno in _WITHOUT_MEANS:
        raise error
    reason = (error.strerror or str(error)).lower()
    return f"{reason} on port {port}"


# ── an answer ─────────────────────────────────────────────────────────────────────────────────────


def http_probe(port: int, path: str) -> Probe:
    """Whether a GET of this path is answered with 2xx. A redirect is not followed: it is no 2xx."""
    what = f"GET {path} on port {port}"

    def probe(timeout_s: float, over: int) -> str:
        patience = _Patience(timeout_s, over)
        try:
            with _dial(port, patience) as sock:
                return _judge(what, _get(sock, port, path, patience))
        except _Late:
            return f"{what} was not answered within {round(timeout_s, 2):g} s"
        except http.client.RemoteDisconnected:
            return f"{what} was not answered: the connection was closed"
        except (http.client.HTTPException, ValueError) as error:  # ValueError: a piece of less than no bytes
            return f"{what} was not answered in HTTP ({type(error).__name__})"
        except OSError as error:
            return _refusal(error, port)

    return probe


def _get(sock: socket.socket, port: int, path: str, patience: _Patience) -> http.client.HTTPResponse:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: titan-health\r\nAccept: */*\r\n\r\n"
    _send(sock, request.encode(errors="replace"), patience)
    answer = http.client.HTTPResponse(cast(socket.socket, _Incoming(sock, patience)), method="GET")
    answer.begin()
    answer.read(MOST_ANSWER)
    if answer.will_close:  # its side would linger, and keep the port from a successor that does not know better
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    return answer


def _send(sock: socket.socket, data: bytes, patience: _Patience) -> None:
    while data:
        patience.wait(sock.fileno(), select.POLLOUT)
        data = data[sock.send(data) :]


def _judge(what: str, answer: http.client.HTTPResponse) -> str:
    reason = "".join(filter(str.isprintable, answer.reason))[:MOST_REASON]
    return "" if 200 <= answer.status < 300 else f"{what} was answered with {answer.status} {reason}".rstrip()


class _Incoming(io.RawIOBase):
    """What http.client takes for a socket: it reads from one, with patience."""

    def __init__(self, sock: socket.socket, patience: _Patience) -> None:
        self._sock = sock
        self._patience = patience

    def makefile(self, *args: Any) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._patience.wait(self._sock.fileno(), select.POLLIN)
        return self._sock.recv_into(buffer)


# ── a command ─────────────────────────────────────────────────────────────────────────────────────


def command_probe(command: tuple[str, ...], cwd: str, env: dict[str, str], house: OrphanHouse) -> Probe:
    """Whether this command exits with 0. What it has started and not ended is ended with it."""
    name = shown(shlex.join(command))

    def probe(timeout_s: float, over: int) -> str:
        mark = secrets.token_hex(16)  # beside the token of the service, to which its other processes belong
        try:
            process = start_process(Launch(list(command), cwd, env | {CHECK_VARIABLE: mark}, subprocess.DEVNULL))
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in _WITHOUT_MEANS:
                raise
            return f"{name} can not be run: {getattr(error, 'strerror', None) or error}"
        try:
            _await_exit(process.pid, _Patience(timeout_s, over))
        except _Late:
            return f"{name} did not end within {round(timeout_s, 2):g} s"
        finally:
            code = _end(process, mark, house)
        return _ending(name, code)

    return probe


def _await_exit(pid: int, patience: _Patience) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        patience.wait(pidfd, select.POLLIN)
    finally:
        os.close(pidfd)


def _end(process: subprocess.Popen[bytes], mark: str, house: OrphanHouse) -> int:
    """End all of the command; how it ended, as `subprocess` puts it."""
    tree = ProcessTree(process.pid, mark, None, house)
    tree.kill()  # its group is its own as long as it has not been reaped
    code = process.wait()
    tree.end()
    return code


def _ending(name: str, code: int) -> str:
    if code < 0:
        return f"{name} was ended by signal {-code}"
    return f"{name} exited with {code}" if code else ""
