"""The rings and the collector: whatever order datagrams come in, the log is in order, what is missing is known."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import collector as collectors
from dashboard.collector import Collector
from dashboard.config import DashboardConfig
from dashboard.logs import joined
from dashboard.rings import ATTEMPTS, AttemptName, Found, Rings
from titan_core.protocol.datagrams import KEY_BYTES, Printed, datagrams
from titan_sdk import TitanClient
from titan_sdk.errors import ConfigError, ConnectionFailed
from titan_test_suite.pytests.support.waiting import wait_until

NAME = AttemptName("run-1", "job", 1)


def filled(*pieces: tuple[int, bytes], **limits: int) -> Rings:
    rings = Rings(**limits)
    for offset, data in pieces:
        rings.add([(NAME, offset, data)])
    return rings


def bytes_of(found: Found) -> list[tuple[int, bytes]]:
    return [(piece.offset, piece.data) for piece in joined(found.pieces)]


# ── rings ─────────────────────────────────────────────────────────────────────────────────────────


def test_pieces_are_in_order_however_they_come() -> None:
    rings = filled((6, b"ghi"), (0, b"abc"), (3, b"def"))
    assert bytes_of(rings.read(NAME)) == [(0, b"abcdefghi")] and not rings.read(NAME).gaps
    assert bytes_of(rings.read(NAME, 4)) == [(4, b"efghi")]
    assert rings.figures().late == 2


def test_what_comes_twice_is_kept_once() -> None:
    rings = filled((0, b"abc"), (0, b"abc"), (1, b"bcd"), (0, b"abcdef"))
    assert bytes_of(rings.read(NAME)) == [(0, b"abcdef")]
    assert rings.figures().repeated == 1


def test_gaps_are_known_until_they_are_filled() -> None:
    rings = filled((0, b"abc"), (10, b"k"), (6, b"gh"))
    assert rings.read(NAME).gaps == ((3, 6), (8, 10))
    assert rings.read(NAME, 4).gaps == ((4, 6), (8, 10))
    assert rings.figures().gaps == 1
    rings.add([(NAME, 2, b"cdefghijkl")])
    assert bytes_of(rings.read(NAME)) == [(0, b"abcdefghijkl")] and not rings.read(NAME).gaps


def test_who_follows_gets_what_came_late_too() -> None:
    rings = filled((0, b"abc"), (6, b"ghi"))
    number = rings.read(NAME).number
    assert rings.read(NAME, 0, number).pieces == ()
    rings.add([(NAME, 3, b"def")])
    assert bytes_of(rings.read(NAME, 0, number)) == [(3, b"def")]


def test_the_oldest_bytes_give_way_and_do_not_come_back() -> None:
    rings = filled(*((at * 100, b"x" * 100) for at in range(100)), ring_bytes=3000)
    (piece,) = bytes_of(rings.read(NAME))
    assert piece[0] == 9000 and len(piece[1]) == 1000
    rings.add([(NAME, 0, b"x" * 100)])
    assert bytes_of(rings.read(NAME)) == [piece]
    assert rings.read(NAME, 500).gaps == ((500, 9000),)


def test_attempts_of_which_nothing_came_for_longest_are_forgotten() -> None:
    rings = Rings(attempts=3)
    names = [AttemptName("run", f"job-{number}", 1) for number in range(5)]
    for name in (*names[:3], names[0], *names[3:]):
        rings.add([(name, 0, b"hello")])
    assert [bool(rings.read(name).pieces) for name in names] == [True, False, False, True, True]
    assert (rings.figures().attempts, rings.figures().kept_bytes) == (3, 15)


def test_all_attempts_together_are_bounded() -> None:
    rings = Rings(all_bytes=10_000)
    for number in range(1000):
        rings.add([(AttemptName("run", f"job-{number}", 1), 0, b"x" * 1000)])
    assert rings.figures().attempts == 8


@given(st.integers(0, 2**32), st.integers(1, 400), st.floats(0, 0.5))
def test_any_order_any_loss(seed: int, size: int, loss: float) -> None:
    chance = random.Random(seed)
    log = bytes(chance.randrange(256) for _ in range(size))
    sent = []
    for _ in range(60):
        start = chance.randrange(size)
        sent.append((start, log[start : start + chance.randrange(1, 20)]))
    came = [piece for piece in sent if chance.random() >= loss]
    rings = filled(*came)
    here = {at for start, data in came for at in range(start, start + len(data))}
    found = rings.read(NAME)
    told = [at for piece in found.pieces for at in range(piece.offset, piece.end)]
    assert told == sorted(here) and all(log[piece.offset : piece.end] == piece.data for piece in found.pieces)
    missing = {at for gap in found.gaps for at in range(gap.start, gap.stop)}
    assert missing == set(range(max(here, default=-1) + 1)) - here


def test_who_waits_is_told_at_once_and_when_it_stops() -> None:
    rings, seen = Rings(), []
    waiting = threading.Thread(target=lambda: seen.extend([rings.wait(NAME, 0, 0, 30), rings.wait(NAME, 0, 1, 30)]))
    waiting.start()
    rings.add([(AttemptName("other", "job", 1), 0, b"x")])
    rings.add([(NAME, 0, b"hello")])
    wait_until(lambda: seen or not waiting.is_alive())
    rings.stop()
    waiting.join(5)
    assert [bytes_of(found) for found in seen[:1]] == [[(0, b"hello")]]


# ── the collector ─────────────────────────────────────────────────────────────────────────────────


class Attached:
    """A client that only knows how to attach; `away`: the master is."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, bytes, str, float]] = []
        self.away = False

    def attach_collector(self, *values: object) -> None:
        if self.away:
            raise ConnectionFailed("no master answers")
        self.calls.append(values)  # type: ignore[arg-type]


