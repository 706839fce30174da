"""Services for tests: a small server whose answer says which process it is, and clients that find it by discovery."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

from titan_sdk import TitanClient, TitanJob

SERVER = """\
import os, signal, socket, sys, threading

VERSION = os.environ.get("VERSION", "1")
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(os.environ["PORT"])))
listener.listen(128)
stopping = threading.Event()

def stop(number, frame):
    stopping.set()

signal.signal(signal.SIGTERM, stop)
listener.settimeout(0.02)
print(f"version {VERSION} serves on {os.environ['PORT']}", flush=True)
quiet = 0
while quiet < 10:  # once it is to stop, those that are on their way here are still served
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        quiet = quiet + 1 if stopping.is_set() else 0
        continue
    with connection:
        connection.settimeout(2)
        connection.recv(100)
        connection.sendall(f"{os.getpid()} {VERSION}\\n".encode())
"""
"""Answers each request with its pid and its VERSION; handles SIGTERM well."""


class Answer(NamedTuple):
    pid: int
    version: str


def server(directory: Path, job_id: str = "web", text: str = SERVER, **fields: object) -> TitanJob:
    """The server as a service on a port of its own."""
    path = directory / f"{job_id}.py"
    path.write_text(text)
    return TitanJob(job_id, str(path), type="service", **{"port": "auto", "stop_grace": 5, **fields})


def ask(address: str, timeout_s: float = 5.0) -> Answer:
    """What the server at `host:port` says. Raises OSError when it does not."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout_s) as connection:
        connection.settimeout(timeout_s)
        connection.sendall(b"hello\n")
        data = connection.recv(100)
    if not data:
        raise ConnectionError(f"{address} hung up")
    pid, version = data.decode().split()
    return Answer(int(pid), version)


def asked(address: str) -> Answer | None:
    """The same; None when nobody is there, or not yet."""
    with contextlib.suppress(OSError, ValueError):
        return ask(address)
    return None


class RequestLoop:
    """Asks a service so many times a second, each time at the next of the addresses that discovery gives then."""

    def __init__(self, client: TitanClient, key: str, rate: float) -> None:
        self._client, self._key, self._rate = client, key, rate
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-loop")
        self.answers: list[Answer] = []
        self.dropped: list[str] = []

    def __enter__(self) -> RequestLoop:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        began_at = time.monotonic()
        for number in itertools.count():
            if self._over.wait(max(0.0, began_at + number / self._rate - time.monotonic())):
                return
            addresses = self._client.service_addresses(self._key)
            address = addresses[number % len(addresses)] if addresses else ""
            try:
                self.answers.append(ask(address))
            except (OSError, ValueError) as error:
                self.dropped.append(f"request {number} to {address or 'nobody'}: {error!r}")
