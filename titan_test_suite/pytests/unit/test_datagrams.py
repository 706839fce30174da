"""Datagrams of log lines: what goes in comes out, in pieces of whole lines, and nothing else is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan_core.errors import BadBody, InvalidRequest
from titan_core.master.collectors import MOST, Collectors
from titan_core.protocol.datagrams import KEY_BYTES, MAX_DATAGRAM, Printed, datagrams, read_datagram
from titan_core.protocol.messages import AttachCollector

KEY = b"k" * KEY_BYTES


def sent(data: bytes, offset: int = 7, run_id: str = "run-1", job_id: str = "job") -> list[bytes]:
    return list(datagrams(KEY, Printed(run_id, job_id, 2, offset, 1234.5, data)))


@given(st.binary(max_size=6000), st.integers(0, 2**63), st.text("ab\n ", max_size=300))
def test_all_of_it_arrives_in_order(data: bytes, offset: int, text: str) -> None:
    whole = data + text.encode()
    pieces = [read_datagram(KEY, one) for one in sent(whole, offset)]
    assert b"".join(piece.data for piece in pieces) == whole
    at = offset
    for piece in pieces:
        assert (piece.run_id, piece.job_id, piece.attempt, piece.offset, piece.wall) == (
            "run-1",
            "job",
            2,
            at,
            1234.5,
        )
        at += len(piece.data)


def test_pieces_are_of_whole_lines_and_fit_into_a_packet() -> None:
    data = b"".join(b"line %d\n" % number for number in range(2000))
    every = sent(data, run_id="r" * 121, job_id="j" * 128)
    assert len(every) > 5 and all(len(one) <= MAX_DATAGRAM for one in every)
    assert all(read_datagram(KEY, one).data.endswith(b"\n") for one in every)
    assert [len(one) <= MAX_DATAGRAM for one in sent(b"x" * 5000)] == [True] * 4


@given(st.binary(max_size=200))
def test_what_is_none_is_refused(noise: bytes) -> None:
    with pytest.raises(BadBody):
        read_datagram(KEY, noise)


def test_one_that_was_changed_or_has_another_key_is_refused() -> None:
    (good,) = sent(b"hello\n")
    for bad in (good[:-1], good + b"x", bytes([good[0] ^ 1]) + good[1:], good[:40] + b"J" + good[41:]):
        with pytest.raises(BadBody):
            read_datagram(KEY, bad)
    with pytest.raises(BadBody):
        read_datagram(b"o" * KEY_BYTES, good)


# ── who collects ──────────────────────────────────────────────────────────────────────────────────


class FakeSession:
    def __init__(self) -> None:
        self.said: list[object] = []

    def put(self, message: object, ticket: int) -> None:
        self.said.append(message)


def key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "big")


def test_workers_are_told_who_collects() -> None:
    session = FakeSession()
    collectors = Collectors(lambda: [session])  # type: ignore[list-item]
    collectors.attach(AttachCollector(5001, key(1)), "127.0.0.1")
    collectors.attach(AttachCollector(5002, key(2), "10.1.2.3", 60.0), "127.0.0.1")
    collectors.attach(AttachCollector(5001, key(1)), "::ffff:127.0.0.1")
    sinks = session.said[-1].sinks  # type: ignore[attr-defined]
    assert [(sink.port, sink.host) for sink in sinks] == [(5002, "10.1.2.3"), (5001, "")]
    assert all(0 < sink.lease_s <= 60 for sink in sinks)
    assert collectors.said().sinks[0].port == 5002


def test_the_one_that_asked_first_goes_when_there_are_too_many() -> None:
    collectors = Collectors(list)
    for number in range(MOST + 2):
        collectors.attach(AttachCollector(5000 + number, key(number)), "127.0.0.1")
    assert [sink.port for sink in collectors.said().sinks] == [5002, 5003, 5004, 5005]


@pytest.mark.parametrize(
    "request_",
    [
        AttachCollector(0, KEY),
        AttachCollector(70000, KEY),
        AttachCollector(5000, b"short"),
        AttachCollector(5000, KEY, lease_s=0.0),
        AttachCollector(5000, KEY, lease_s=1e9),
        AttachCollector(5000, KEY, host="example.org"),
    ],
)
def test_what_can_not_be(request_: AttachCollector) -> None:
    with pytest.raises(InvalidRequest):
        Collectors(list).attach(request_, "127.0.0.1")
