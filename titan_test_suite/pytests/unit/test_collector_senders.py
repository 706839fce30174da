"""What workers send to collectors: all of what quiet jobs print, and of loud ones what somebody could read."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from titan_core.protocol.datagrams import KEY_BYTES, read_datagram
from titan_core.protocol.messages import LogSink, LogSinks
from titan_core.worker import log_sinks
from titan_core.worker.log_sinks import MOST_BYTES_S, SMALL_PIECE, LogDatagrams

KEY = b"k" * KEY_BYTES


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.setblocking(False)
        yield one


@pytest.fixture
def sender(receiver: socket.socket) -> Iterator[LogDatagrams]:
    sender = LogDatagrams("127.0.0.1")
    sender.set(LogSinks((LogSink(receiver.getsockname()[1], KEY, "", 60.0),)))
    yield sender
    sender.close()


def received(receiver: socket.socket) -> list[int]:
    """The offsets of what has come."""
    offsets = []
    while True:
        try:
            offsets.append(read_datagram(KEY, receiver.recv(2000)).offset)
        except BlockingIOError:
            return offsets


def test_large_pieces_are_sent_up_to_a_rate_and_small_ones_always(
    receiver: socket.socket, sender: LogDatagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [log_sinks.time.monotonic()]
    monkeypatch.setattr(log_sinks.time, "monotonic", lambda: now[0])
    large = b"x" * (SMALL_PIECE + 1)
    sent = 0
    for offset in range(1000):
        sender.tell("run", "loud", 1, offset, large)
        sent += bool(received(receiver))
    assert sent == MOST_BYTES_S // len(large)
    sender.tell("run", "quiet", 1, 5, b"hello\n")
    assert received(receiver) == [5]
    now[0] += 0.1
    sender.tell("run", "loud", 1, 7, large)
    assert received(receiver)[0] == 7


def test_nothing_is_sent_after_the_lease(
    receiver: socket.socket, sender: LogDatagrams, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender.tell("run", "job", 1, 0, b"hello\n")
    assert received(receiver) == [0]
    later = log_sinks.time.monotonic() + 61
    monkeypatch.setattr(log_sinks.time, "monotonic", lambda: later)
    sender.tell("run", "job", 1, 6, b"hello\n")
    assert received(receiver) == []
