"""Frames: whole, in pieces, and refused; each refusal for a reason of its own."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan_core.errors import BadFlags, BadVersion, FrameTooLarge, ProtocolError
from titan_core.protocol.wire import (
    AUTHENTICATED,
    HEADER,
    LEGACY,
    MAX_NATIVE,
    MAX_TEXT,
    MAX_UNAUTHENTICATED,
    MIB,
    UNAUTHENTICATED,
    Decoder,
    Flag,
    Frame,
    Limits,
    encode_body,
    encode_frame,
    split_body,
)

FRAMES = [
    Frame(0x01, Flag.BINARY, b""),
    Frame(0x04, Flag.BINARY, b"\x00\x01payload"),
    Frame(0x08, 0, "text – with bars|and|so|on".encode()),
    Frame(0xFF, Flag.BINARY | Flag.MORE, bytes(range(256)) * 8),
    Frame(0x00, Flag.BINARY, b"last"),
]
STREAM = b"".join(encode_frame(frame.opcode, frame.payload, frame.flags) for frame in FRAMES)


def header(version: int = 1, opcode: int = 4, flags: int = 1, spare: int = 0, length: int = 0) -> bytes:
    return HEADER.pack(version, opcode, flags, spare, length)


def test_the_header_is_as_it_is_drawn():
    assert encode_frame(0x04, b"abc") == b"\x01\x04\x01\x00\x00\x00\x00\x03abc"


class TestPieces:
    def test_whole(self):
        assert Decoder().feed(STREAM) == FRAMES

    def test_byte_by_byte(self):
        decoder = Decoder()
        frames = [frame for byte in STREAM for frame in decoder.feed(bytes([byte]))]
        assert frames == FRAMES
        assert not decoder.mid_frame

    def test_random_pieces(self):
        seed = random.randrange(2**32)
        print("seed", seed)
        dice = random.Random(seed)
        for _ in range(200):
            cuts = sorted(dice.sample(range(len(STREAM) + 1), dice.randrange(1, 12)))
            decoder = Decoder()
            pieces = [STREAM[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
            assert [frame for piece in pieces for frame in decoder.feed(piece)] == FRAMES

    def test_a_frame_is_not_given_before_it_is_whole(self):
        decoder = Decoder()
        assert not decoder.mid_frame
        assert decoder.feed(encode_frame(4, b"abc")[:-1]) == []
        assert decoder.mid_frame
        assert decoder.feed(b"c") == [Frame(4, 1, b"abc")]
        assert not decoder.mid_frame

    def test_nothing_fed_gives_nothing(self):
        assert Decoder().feed(b"") == []

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=300)), max_size=5))
    def test_what_is_encoded_is_what_is_decoded(self, parts):
        stream = b"".join(encode_frame(opcode, payload, flags) for opcode, flags, payload in parts)
        assert Decoder().feed(stream) == [Frame(opcode, flags, payload) for opcode, flags, payload in parts]


class TestRefusals:
    @pytest.mark.parametrize("version", [0, 2, 0x48, 255])
    def test_version(self, version):
        with pytest.raises(BadVersion, match=f"version is {version}, this side speaks 1"):
            Decoder().feed(header(version=version))

    @pytest.mark.parametrize("flags", [4, 8, 0x80, 0xFF])
    def test_unknown_flag(self, flags):
        with pytest.raises(BadFlags, match=f"flags 0x{flags:02x}"):
            Decoder().feed(header(flags=flags))

    def test_spare_byte(self):
        with pytest.raises(BadFlags, match="spare byte 0x01"):
            Decoder().feed(header(spare=1))

    def test_text_sent_to_the_port(self):
        with pytest.raises(BadVersion):
            Decoder().feed(b"GET / HTTP/1.1\r\n\r\n")

    @pytest.mark.parametrize(
        ("limits", "flags", "limit"),
        [
            (UNAUTHENTICATED, 1, MAX_UNAUTHENTICATED),
            (UNAUTHENTICATED, 0, MAX_UNAUTHENTICATED),
            (AUTHENTICATED, 1, MAX_NATIVE),
            (AUTHENTICATED, 3, MAX_NATIVE),
            (AUTHENTICATED, 0, MAX_UNAUTHENTICATED),
            (LEGACY, 1, MAX_UNAUTHENTICATED),
            (LEGACY, 0, MAX_TEXT),
        ],
    )
    def test_size(self, limits, flags, limit):
        assert Decoder(limits).feed(header(flags=flags, length=limit)) == []
        with pytest.raises(FrameTooLarge, match=f"{limit + 1} bytes is over the limit of {limit}"):
            Decoder(limits).feed(header(flags=flags, length=limit + 1))

    def test_the_header_alone_is_enough_to_refuse(self):
        """No memory is taken for a payload that would be refused, or that has not come."""
        decoder = Decoder(Limits(2**32 - 1, 0))
        tracemalloc.start()
        try:
            assert decoder.feed(header(length=2**32 - 1)) == []
            with pytest.raises(FrameTooLarge):
                Decoder().feed(header(length=2**32 - 1))
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()

    def test_frames_before_a_bad_one_do_not_save_it(self):
        with pytest.raises(BadVersion):
            Decoder().feed(STREAM + header(version=9))

    def test_limits_may_grow_between_frames(self):
        decoder = Decoder(UNAUTHENTICATED)
        assert len(decoder.feed(encode_frame(0x70, b"hello"))) == 1
        decoder.limits = AUTHENTICATED
        assert len(decoder.feed(encode_frame(4, bytes(MIB)))) == 1


class TestLongBodies:
    @pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 1, 5 * MIB + 7])
    def test_a_body_of_any_length_arrives_as_it_was(self, size):
        body = random.Random(size).randbytes(size)
        frames = Decoder().feed(encode_body(0x04, body))
        assert b"".join(frame.payload for frame in frames) == body
        assert [frame.more for frame in frames] == [True] * (len(frames) - 1) + [False]
        assert {(frame.opcode, frame.binary) for frame in frames} == {(0x04, True)}
        assert len(frames) == max(1, -(-size // MIB))
        assert b"".join(split_body(0x04, body)) == encode_body(0x04, body)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_a_protocol_error(data):
    for limits in (UNAUTHENTICATED, AUTHENTICATED, LEGACY):
        try:
            Decoder(limits).feed(data)
        except ProtocolError as error:
            assert str(error)


def test_mutated_streams_are_frames_or_a_protocol_error():
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(3000):
        data = bytearray(STREAM)
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            Decoder().feed(bytes(data[: dice.randrange(len(data) + 1)]))
        except ProtocolError as error:
            assert str(error)
