"""A listener that runs out of file descriptors turns peers away, uses no CPU meanwhile, and recovers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from titan_core.net.dial import dial
from titan_test_suite.pytests.support.listening import TOKEN, closed_by_peer
from titan_test_suite.pytests.support.waiting import wait_until

LISTENER = """
import resource, sys
from titan_test_suite.pytests.support.listening import EchoServer
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
server = EchoServer()
print(server.port, flush=True)
sys.stdin.read()
server.stop()
sys.exit(0 if server.join(5) else 1)
"""


@pytest.fixture
def listener() -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def test_a_listener_without_descriptors(listener):
    process, port = listener
    before_s, began_at = sum(psutil.Process(process.pid).cpu_times()[:2]), time.monotonic()
    peers = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(60)]
    wait_until(lambda: sum(map(closed_by_peer, peers)) >= 10, 20, lambda: sum(map(closed_by_peer, peers)))
    used_s = sum(psutil.Process(process.pid).cpu_times()[:2]) - before_s
    assert used_s < 0.5 * (time.monotonic() - began_at), "it spins"

    for peer in peers:
        peer.close()
    wait_until(lambda: _serves(port), 20)
    process.communicate("")
    assert process.returncode == 0


def _serves(port: int) -> bool:
    try:
        dial("127.0.0.1", port, TOKEN, "client").close()
    except Exception:
        return False
    return True


MASTER = """
import resource
from titan_core.master.app import tune_interpreter
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
tune_interpreter()
print(resource.getrlimit(resource.RLIMIT_NOFILE) > (64, hard) or hard == 64)
"""


def test_a_master_takes_as_many_descriptors_as_it_may():
    """Silent strangers, who are cut off after a while, must not take the last of a thousand."""
    ran = subprocess.run([sys.executable, "-c", MASTER], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "True\n"
