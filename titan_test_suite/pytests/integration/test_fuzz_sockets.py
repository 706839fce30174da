"""A real master among strangers: it stays up, serves who behaves, and keeps nothing of the others.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats what the strangers did, though not when.
"""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.net.credentials import find_token
from titan_core.protocol.wire import MIB
from titan_core.store.schema import DATABASE
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed
from titan_test_suite.pytests.support.strangers import Strangers
from titan_test_suite.pytests.support.waiting import wait_until

STRANGERS = 3
"""At the same time."""
EACH = 2_000 if TORTURE else 80
"""Connections of each of them."""
WARM_UP = 60
MEMORY = 24 * MIB
"""What the master may have grown by; allocators do not give back everything."""
PATIENCE_S = 10.0
"""A good client, on a machine that does much else."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as cluster:
        (tmp_path / "perm_files" / "x.sh").write_text("true\n")
        yield cluster


def test_a_master_among_strangers(cluster: Cluster) -> None:
    seed = announced_seed()
    token = find_token(home=cluster.home)
    master = psutil.Process(cluster.master.pid)
    _storm(seed, 1, WARM_UP, cluster.port, token, cluster)
    wait_until(lambda: _idle(cluster), 40)
    descriptors, threads, memory = _descriptors(master), master.num_threads(), master.memory_info().rss

    slowest_s = _storm(seed + 1, STRANGERS, EACH, cluster.port, token, cluster)
    assert slowest_s < PATIENCE_S

    figures = lambda: (_descriptors(master), master.num_threads(), master.memory_info().rss >> 20)  # noqa: E731
    wait_until(lambda: _descriptors(master) <= descriptors and master.num_threads() <= threads, 40, figures)
    grown = master.memory_info().rss - memory
    assert grown < MEMORY, f"{grown >> 20} MiB more"
    assert "Traceback" not in cluster.master.output.read_text(), cluster.master.tail()


def _storm(seed: int, strangers: int, each: int, port: int, token: str, cluster: Cluster) -> float:
    """Have strangers misbehave, and be a good client meanwhile; the longest it had to wait, in seconds."""

    def misbehave(number: int) -> None:
        stranger = Strangers(random.Random(seed * 100 + number), port, token)
        for _ in range(each):
            stranger.misbehave()

    threads = [threading.Thread(target=misbehave, args=(number,)) for number in range(strangers)]
    slowest_s = 0.0
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            slowest_s = max(slowest_s, _asked(cluster))
    finally:
        for thread in threads:
            thread.join()
    return slowest_s


def _asked(cluster: Cluster) -> float:
    began_at = time.monotonic()
    with cluster.client() as client:
        client.workers()
        client.runs()
    return time.monotonic() - began_at


def _descriptors(master: psutil.Process) -> int:
    """Those it has, but for the database's: SQLite keeps what readers have closed for the next of them, at most as
    many as have read at the same time."""
    return master.num_fds() - [Path(file.path).name for file in master.open_files()].count(DATABASE)


def _idle(cluster: Cluster) -> bool:
    """Whether only the listening socket and this question are open."""
    connections = psutil.Process(cluster.master.pid).net_connections("tcp")
    return not [one for one in connections if one.status == psutil.CONN_ESTABLISHED]


def test_peers_that_send_a_byte_now_and_then(cluster: Cluster) -> None:
    """Each holds a thread and a descriptor for as long as it takes to prove oneself, and no good client up."""
    before = psutil.Process(cluster.master.pid).num_fds()
    hello = b"\1\x70\1\0\0\0\0\x30"
    with contextlib.ExitStack() as stack:
        connect = lambda: socket.create_connection(("127.0.0.1", cluster.port), timeout=10)  # noqa: E731
        slow = [stack.enter_context(connect()) for _ in range(200)]
        for place in range(4):
            for sock in slow:
                sock.sendall(hello[place : place + 1])
            assert _asked(cluster) < PATIENCE_S
    wait_until(lambda: psutil.Process(cluster.master.pid).num_fds() <= before, 20)
