"""Bodies that were right until somebody touched them: a message, or a BadBody; never more memory than they are worth.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

import dataclasses
import random
import struct
import tracemalloc
from itertools import product

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from titan_core.errors import BadBody, ProtocolError, UnknownOpcode
from titan_core.net.stream import decode_any
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import BODIES, REPLIES, SubmitRun
from titan_core.protocol.wire import Frame
from titan_test_suite.pytests.support.messages import MESSAGES, values
from titan_test_suite.pytests.support.mutations import field, mutated_body, put_together, taken_apart
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed

MUTATIONS = 30
"""Of each made-up value."""
FUZZ = settings(
    max_examples=2000 if TORTURE else 15,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # a mutation is small already, and shrinking the value it was made from changes it
)
PEAK_FACTOR, PEAK_FREE = 64, 16 * 1024
"""Bytes of memory a decoder may take for each byte of a body, and beside that; an empty field of 5 bytes
becomes a pointer in a list and an empty object."""


def judged(message: type[Message], body: bytes) -> Message | None:
    """What the body is read as. Whatever is read can be written, and is then read as the same."""
    try:
        value = message.decode(body)
    except BadBody as error:
        assert message.__name__ in str(error)
        return None
    assert message.decode(value.encode()) == value
    return value


def test_what_is_sent_anywhere_is_fuzzed() -> None:
    assert {*BODIES.values(), *filter(None, REPLIES.values())} <= set(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_mutated_bodies_are_messages_or_bad_bodies(message: type[Message]) -> None:
    @seed(announced_seed())
    @FUZZ
    @given(values(message), st.integers(0, 2**32 - 1))
    def fuzz(value: Message, number: int) -> None:
        dice, body = random.Random(number), value.encode()
        for _ in range(MUTATIONS):
            judged(message, mutated_body(dice, body))

    fuzz()


def test_what_a_newer_peer_adds_is_skipped_wherever_it_stands() -> None:
    @seed(announced_seed())
    @settings(FUZZ, max_examples=20_000 if TORTURE else 150)
    @given(st.data(), st.integers(0, 2**32 - 1))
    def fuzz(data: st.DataObject, number: int) -> None:
        message, dice = data.draw(st.sampled_from(MESSAGES)), random.Random(number)
        used = {declared.metadata["tag"] for declared in dataclasses.fields(message)}  # type: ignore[arg-type]
        unknown = sorted(set(range(256)) - used)
        value = data.draw(values(message))
        fields = taken_apart(value.encode())
        assert fields is not None
        for _ in range(dice.randrange(1, 5)):
            added = (dice.choice(unknown), dice.randbytes(dice.randrange(30)))
            fields.insert(dice.randrange(len(fields) + 1), added)
        assert message.decode(put_together(fields)) == value

    fuzz()


def test_a_body_under_another_opcode_is_a_message_or_a_protocol_error() -> None:
    """Peers that mistake one message for another; every opcode there is and is not."""

    @seed(announced_seed())
    @settings(FUZZ, max_examples=5000 if TORTURE else 100)
    @given(st.data(), st.integers(0, 2**32 - 1))
    def fuzz(data: st.DataObject, number: int) -> None:
        dice, body = random.Random(number), data.draw(values(data.draw(st.sampled_from(MESSAGES)))).encode()
        for opcode in range(256):
            try:
                decode_any(Frame(opcode, 1, b""), mutated_body(dice, body) if opcode % 2 else body)
            except UnknownOpcode:
                assert opcode not in BODIES
            except ProtocolError as error:
                assert str(error)

    fuzz()


def test_a_length_is_checked_before_memory_is_taken() -> None:
    """Every field, and a field nobody knows, claims to be as long as four bytes can say."""
    for message, number, length in product(MESSAGES, range(256), (2**31 - 1, 2**31, 2**32 - 1)):
        with pytest.raises(BadBody) as refused:
            message.decode(field(number, b"xyz", length))
        assert f"field {number} says {length} bytes, 3 are there" in str(refused.value)


def test_memory_is_in_proportion_to_the_body() -> None:
    """The worst a peer can do with 16 KiB in each field of each message: all empty, or all numbers."""
    for message in MESSAGES:
        for declared in dataclasses.fields(message):  # type: ignore[arg-type]
            for value in (b"", b"\0" * 4, b"\0" * 8):
                one = field(declared.metadata["tag"], value)
                body = one * (16384 // len(one))
                assert _peak(message, body) <= PEAK_FACTOR * len(body) + PEAK_FREE, (message, declared.name)


def test_depth_is_that_of_the_messages_not_of_the_body() -> None:
    """A body nested three thousand times is no deeper than what its message is declared to hold."""
    for tag in (1, 2, 3, 99):
        body = b""
        for _ in range(3000):
            body = field(tag, body)
        for message in MESSAGES:
            judged(message, body)


def test_a_million_empty_jobs_are_refused_at_the_first() -> None:
    body = field(1, b"name") + field(2, b"") * 1_000_000
    with pytest.raises(BadBody, match="without job_id, task"):
        SubmitRun.decode(body)
    pair_of_a_false_length = field(
        2, field(1, b"j") + field(2, field(1, b"x") + field(5, struct.pack(">I", 2**32 - 1)))
    )
    with pytest.raises(BadBody, match=r"Task\.env"):
        SubmitRun.decode(field(1, b"name") + pair_of_a_false_length)


def _peak(message: type[Message], body: bytes) -> int:
    tracemalloc.start()
    try:
        judged(message, body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
