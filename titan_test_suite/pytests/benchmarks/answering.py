"""The service that Titan and every peer keeps running: a small program that answers each connection with its pid.

All run the same program from the same file with the same Python. It imports little, so that its own start-up does
not drown what is measured; what that takes is measured too (`bare_s`).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from titan_test_suite.pytests.support.ports import free_port

NAME = "answering_service.py"
TEXT = """\
import os
import socket
import sys

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(sys.argv[1])))
server.listen(128)
while True:
    connection, _ = server.accept()
    with connection:
        try:
            connection.sendall(b"%d" % os.getpid())
        except OSError:
            pass  # whoever asked is gone
"""
ASKED_EVERY_S = 0.0005
LONGEST_S = 30.0


def write_program(directory: Path) -> str:
    """The path of the program, which is made in there."""
    program = directory / NAME
    program.write_text(TEXT)
    return str(program)


def command(program: str, port: int) -> list[str]:
    """As a worker of Titan runs it, `-u` included."""
    return [sys.executable, "-u", program, str(port)]


def bare_s(program: str) -> float:
    """Seconds from starting the program, with nobody who keeps it, until it answers."""
    port = free_port()
    begun_at = time.perf_counter()
    process = subprocess.Popen(command(program, port), start_new_session=True)
    try:
        Answering(port)
        return time.perf_counter() - begun_at
    finally:
        process.kill()
        process.wait()


class Answering:
    """The service on a port, seen from outside; it answers when this is made, and after each `kill_s`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pid = 0
        self._await_another()

    def kill_s(self, up_s: float) -> float:
        """`kill -9` once it has answered for `up_s`; the seconds until another process answers."""
        time.sleep(max(0.0, self._since_at + up_s - time.perf_counter()))
        begun_at = time.perf_counter()
        os.kill(self._pid, signal.SIGKILL)
        self._await_another()
        return self._since_at - begun_at

    def _await_another(self) -> None:
        """Until a process answers that is not the one before. Raises AssertionError when none does."""
        until_at = time.perf_counter() + LONGEST_S
        while (pid := _pid_at(self._port)) in (0, self._pid):
            assert time.perf_counter() < until_at, f"nobody answered on port {self._port} within {LONGEST_S:g} s"
            time.sleep(ASKED_EVERY_S)
        self._pid, self._since_at = pid, time.perf_counter()


def _pid_at(port: int) -> int:
    """Of the process that answers there; 0 = none does."""
    try:
        with socket.create_connection(("127.0.0.1", port), LONGEST_S) as sock:
            return int(sock.recv(32) or 0)
    except OSError:
        return 0