@contextmanager
def collecting(client: Attached, **config: object) -> Iterator[tuple[Collector, Rings]]:
    rings = Rings()
    told = DashboardConfig(**{"master": "localhost:9090", **config})  # type: ignore[arg-type]
    collector = Collector(told, cast(TitanClient, client), rings)
    collector.start()
    try:
        yield collector, rings
    finally:
        collector.stop()
        assert collector.join(5)


def send(port: int, *sent: bytes, host: str = "127.0.0.1") -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for one in sent:
            sender.sendto(one, (host, port))


def test_what_workers_send_is_in_the_rings_and_what_others_send_is_counted() -> None:
    client = Attached()
    with collecting(client) as (collector, rings):
        wait_until(lambda: client.calls)
        port, key, host, _ = client.calls[0]
        assert (port, host, len(key)) == (collector.port, "", KEY_BYTES)
        printed = Printed(*NAME, 0, 1.0, b"".join(b"line %d\n" % number for number in range(500)))
        send(port, *datagrams(key, printed), b"noise", *datagrams(b"o" * KEY_BYTES, printed), b"")
        wait_until(lambda: rings.figures().refused == 6, explain=rings.figures)
        assert bytes_of(rings.read(NAME)) == [(0, printed.data)]


def test_whoever_sends_what_it_should_not_is_counted_and_takes_no_memory() -> None:
    """Cut short, changed, said again, far beyond any log; and of a thousand jobs that nobody knows."""
    client = Attached()
    with collecting(client) as (_, rings):
        wait_until(lambda: client.calls)
        port, key, _, _ = client.calls[0]
        [good] = datagrams(key, Printed(*NAME, 0, 1.0, b"line\n"))
        [far] = datagrams(key, Printed(*NAME, 1 << 60, 1.0, b"line\n"))
        [last] = datagrams(key, Printed("run", "last", 1, 0, 1.0, b"x"))
        cut = [good[:size] for size in range(0, len(good), 7)]
        changed = [bytes([*good[:at], good[at] ^ 1, *good[at + 1 :]]) for at in range(0, len(good), 5)]
        send(port, good, good, good, far, *cut, *changed)
        wait_until(lambda: rings.figures().refused == 1 + len(cut) + len(changed), explain=rings.figures)
        assert bytes_of(rings.read(NAME)) == [(0, b"line\n")] and rings.figures().repeated == 2
        for at in range(1000):
            send(port, *datagrams(key, Printed("run", f"job-{at}", 1, 0, 1.0, b"x" * 1000)))
        wait_until(lambda: (send(port, last), rings.read(AttemptName("run", "last", 1)).pieces)[1])
        figures = rings.figures()
        assert figures.attempts <= ATTEMPTS and figures.kept_bytes <= ATTEMPTS * 1000


def test_on_loopback_both_families_are_listened_to() -> None:
    client = Attached()
    with collecting(client, host="localhost") as (collector, rings):
        wait_until(lambda: client.calls)
        (sent,) = datagrams(client.calls[0][1], Printed(*NAME, 0, 1.0, b"hello\n"))
        try:
            send(collector.port, sent, host="::1")
        except OSError:
            pytest.skip("no IPv6 here")
        wait_until(lambda: rings.figures().datagrams == 1)


def test_it_attaches_again_and_again_and_survives_a_master_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectors, "LEASE_S", 0.03)
    monkeypatch.setattr(collectors, "RETRY_S", 0.01)
    client = Attached()
    with collecting(client) as (collector, _):
        wait_until(lambda: len(client.calls) >= 3)
        client.away = True
        wait_until(lambda: collector.trouble == "no master answers")
        client.away = False
        seen = len(client.calls)
        wait_until(lambda: len(client.calls) > seen and not collector.trouble)
        assert len({call[:3] for call in client.calls}) == 1


def test_workers_elsewhere_are_not_asked_to_send_to_a_machine_that_does_not_listen() -> None:
    client = Attached()
    with collecting(client, master="10.1.2.3:9090") as (collector, _):
        wait_until(lambda: "10.1.2.3" in collector.trouble)
    with collecting(client, master="10.1.2.3:9090", host="0.0.0.0") as (collector, _):
        wait_until(lambda: collector.attached)
        assert client.calls[0][2] == ""


def test_a_port_that_is_taken_is_refused_in_a_sentence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"UDP port {port} of 127.0.0.1"):
            Collector(DashboardConfig(udp_port=port), cast(TitanClient, Attached()), Rings())


def test_one_that_was_never_started_closes_its_sockets() -> None:
    collector = Collector(DashboardConfig(), cast(TitanClient, Attached()), Rings())
    collector.stop()
    collector.stop()
