"""The frame: eight bytes of header, then a payload.

     0        1        2        3        4                 8
     | version| opcode | flags  | spare  | payload length  | payload …
     |  0x01  |  u8    |  u8    |  0x00  | u32 big-endian  |

`Decoder` is fed bytes in any pieces and gives whole frames back. It owns no socket; one thread
uses one decoder. Sizes are checked from the header, before any memory is taken for the payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntFlag
from typing import NamedTuple

from titan_core.errors import BadFlags, BadVersion, FrameTooLarge

VERSION = 1
HEADER = struct.Struct(">BBBBI")

KIB, MIB = 1024, 1024 * 1024
MAX_NATIVE = 1 * MIB
"""Bytes of payload in one native frame; longer bodies go on in further frames (MORE)."""
MAX_TEXT = 10 * MIB
"""Bytes of payload in one text frame, the limit of the Java system."""
MAX_UNAUTHENTICATED = 4 * KIB
"""Bytes of payload accepted from a peer that has not proved it knows the token."""
MAX_BODY = 256 * MIB
"""Bytes of one message body put together from several frames; room for a million-job submission."""


class Flag(IntFlag):
    BINARY = 1
    """The payload is a native binary body; clear, it is UTF-8 text in the Java-era form."""
    MORE = 2
    """The body goes on in the next frame, which has the same opcode."""


# Plain numbers: those of an enum take longer to combine than a frame to be read.
_BINARY, _MORE = int(Flag.BINARY), int(Flag.MORE)
_KNOWN_FLAGS = _BINARY | _MORE


class Frame(NamedTuple):
    opcode: int
    flags: int
    payload: bytes

    @property
    def binary(self) -> bool:
        return bool(self.flags & _BINARY)

    @property
    def more(self) -> bool:
        return bool(self.flags & _MORE)


class Limits(NamedTuple):
    """The largest payload, in bytes, this side accepts in a native and in a text frame."""

    native: int
    text: int


UNAUTHENTICATED = Limits(MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED)
AUTHENTICATED = Limits(MAX_NATIVE, MAX_UNAUTHENTICATED)
LEGACY = Limits(MAX_UNAUTHENTICATED, MAX_TEXT)


def encode_frame(opcode: int, payload: bytes, flags: int = _BINARY) -> bytes:
    """One frame as bytes. `payload` must fit the receiver's limit; `encode_body` splits longer ones."""
    return HEADER.pack(VERSION, opcode, flags, 0, len(payload)) + payload


def encode_body(opcode: int, body: bytes) -> bytes:
    """A native body of any length as one frame, or as a row of frames of at most MAX_NATIVE bytes."""
    if len(body) <= MAX_NATIVE:
        return encode_frame(opcode, body)
    return b"".join(split_body(opcode, body))


def split_body(opcode: int, body: bytes) -> Iterator[bytes]:
    """The frames of a native body, each at most MAX_NATIVE bytes of payload, all but the last with MORE."""
    last = max(0, (len(body) - 1) // MAX_NATIVE) * MAX_NATIVE
    for start in range(0, last, MAX_NATIVE):
        yield encode_frame(opcode, body[start : start + MAX_NATIVE], Flag.BINARY | Flag.MORE)
    yield encode_frame(opcode, body[last:])


class Decoder:
    """Bytes in, frames out. Raises BadVersion, BadFlags or FrameTooLarge; it is of no use afterwards."""

    def __init__(self, limits: Limits = AUTHENTICATED) -> None:
        self.limits = limits
        self._buffer = bytearray()

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not complete yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Take `data`, give every frame that is complete now, in order."""
        buffer = self._buffer
        buffer += data
        frames: list[Frame] = []
        start = 0
        while len(buffer) - start >= HEADER.size:
            opcode, flags, length = self._check_header(start)
            end = start + HEADER.size + length
            if len(buffer) < end:
                break
            frames.append(Frame(opcode, flags, bytes(buffer[start + HEADER.size : end])))
            start = end
        del buffer[:start]
        return frames

    def _check_header(self, start: int) -> tuple[int, int, int]:
        version, opcode, flags, spare, length = HEADER.unpack_from(self._buffer, start)
        if version != VERSION:
            raise BadVersion(f"frame version is {version}, this side speaks {VERSION}")
        if flags & ~_KNOWN_FLAGS or spare:
            raise BadFlags(
                f"frame has flags 0x{flags:02x} and spare byte 0x{spare:02x}; known flags are 0x03, spare is 0"
            )
        limit = self.limits.native if flags & _BINARY else self.limits.text
        if length > limit:
            raise FrameTooLarge(f"frame of {length} bytes is over the limit of {limit} on this connection")
        return opcode, flags, length
