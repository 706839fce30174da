"""Streams of frames that were right until somebody touched them, fed in any pieces: frames, or a ProtocolError.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

import random
import tracemalloc

from titan_core.errors import ProtocolError
from titan_core.protocol.messages import BODIES, Ack, GetRun
from titan_core.protocol.wire import (
    AUTHENTICATED,
    HEADER,
    KIB,
    LEGACY,
    MIB,
    UNAUTHENTICATED,
    Decoder,
    Flag,
    Frame,
    Limits,
    encode_frame,
)
from titan_test_suite.pytests.support.mutations import mutated_bytes
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed

ROUNDS = 200_000 if TORTURE else 3000
LIMITS = (UNAUTHENTICATED, AUTHENTICATED, LEGACY, Limits(16, 16))


def made_up(dice: random.Random) -> bytes:
    """A row of frames such as a peer sends."""
    frames = []
    for _ in range(dice.randrange(1, 6)):
        body = dice.choice((b"", Ack("done").encode(), GetRun("last").encode(), dice.randbytes(dice.randrange(60))))
        flags = dice.choice((Flag.BINARY, Flag.BINARY, Flag.BINARY | Flag.MORE, Flag(0)))
        frames.append(encode_frame(dice.choice([*BODIES, 0x6E]), body, flags))
    return b"".join(frames)


def pieces(dice: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(8)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def fed(limits: Limits, parts: list[bytes]) -> tuple[list[Frame], str]:
    """The frames that come out, and what ended it."""
    decoder, frames = Decoder(limits), []
    try:
        for part in parts:
            frames += decoder.feed(part)
    except ProtocolError as error:
        return frames, error.code
    return frames, "mid-frame" if decoder.mid_frame else ""


def test_pieces_make_no_difference() -> None:
    dice = random.Random(announced_seed())
    for _ in range(ROUNDS):
        data, limits = made_up(dice), dice.choice(LIMITS)
        for _ in range(dice.randrange(3)):
            data = mutated_bytes(dice, data)
        whole, end = fed(limits, [data])
        in_pieces, same_end = fed(limits, pieces(dice, data))
        assert same_end == end
        # What was complete before a bad frame is given, if it came in a piece of its own.
        assert in_pieces == whole or (end and not whole)
        assert sum(HEADER.size + len(frame.payload) for frame in in_pieces) <= len(data)


def test_no_memory_is_taken_for_what_a_header_announces() -> None:
    dice = random.Random(announced_seed())
    tracemalloc.start()
    try:
        for _ in range(ROUNDS):
            length = dice.choice((4 * KIB, 4 * KIB + 1, MIB, MIB + 1, 2**31, 2**32 - 1, dice.randrange(2**32)))
            fed(dice.choice(LIMITS), [HEADER.pack(1, dice.randrange(256), dice.randrange(4), 0, length), b"x" * 9])
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
