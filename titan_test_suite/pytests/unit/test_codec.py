"""Native bodies: every message comes back as it was, and no bytes raise anything but BadBody."""

from __future__ import annotations

import dataclasses
import random
import struct
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from titan_core.errors import BY_CODE, BadBody, TitanError, from_code
from titan_core.protocol.codec import Message, tag
from titan_core.protocol.messages import BODIES, OPCODES, REPLIES, JobSpec, SubmitRun, Task
from titan_core.protocol.opcodes import Opcode
from titan_test_suite.pytests.support.messages import MESSAGES, values


@dataclass(frozen=True, slots=True)
class Inner(Message):
    number: int = tag(1)


@dataclass(frozen=True, slots=True)
class Sample(Message):
    number: int = tag(1)
    names: tuple[str, ...] = tag(200)
    ratio: float = tag(2, 1.5)
    flag: bool = tag(3, False)
    text: str = tag(4, "")
    data: bytes = tag(5, b"")
    inner: Inner = tag(6, Inner(0))
    numbers: tuple[int, ...] = tag(7, ())
    pairs: tuple[tuple[str, str], ...] = tag(8, ())


def field(number: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BI", number, len(value) if length is None else length) + value


ONE = field(1, struct.pack(">q", 1))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_message_comes_back_as_it_was(message, data):
    value = data.draw(values(message))
    assert message.decode(value.encode()) == value


def test_a_full_sample_comes_back_as_it_was():
    sample = Sample(-1, ("x", ""), 0.25, True, "größe 🚀", b"\0\xff", Inner(7), (1, -2), (("a", ""), ("", "b")))
    assert Sample.decode(sample.encode()) == sample


def test_the_layout_is_as_it_is_drawn():
    assert Inner(258).encode() == b"\x01\x00\x00\x00\x08" + b"\0\0\0\0\0\0\x01\x02"


def test_defaults_take_no_room():
    assert Sample(1, ()).encode() == ONE
    assert Sample.decode(ONE) == Sample(1, ())


def test_unknown_fields_are_skipped_wherever_they_are():
    unknown = field(99, b"from a newer peer")
    body = unknown + ONE + unknown + field(4, b"text") + unknown
    assert Sample.decode(body) == Sample(1, (), text="text")


def test_every_message_skips_unknown_fields():
    for message in MESSAGES:
        used = {declared.metadata["tag"] for declared in dataclasses.fields(message)}
        unknown = min(set(range(1, 256)) - used)
        try:
            plain = message.decode(b"")
        except BadBody:
            continue
        assert message.decode(field(unknown, b"x")) == plain


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "Sample: without number"),
        (ONE + ONE, r"Sample\.number: present twice"),
        (ONE[:3], "ends inside a field header"),
        (ONE[:-1], "field 1 says 8 bytes, 7 are there"),
        (field(1, b"x", 2**32 - 1), "field 1 says 4294967295 bytes, 1 are there"),
        (field(1, b"1234567"), r"Sample\.number: not a value of its type"),
        (field(1, b"123456789"), r"Sample\.number: not"),
        (field(1, b""), r"Sample\.number: not"),
        (ONE + field(2, b"1234"), r"Sample\.ratio: not"),
        (ONE + field(2, struct.pack(">d", float("nan"))), r"Sample\.ratio: not"),
        (ONE + field(2, struct.pack(">d", float("inf"))), r"Sample\.ratio: not"),
        (ONE + field(2, struct.pack(">d", float("-inf"))), r"Sample\.ratio: not"),
        (ONE + field(3, b"\2"), r"Sample\.flag: not"),
        (ONE + field(3, b""), r"Sample\.flag: not"),
        (ONE + field(3, b"\1\1"), r"Sample\.flag: not"),
        (ONE + field(4, b"\xff"), r"Sample\.text: not"),
        (ONE + field(4, b"\xed\xa0\x80"), r"Sample\.text: not"),
        (ONE + field(6, b""), r"Sample\.inner: Inner: without number"),
        (ONE + field(6, b"\1"), r"Sample\.inner: Inner: ends inside"),
        (ONE + field(7, ONE), r"Sample\.numbers: not"),
        (ONE + field(8, b""), r"Sample\.pairs: not"),
        (ONE + field(8, b"\0\0\0\5key"), r"Sample\.pairs: not"),
        (ONE + field(8, b"\0\0\0\1\xff"), r"Sample\.pairs: not"),
    ],
)
def test_broken_bodies(body, reason):
    with pytest.raises(BadBody, match=reason):
        Sample.decode(body)


SUBMISSION = SubmitRun(
    "demo",
    (
        JobSpec("a", Task("a.py", args=("x", "y"), env=(("K", "v"),), timeout_s=1.5, port=80), priority=7),
        JobSpec("b", Task("b.zip", entry="run.sh"), parents=("a", "other/c"), affinity="strict", service=True),
    ),
    request_id=bytes(16),
)


def test_truncated_anywhere_a_body_is_refused_or_shorter():
    whole = SUBMISSION.encode()
    for length in range(len(whole)):
        try:
            assert SubmitRun.decode(whole[:length]) != SUBMISSION
        except BadBody as error:
            assert str(error)


def test_mutated_bodies_raise_nothing_but_bad_body():
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    whole = SUBMISSION.encode()
    for _ in range(5000):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0xFF, dice.randrange(256)))
        try:
            SubmitRun.decode(bytes(data))
        except BadBody as error:
            assert str(error)


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_a_message_or_a_bad_body(data):
    for message in MESSAGES:
        try:
            message.decode(data)
        except BadBody as error:
            assert message.__name__ in str(error)


class TestDeclarations:
    @pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
    def test_tags_are_bytes_and_each_is_used_once(self, message):
        tags = [declared.metadata["tag"] for declared in dataclasses.fields(message)]
        assert len(set(tags)) == len(tags)
        assert all(1 <= number <= 255 for number in tags)

    def test_every_opcode_has_a_body_or_a_reason_to_have_none(self):
        text_only = {Opcode.SUBMIT_JOB, Opcode.DEPLOY, Opcode.RUN, Opcode.DEPLOY_SCRIPT}
        assert set(Opcode) - set(BODIES) == text_only | {Opcode.DATA, Opcode.ASSET_DATA}
        assert len(OPCODES) == len(BODIES)

    def test_a_reply_is_never_a_message_with_an_opcode_of_its_own(self):
        """What DATA holds is told by the request alone."""
        assert not {reply for reply in REPLIES.values() if reply} & set(OPCODES)

    def test_every_error_code_stands_for_one_class(self):
        assert len({cls.code for cls in BY_CODE.values()}) == len(BY_CODE)
        for code, cls in BY_CODE.items():
            error = from_code(code, "sentence", {"job": "a"})
            assert (type(error), error.message, error.details) == (cls, "sentence", {"job": "a"})
        assert isinstance(from_code("FROM_A_NEWER_PEER", "sentence"), TitanError)
